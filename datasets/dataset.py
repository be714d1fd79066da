"""A data set in memory: its parts as uint8, and what a run's record keeps of it."""

import functools
import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from process.console import note, printable
from process.errors import UserError
from recipe import Network

SPLITS = {"train": "training", "test": "test"}  # the fields of a Dataset, in words
DEFAULT = Network()
POLARITY = {True: "light on dark", False: "dark on light", None: "of mixed brightness"}


class Reading(NamedTuple):
    """How a data set is read: pictures become images of `shape` (C, H, W), and are prepared as
    MNIST's digits were, or resized. A trained run has `names` for its classes, and `trained_on`
    are those of the sets it knows; without, the set is to be trained on."""

    shape: Tuple[int, int, int]
    prepare: bool
    names: Optional[list] = None
    trained_on: tuple = ()

    @classmethod
    def to_train(cls, network):
        """As a recipe.Network says."""
        side = network.image_size
        return cls((3 if network.color else 1, side, side), network.prepare == "mnist")

    def sets_apart(self, name):
        """Whether a set without test images is split, or all its images are the test set."""
        return self.names is None or name in self.trained_on


class Split(NamedTuple):
    """Training or test part: `images` (N, C, H, W) uint8, C 1 or 3, and `labels` (N,) int32."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Fingerprint:
    """What a run's record keeps of its data set."""

    name: str
    train: int  # how many images
    test: int
    shape: List[int]  # (C, H, W) of an image
    classes: List[int]  # the labels of the training set, ascending
    names: Optional[List[str]]  # of all classes
    edge: int  # mean brightness of the training images' borders
    sha256: str  # of the names and the arrays


@dataclass(frozen=True)
class Dataset:
    """A named set of images.

    `names` are those of the classes, None where they are numbers; `files` are the test images'
    paths, None where they have no files of their own. A validation set, where there is one, chooses
    the best epoch.
    """

    name: str
    train: Split
    test: Split
    names: Optional[list] = None
    files: Optional[list] = None
    val: Optional[Split] = None

    @property
    def shape(self):
        """That of an image, (C, H, W)."""
        return self.train.images.shape[1:]

    @property
    def parts(self):
        """The parts that there are, by the name of their field."""
        parts = {"train": self.train, "test": self.test, "val": self.val}
        return {split: part for split, part in parts.items() if part is not None}

    def as_bytes(self):
        """This set, checked by `check_dataset`, with pixels as uint8 and labels as int32.

        Pixels of 0 to 16 or less are scaled to 0 to 255. Raises UserError where pixels are out of
        range, or no whole numbers.
        """
        largest = max(float(part.images.max()) for part in self.parts.values())
        least = min(float(part.images.min()) for part in self.parts.values())
        if not 0 <= least <= largest <= 255:
            raise UserError(f"{self.name} has pixels outside 0 to 255")
        factor = 255 / largest if 0 < largest <= 16 else 1
        if factor != 1:
            note(f"{printable(self.name)}: its brightest pixel is {largest:g}, so all are scaled")
        parts = {}
        for split, (images, labels) in self.parts.items():
            scaled = images if factor == 1 else np.rint(images * np.float32(factor))
            pixels = scaled.astype(np.uint8, copy=False)
            if (pixels != scaled).any():
                raise UserError(f"{self.name} has pixels that are no whole numbers")
            parts[split] = Split(pixels, labels.astype(np.int32, copy=False))
        return replace(self, **parts)

    @functools.cached_property
    def classes(self):
        """The labels that the training set has, ascending."""
        return np.unique(self.train.labels)

    @functools.cached_property
    def fingerprint(self):
        """What a run's record keeps of this set."""
        digest = hashlib.sha256(json.dumps(self.names).encode() if self.names else b"")
        for array in itertools.chain(*self.parts.values()):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        return Fingerprint(
            name=self.name,
            train=len(self.train.labels),
            test=len(self.test.labels),
            shape=list(self.shape),
            classes=self.classes.tolist(),
            names=self.names,
            edge=edge_of(self.train),
            sha256=digest.hexdigest(),
        )


def edges(images):
    """Mean brightness of the outermost pixels of each of images (N, C, H, W): (N,) float64."""
    outermost = np.ones(images.shape[-2:], bool)
    outermost[1:-1, 1:-1] = False
    return images[..., outermost].mean(axis=(1, 2))


def edge_of(split):
    """Mean brightness of the images' borders, 0 to 255 (MNIST: 0)."""
    return round(float(edges(split.images).mean()))


def light_on_dark(edge):
    """Whether images whose edges have this brightness, in the mean, are light on dark.

    None between the two: they do not agree among themselves, or are of a middle grey.
    """
    return None if 64 <= edge < 192 else bool(edge < 128)


def is_uneven(labels):
    """Whether a class has ten times as many images as another."""
    counts = np.unique(labels, return_counts=True)[1]
    return counts.max() >= 10 * counts.min()


def check_dataset(dataset, network, to_train=True):
    """Raise UserError unless all parts have images of one size, and labels that the network has."""
    num_classes = network.num_classes
    as_is = (network.image_size, network.color) == (DEFAULT.image_size, DEFAULT.color)
    if not dataset.names and not as_is:
        raise UserError(
            f"--image_size and --color are for folders of images, and {dataset.name} has none"
        )
    if dataset.names and len(dataset.names) != num_classes:
        raise UserError(
            f"{dataset.name} has {len(dataset.names)} classes, and the network is for "
            f"{num_classes}: choose another --data_dir, --prefix or --num_classes"
        )
    for split, (_, labels) in dataset.parts.items():
        which = {**SPLITS, "val": "validation"}[split]
        check_labels(f"{dataset.name}: the {which}", labels, num_classes)
    if to_train and not np.ptp(dataset.train.labels):
        raise UserError(
            f"{dataset.name}: all training images have the label {dataset.train.labels[0]:g}, "
            "where two classes are needed"
        )
    shapes = [part.images.shape[1:] for part in (dataset.train, dataset.test)]
    if shapes[0] != shapes[1]:
        said = [f"{rows} x {columns} pixels, {n} channel(s)" for n, rows, columns in shapes]
        raise UserError(f"{dataset.name}: training images are {said[0]}; test images {said[1]}")


def check_labels(which, labels, num_classes):
    """Raise UserError unless the labels are whole numbers of 0 to `num_classes` - 1."""
    if not len(labels):
        raise UserError(f"{which} set is empty")
    broken = labels[labels != np.floor(labels)]
    if len(broken):
        raise UserError(f"{which} labels have {broken[0]:g}, which is no whole number")
    if labels.max() >= num_classes:
        raise UserError(
            f"{which} labels go up to {labels.max():.0f}, so --num_classes must be at least "
            f"{labels.max() + 1:.0f} (it is {num_classes})"
        )
    if labels.min() < 0:
        raise UserError(f"{which} labels go down to {labels.min():.0f}, below 0")
