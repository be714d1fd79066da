"""MNIST and Fashion-MNIST at Gluon's own place, found or downloaded."""

import gzip
import hashlib
import math
import os
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import pooch

from datasets import idx
from process.console import note
from process.errors import UserError, check_signals
from process.files import read_file

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
LARGEST = 16 + 60_000 * 28 * 28  # bytes of the largest file, unpacked
# The SHA-256 of MNIST in a `datasets.dataset.Fingerprint`.
FINGERPRINT = "2f34720a22ca44882842289480b53136c582f757c68ba2d1009482e4cbc056de"


class Published(NamedTuple):
    """A data set that others keep for download, as four IDX files.

    Attributes
    ----------
    title : str
    folder : str
        Its name at Gluon's own place.
    mirrors : tuple of str
        Where the packed files are.
    packed : dict of str to str
        The SHA-1 of each packed file.
    unpacked : dict of str to str
        The SHA-1 of each unpacked file, where it was published.
    """

    title: str
    folder: str
    mirrors: tuple
    packed: dict
    unpacked: dict

    @property
    def home(self):
        """Gluon's own place for it."""
        root = os.environ.get("MXNET_HOME") or Path.home() / ".mxnet"
        return Path(root, "datasets", self.folder)

    def where_it_goes(self):
        """Where the user can put the files."""
        files = ", ".join(self.packed)
        return (
            f"{self.title}'s files ({files}) belong into {self.home}, or a folder named by "
            "--data_dir"
        )


MNIST = Published(
    title="MNIST",
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/mnist/",
    ),
    packed=dict(
        zip(
            FILES,
            (
                "6c95f4b05d2bf285e1bfb0e7960c31bd3b3f8a7d",
                "2a80914081dc54586dbdf242f9805a6b8d2a15fc",
                "c3a25af1f52dad7f726cce8cacb138654b760d48",
                "763e7fa3757d93b0cdec073cef058b2004252c17",
            ),
        )
    ),
    unpacked={
        "train-images-idx3-ubyte": "c3557c10f29b266e19b3eeee1553c85e0ef4a8ea",
        "train-labels-idx1-ubyte": "adbf52269f5d842899f287c269e2883e40b4f6e2",
        "t10k-images-idx3-ubyte": "65e11ec1fd220343092a5070b58418b5c2644e26",
        "t10k-labels-idx1-ubyte": "a6d52cc628797e845885543326e9f10abb8a6f89",
    },
)
# Xiao, Rasul and Vollgraf, "Fashion-MNIST", arXiv:1708.07747 (2017). The checksums are those of
# mxnet.gluon.data.vision.FashionMNIST.
FASHION_MNIST = Published(
    title="Fashion-MNIST",
    folder="fashion-mnist",
    mirrors=(
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/fashion-mnist/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    packed=dict(
        zip(
            FILES,
            (
                "0cf37b0d40ed5169c6b3aba31069a9770ac9043d",
                "236021d52f1e40852b06a4c3008d8de8aef1e40b",
                "626ed6a7c06dd17c0eec72fa3be1740f146a2863",
                "17f9ab60e7257a1620f4ad76bbbaf857c3920701",
            ),
        )
    ),
    unpacked={},
)


def fetch(published, seconds=math.inf):
    """Find a set at Gluon's place, ``$MXNET_HOME/datasets/mnist``, or download what is missing.

    Parameters
    ----------
    published : Published
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
    folder = published.home
    try:
        missing = [name for name in published.packed if not is_there(published, name)]
        if missing:
            download(published, missing, seconds)
    except OSError as error:
        reason = f"{published.title} cannot be kept in {folder} ({error.strerror})"
        raise UserError(reason) from error
    return folder


def download(published, missing, seconds):
    """Download the missing files, as `fetch` says."""
    folder, title = published.home, published.title
    note(f"Downloading {title} to {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    # Downloads go to a folder of their own: an abandoned download ends when that is gone.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
        errors = []
        arguments = (published, missing, scratch, errors)
        worker = threading.Thread(target=try_mirrors, args=arguments, daemon=True)
        worker.start()
        end = time.monotonic() + seconds
        # A thread, because nothing else limits how long a DNS query takes.
        while worker.is_alive() and time.monotonic() < end:
            worker.join(0.1)
            check_signals()
        if worker.is_alive():
            raise UserError(f"{title} could not be downloaded within {seconds} seconds")
        if errors:
            reason = f"{title} could not be downloaded ({errors[-1]})"
            raise UserError(f"{reason}. {published.where_it_goes()}")
        for name in missing:
            os.replace(Path(scratch, name), folder / name)


def is_there(published, name):
    """Whether a file is there, packed by whomever or, where there is no packed one, unpacked."""
    packed = published.home / name
    path = packed if packed.is_file() else packed.with_suffix("")
    if not path.is_file():
        return False
    if hashlib.sha1(read_file(path)).hexdigest() == published.packed.get(path.name):
        return True
    try:
        with idx.open_unpacked(path) as file:
            content = idx.read_up_to(file, LARGEST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    return hashlib.sha1(content).hexdigest() == published.unpacked.get(packed.stem)


def try_mirrors(published, names, folder, errors):
    """Download `names` from the first mirror that has all; if none has, append to `errors`."""
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for mirror in published.mirrors:
        try:
            for name in names:
                if not os.path.isdir(folder):  # which pooch would make again
                    return
                pooch.retrieve(
                    mirror + name,
                    known_hash=f"sha1:{published.packed[name]}",
                    fname=name,
                    path=folder,
                    downloader=pooch.HTTPDownloader(timeout=(4, 30)),
                )
            return
        except Exception as error:  # of many libraries; all of them mean: try the next mirror
            failures.append(" ".join(f"{mirror}: {type(error).__name__}".split()))
    errors.extend(failures)
