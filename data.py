"""Image sets, read whole into memory as uint8, and the batches cut from them."""

import functools
import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import List, NamedTuple, Optional

import mxnet as mx
import numpy as np

import models
from datasets import folders, idx, layouts, mnist, mnist5k, tables
from process.console import note
from process.errors import UserError, check_signals
from process.typed import within
from recipe import DATASETS, MODELS, Network

SPLITS = {"train": "training", "test": "test"}  # the fields of a Dataset, in words
SECONDS_TO_TRY = 15  # how long `auto` lets a download take
DEFAULT = Network()
LARGEST_SIDE = 10**4  # pixels of an image


class Split(NamedTuple):
    """Training or test part: `images` (N, C, H, W) uint8, C 1 or 3, and `labels` (N,) int32."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Fingerprint:
    """What a run's record keeps of its data set.

    Attributes
    ----------
    name : str
    train, test : int
        How many images.
    shape : list of int
        (C, H, W) of an image.
    classes : list of int
        The labels of the training set, ascending.
    names : list of str or None
        The names of all classes.
    edge : int
        How bright the edges of the training images are, in the mean.
    sha256 : str
        The SHA-256 of the names and the arrays, which tells the set from all others.
    """

    name: str
    train: int = within(1)
    test: int = within(1)
    shape: List[int] = within(1, LARGEST_SIDE, length=(3, 3))
    classes: List[int] = within(0, length=(1, 10**7))
    names: Optional[List[str]]
    edge: int = within(0, 255)
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A named set of images.

    `names` are those of the classes, None where they are numbers; `files` those of the test
    images, None where these have no files of their own. Where there is a validation set, it
    chooses the best epoch, so that the test set does not.
    """

    name: str
    train: Split
    test: Split
    names: Optional[list] = None
    files: Optional[list] = None
    val: Optional[Split] = None

    @property
    def chooser(self):
        """Which part chooses the best epoch."""
        return "test" if self.val is None else "val"

    @property
    def shape(self):
        """That of an image, (C, H, W)."""
        return self.train.images.shape[1:]

    @functools.cached_property
    def classes(self):
        """The labels that the training set has, ascending."""
        return np.unique(self.train.labels)

    @functools.cached_property
    def fingerprint(self):
        """What a run's record keeps of this set."""
        digest = hashlib.sha256(json.dumps(self.names).encode() if self.names else b"")
        for split in (self.train, self.test, *filter(None, [self.val])):
            for array in split:
                digest.update(f"{array.shape}".encode())
                digest.update(np.ascontiguousarray(array))
        return Fingerprint(
            name=self.name,
            train=len(self.train.labels),
            test=len(self.test.labels),
            shape=list(self.shape),
            classes=self.classes.tolist(),
            names=self.names,
            edge=round(float(edges(self.train.images).mean())),
            sha256=digest.hexdigest(),
        )


def edges(images):
    """The pixels along the edges of images (N, C, H, W), in the mean of each, (N,) float64."""
    border = np.ones(images.shape[2:], bool)
    border[1:-1, 1:-1] = False
    return images[..., border].mean(axis=(1, 2))


def ground_of(split):
    """How bright the edges of a part's images are, in the mean, in 0 to 1; of MNIST's 0."""
    return round(float(edges(split.images).mean())) / 255


def light_on_dark(edge):
    """Whether images whose edges have this brightness, in the mean, are light on dark.

    None between the two: they do not agree among themselves, or are of a middle grey.
    """
    return None if 64 <= edge < 192 else bool(edge < 128)


def load_dataset(dataset, data_dir, network=DEFAULT):
    """Load a set by name, or from a folder.

    Parameters
    ----------
    dataset : str
        One of `READERS`. See `choose_dataset` for what a run decides.
    data_dir : str or None
        A folder with four IDX files, or with a folder of images for each class; it goes before
        `dataset`.
    network : recipe.Network
        Labels must lie in [0, num_classes); images of folders are brought to its size and colour.

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        The data cannot be had, is damaged, or does not fit.
    """
    if data_dir is not None:
        folder = os.path.expanduser(data_dir)
        name = os.fsencode(os.path.basename(os.path.realpath(folder))).decode(errors="replace")
        loaded = read_folder(Path(folder), name, network)
    else:
        loaded = READERS[dataset]()
    check(loaded, network)
    return loaded


