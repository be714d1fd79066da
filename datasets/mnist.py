"""MNIST and Fashion-MNIST at Gluon's own place, found or downloaded."""

import math
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pooch

from process.console import note
from process.errors import UserError, check_signals

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
# The SHA-256 of MNIST in a `datasets.dataset.Fingerprint`.
FINGERPRINT = "2f34720a22ca44882842289480b53136c582f757c68ba2d1009482e4cbc056de"


class Published(NamedTuple):
    """A data set that others keep for download, as four packed IDX files: their SHA-1, in the
    order of `FILES`, and the mirrors that have them. `folder` is its name at Gluon's own place."""

    title: str
    folder: str
    mirrors: tuple
    sha1: tuple

    @property
    def home(self):
        """Gluon's own place for it."""
        root = os.environ.get("MXNET_HOME") or Path.home() / ".mxnet"
        return Path(root, "datasets", self.folder)

    def where_it_goes(self):
        """Where the user can put the files."""
        return f"{self.title}'s files ({', '.join(FILES)}) go to {self.home}, or to --data_dir"


MNIST = Published(
    title="MNIST",
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/mnist/",
    ),
    sha1=(
        "6c95f4b05d2bf285e1bfb0e7960c31bd3b3f8a7d",
        "2a80914081dc54586dbdf242f9805a6b8d2a15fc",
        "c3a25af1f52dad7f726cce8cacb138654b760d48",
        "763e7fa3757d93b0cdec073cef058b2004252c17",
    ),
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
    sha1=(
        "0cf37b0d40ed5169c6b3aba31069a9770ac9043d",
        "236021d52f1e40852b06a4c3008d8de8aef1e40b",
        "626ed6a7c06dd17c0eec72fa3be1740f146a2863",
        "17f9ab60e7257a1620f4ad76bbbaf857c3920701",
    ),
)


def fetch(published, seconds=math.inf):
    """Find a set at Gluon's place, ``$MXNET_HOME/datasets/mnist``, or download what is missing
    within so many seconds; raises UserError where no mirror gives the published files."""
    failures, title = [], published.title
    # A thread, because nothing else limits how long a DNS query takes.
    worker = threading.Thread(target=try_mirrors, args=(published, failures), daemon=True)
    worker.start()
    end = time.monotonic() + seconds
    while worker.is_alive() and time.monotonic() < end:
        worker.join(0.1)
        check_signals()
    if worker.is_alive():
        raise UserError(f"{title} could not be downloaded within {seconds} seconds")
    if len(failures) == len(published.mirrors):
        raise UserError(
            f"{title} could not be downloaded ({failures[-1]}). {published.where_it_goes()}"
        )
    return published.home


def try_mirrors(published, failures):
    """Get what is missing or damaged from the first mirror that has all; `failures` are those that
    have not."""
    pooch.get_logger().setLevel("WARNING")
    home = published.home
    for mirror in published.mirrors:
        try:
            names = [name for name in FILES if not (home / name).with_suffix("").is_file()]
            if not failures and not all((home / name).is_file() for name in names):
                note(f"Downloading {published.title} to {home}")
            for name in names:
                pooch.retrieve(
                    mirror + name,
                    known_hash=f"sha1:{published.sha1[FILES.index(name)]}",
                    fname=name,
                    path=home,
                    downloader=pooch.HTTPDownloader(timeout=(4, 30)),
                )
            return
        except Exception as error:  # of many libraries; all of them mean: try the next mirror
            failures.append(f"{mirror}: {type(error).__name__}")
