"""MNIST at Gluon's own place, found or downloaded."""

import gzip
import hashlib
import math
import os
import tempfile
import threading
import time
import zlib
from pathlib import Path

import pooch

from datasets import idx
from process.console import note
from process.errors import UserError, check_signals

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/mnist/",
)
# See `data.Dataset.fingerprint`.
FINGERPRINT = "2f34720a22ca44882842289480b53136c582f757c68ba2d1009482e4cbc056de"
PACKED_SHA1 = {
    "train-images-idx3-ubyte.gz": "6c95f4b05d2bf285e1bfb0e7960c31bd3b3f8a7d",
    "train-labels-idx1-ubyte.gz": "2a80914081dc54586dbdf242f9805a6b8d2a15fc",
    "t10k-images-idx3-ubyte.gz": "c3a25af1f52dad7f726cce8cacb138654b760d48",
    "t10k-labels-idx1-ubyte.gz": "763e7fa3757d93b0cdec073cef058b2004252c17",
}
LARGEST = 16 + 60_000 * 28 * 28  # bytes of the largest, unpacked
UNPACKED_SHA1 = {
    "train-images-idx3-ubyte": "c3557c10f29b266e19b3eeee1553c85e0ef4a8ea",
    "train-labels-idx1-ubyte": "adbf52269f5d842899f287c269e2883e40b4f6e2",
    "t10k-images-idx3-ubyte": "65e11ec1fd220343092a5070b58418b5c2644e26",
    "t10k-labels-idx1-ubyte": "a6d52cc628797e845885543326e9f10abb8a6f89",
}


def where_it_goes():
    files = ", ".join(PACKED_SHA1)
    return f"MNIST's files ({files}) belong into {home()}, or a folder named by --data_dir"


def home():
    """Gluon's own place."""
    return Path(os.environ.get("MXNET_HOME") or Path.home() / ".mxnet", "datasets", "mnist")


def fetch(seconds=math.inf):
    """Find MNIST at Gluon's place, ``$MXNET_HOME/datasets/mnist``, or download what is missing.

    Parameters
    ----------
    seconds : float, optional
        How long the download may take.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        No mirror gave the published files in time.
    """
    folder = home()
    try:
        missing = [name for name in PACKED_SHA1 if not is_there(folder / name)]
        if missing:
            get(missing, folder, seconds)
    except OSError as error:
        raise UserError(f"MNIST cannot be kept in {folder} ({error.strerror})") from error
    return folder


def get(missing, folder, seconds):
    """Download files into a folder, as `fetch` says."""
    note(f"Downloading MNIST to {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    # Downloads go to a folder of their own, so that an abandoned one leaves nothing behind.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
        errors = []
        worker = threading.Thread(target=download, args=(missing, scratch, errors), daemon=True)
        worker.start()
        end = time.monotonic() + seconds
        # A thread, because nothing else limits how long a DNS query takes.
        while worker.is_alive() and time.monotonic() < end:
            worker.join(0.1)
            check_signals()
        if worker.is_alive():
            raise UserError(f"MNIST could not be downloaded within {seconds} seconds")
        if errors:
            raise UserError(f"MNIST could not be downloaded ({errors[-1]}). {where_it_goes()}")
        for name in missing:
            os.replace(Path(scratch, name), folder / name)


def is_there(packed):
    """Whether a file is there, packed by whomever or, where there is no packed one, unpacked."""
    path = packed if packed.is_file() else packed.with_suffix("")
    if not path.is_file():
        return False
    if pooch.file_hash(str(path), alg="sha1") == PACKED_SHA1.get(path.name):
        return True
    try:
        with idx.open_unpacked(path) as file:
            content = idx.read_up_to(file, LARGEST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    return hashlib.sha1(content).hexdigest() == UNPACKED_SHA1[packed.stem]


def download(names, folder, errors):
    """Download `names` from the first mirror that has all; if none has, append to `errors`."""
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for mirror in MIRRORS:
        try:
            for name in names:
                pooch.retrieve(
                    mirror + name,
                    known_hash=f"sha1:{PACKED_SHA1[name]}",
                    fname=name,
                    path=folder,
                    downloader=pooch.HTTPDownloader(timeout=(4, 30)),
                )
            return
        except Exception as error:  # of many libraries; all of them mean: try the next mirror
            failures.append(" ".join(f"{mirror}: {type(error).__name__}".split()))
    errors.extend(failures)