def read_mnist(seconds=math.inf):
    return read_folder(mnist.fetch(mnist.MNIST, seconds), "mnist")


def read_fashion_mnist():
    return read_folder(mnist.fetch(mnist.FASHION_MNIST), "fashion_mnist")


def read_mnist5k():
    return Dataset("mnist5k", *map(Split._make, mnist5k.read()))


def read_mnist_or_mnist5k():
    """MNIST where it is there or can be had in `SECONDS_TO_TRY`; otherwise, with a warning, the
    5,000 images of it."""
    try:
        return read_mnist(SECONDS_TO_TRY)
    except UserError as error:
        print_mnist5k_warning(error)
        return read_mnist5k()


READERS = {  # by --dataset
    "auto": read_mnist_or_mnist5k,
    "mnist": read_mnist,
    "fashion_mnist": read_fashion_mnist,
    "mnist5k": read_mnist5k,
}


def count_classes(data_dir):
    """The flag num_classes, in a dict, where it follows from folders of images."""
    folder = data_dir and Path(os.path.expanduser(data_dir))
    if not (folder and layouts.holds_images(folder)):
        return {}
    return {"num_classes": len(layouts.class_names(folder))}


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
    trained_on = {record.dataset.name: record.prefix for record in records if record}
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
    trained_on = record and record.dataset.sha256
    if trained_on == mnist.FINGERPRINT and dataset.name == "mnist5k":
        raise UserError(
            f"{record.prefix} was trained on MNIST, whose training set has all images of mnist5k: "
            f"no test could be made with them. {mnist.MNIST.where_it_goes()}"
        )


def print_mnist5k_warning(reason):
    line = "*" * 78
    note(
        f"{line}\nWARNING: the full MNIST is not used. {reason}.\n"
        "Using mnist5k instead: 4,000 training and 1,000 test images. Accuracies on it are\n"
        "lower, and not to be compared with those on the full MNIST. For as many steps give\n"
        f"--epochs and --lr_step 15 times as large.\n{line}"
    )


def check(dataset, network):
    """Raise UserError unless both splits have images of one size and labels in range."""
    num_classes = network.num_classes
    as_is = (network.image_size, network.color) == (DEFAULT.image_size, DEFAULT.color)
    if not dataset.names and not as_is:
        raise UserError(
            f"--image_size and --color are for folders of images, and {dataset.name} has none"
        )
    if network.prepare == "mnist" and not as_is:
        raise UserError("--prepare mnist makes grey images of 28 x 28: leave --image_size and "
                        "--color away")  # fmt: skip
    if dataset.names and len(dataset.names) != num_classes:
        raise UserError(
            f"{dataset.name} has {len(dataset.names)} classes, and the network is for "
            f"{num_classes}: choose another --data_dir, --prefix or --num_classes"
        )
    parts = {"training": dataset.train, "test": dataset.test}
    if dataset.val is not None:
        parts["validation"] = dataset.val
    for which, (_, labels) in parts.items():
        if not len(labels):
            raise UserError(f"{dataset.name}: the {which} set is empty")
        if labels.max() >= num_classes:
            raise UserError(
                f"{dataset.name}: the {which} labels go up to {labels.max()}, so --num_classes "
                f"must be at least {labels.max() + 1} (it is {num_classes})"
            )
        if labels.min() < 0:
            raise UserError(f"{dataset.name}: a {which} label is {labels.min()}, below 0")
    shapes = [split.images.shape[1:] for split in (dataset.train, dataset.test)]
    if shapes[0] != shapes[1]:
        said = [f"{rows} x {columns} pixels, {n} channel(s)" for n, rows, columns in shapes]
        raise UserError(f"{dataset.name}: training images are {said[0]}; test images {said[1]}")
    size = shapes[0][1:]
    if max(size) > LARGEST_SIDE:
        raise UserError(
            f"{dataset.name}: images of {size[0]} x {size[1]} pixels are too large: no side may "
            f"have more than {LARGEST_SIDE}"
        )
    smallest = getattr(models, MODELS[network.model]).smallest_image
    if min(size) < smallest:
        raise UserError(
            f"{dataset.name}: images of {size[0]} x {size[1]} pixels are too small for --model "
            f"{network.model}, which needs {smallest} x {smallest}"
        )


