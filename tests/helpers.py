"""What tests share: the command line in processes of its own, and small IDX sets."""

import contextlib
import functools
import gzip
import importlib.util
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import data

ROOT = Path(__file__).parent.parent
QUICK = ("--model", "lenet", "--epochs", "1")
CAN_EXPORT = importlib.util.find_spec("onnxruntime") is not None  # Python 3.15 has none yet


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


@functools.lru_cache(maxsize=1)
def mnist5k():
    return data.load_dataset("mnist5k", None)


def start(*argv, cwd, **kwargs):
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *map(str, argv)],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


def run(*argv, cwd, **kwargs):
    """Run the command line in a process of its own."""
    with start(*argv, cwd=cwd, **kwargs) as process:
        try:
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    return Done(process.returncode, out, err)


def snapshot(folder):
    """The files in a folder, however deep, and their bytes."""
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@contextlib.contextmanager
def files_up_to(size):
    """Let no file of this process become larger, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_one_line(done, *words, status=1):
    """The command failed with one clear line that has these words, and no traceback."""
    lines = done.err.strip().splitlines()
    assert done.status == status, done
    assert len(lines) == 1 and lines[0].startswith("main.py: error: "), done.err
    for word in words:
        assert word in lines[0], done.err


def write_digits(folder, train=256, test=100):
    """Write a small part of mnist5k as IDX files, half of them packed."""
    folder.mkdir()
    for name, split, size in (("train", mnist5k().train, train), ("t10k", mnist5k().test, test)):
        step = len(split.labels) // size
        write_idx(folder / f"{name}-images-idx3-ubyte", split.images[::step][:size, 0])
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", split.labels[::step][:size])


def write_idx(path, array):
    array = np.asarray(array)
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
