"""Fixtures: the command line, in this process or in one of its own, and small IDX sets."""

import functools
import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["OMP_NUM_THREADS"] = "1"  # enough for small sets, whatever else the machine does

import runtime  # noqa: E402

runtime.prepare_mxnet()

import data  # noqa: E402
import main  # noqa: E402
from benchmarks.validation import idx  # noqa: E402

QUICK = ("--model", "lenet", "--epochs", "1")


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(tmp_path, monkeypatch, capfd):
    """Run the command line in this process, in a fresh folder with an IDX set named `digits`."""
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "digits")
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def run(*argv):
        capfd.readouterr()
        try:
            status = main.main([str(arg) for arg in argv])
        except SystemExit as exit:
            status = exit.code
        return Done(status, *capfd.readouterr())

    yield run
    for one, handler in handlers.items():
        signal.signal(one, handler)
    runtime.received.clear()


@pytest.fixture
def trained(cli):
    """A run `center-loss` of one epoch on `digits`; gives the command line."""
    done = cli("--train", "--center_loss", "--data_dir", "digits", *QUICK)
    assert done.status == 0, done.err
    return cli


@functools.lru_cache(maxsize=1)
def mnist5k():
    return data.read_mnist5k()


def start(*argv, cwd, **kwargs):
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *map(str, argv)],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


def run(*argv, cwd, **kwargs):
    """Run the command line in a process of its own."""
    process = start(*argv, cwd=cwd, **kwargs)
    out, err = process.communicate()
    return Done(process.returncode, out, err)


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
    content = idx(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