def read_folder(folder, name, network=DEFAULT):
    """Read the four IDX files of a folder, or its folders of images."""
    table = tables.find(folder)
    if table and (folder.is_file() or not layouts.holds_idx(folder)):
        return Dataset(name, *map(Split._make, tables.read(table)))
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder: --data_dir wants one with four IDX files, with a folder of "
            "images for each class, with mnist.npz, or with train.csv"
        )
    if layouts.holds_images(folder):
        parts, names = folders.read(
            folder, network.image_size, network.color, network.prepare == "mnist"
        )
        train, test = (Split(*parts[split][:2]) for split in SPLITS)
        val = Split(*parts["val"][:2]) if "val" in parts else None
        return Dataset(name, train, test, names, parts["test"].files, val)
    return Dataset(name, *(Split(*idx.read_split(folder, split)) for split in idx.SPLITS))


# --- batches -----------------------------------------------------------------------------------


def random_warps(shape, seed, epoch):
    """How the images of an epoch are augmented: turned by up to 15 degrees either way, slanted by
    up to a fifth of their height, both sides scaled by up to 15 % and shifted by up to 1/14 (2
    pixels of MNIST's 28).

    Parameters
    ----------
    shape : (N, C, H, W)
    seed, epoch : int
        All that they depend on.

    Returns
    -------
    (N, 6) float32
        Affine maps from the pixels of the warped image to those of the original, whose coordinates
        go from -1 to 1: the two rows of each, as MXNet's GridGenerator takes them.
    """
    count, _, height, width = shape
    random = np.random.RandomState([seed, epoch, 1])
    angle = np.radians(random.uniform(-15, 15, count))
    x_scale, y_scale = random.uniform(0.85, 1.15, (2, count))
    slant = random.uniform(-0.2, 0.2, count)
    right, down = random.uniform(-1 / 7, 1 / 7, (2, count))
    cos, sin = np.cos(angle), np.sin(angle)
    rows = (
        cos / x_scale,
        (cos * slant - sin) / y_scale * height / width,
        right,
        sin / x_scale * width / height,
        (sin * slant + cos) / y_scale,
        down,
    )
    return np.stack(rows, axis=1).astype(np.float32)


def warp(images, affine, ground=0.0):
    """Apply maps of `random_warps` to images, (b, C, H, W) float32.

    What was outside becomes as bright as the `ground`.
    """
    grid = mx.nd.GridGenerator(affine, "affine", images.shape[2:])
    if not ground:
        return mx.nd.BilinearSampler(images, grid)
    return mx.nd.BilinearSampler(images - ground, grid) + ground


def batches(split, batch_size, contexts, order=None, rank=0, workers=1, warps=None, ground=0.0):
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
    warps : (N, 6) float32, optional
        How to augment the images, in their order in the batches: see `random_warps`.
    ground : float, optional
        How bright augmented images are where they have no pixels, in 0 to 1.

    Yields
    ------
    list of (image, label, batch_labels), one a device
        image (b, C, H, W) float32, pixel / 255; label (b,) int32; batch_labels (B,) int32, the
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
        places = np.arange(start, start + len(rows))
        share = np.array_split(places, workers)[rank]
        slices = []
        for part, ctx in zip(np.array_split(share, len(contexts)), contexts):
            image = mx.nd.array(split.images[order[part]], ctx, dtype="uint8")
            image = image.astype("float32") / 255
            if warps is not None:
                image = warp(image, mx.nd.array(warps[part], ctx), ground)
            label = mx.nd.array(split.labels[order[part]], ctx, dtype="int32")
            batch_labels = mx.nd.array(split.labels[rows], ctx, dtype="int32")
            slices.append((image, label, batch_labels))
        yield slices
