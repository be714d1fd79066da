"""A data set in memory: its parts as uint8, and what a run's record keeps of it."""

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import List, NamedTuple, Optional

import numpy as np

from process.errors import UserError
from recipe import Network

SPLITS = {"train": "training", "test": "test"}  # the fields of a Dataset, in words
DEFAULT = Network()
LARGEST_SIDE = 10**4  # pixels of an image
POLARITY = {True: "light on dark", False: "dark on light", None: "of mixed brightness"}


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
            edge=edge_of(self.train),
            sha256=digest.hexdigest(),
        )


def edges(images):
    """Mean brightness of the border of each of images (N, C, H, W): (N,) float64."""
    border = np.ones(images.shape[2:], bool)
    border[1:-1, 1:-1] = False
    return images[..., border].mean(axis=(1, 2))


def edge_of(split):
    """Mean brightness of the images' borders, 0 to 255 (MNIST: 0)."""
    return round(float(edges(split.images).mean()))


def light_on_dark(edge):
    """Whether images whose edges have this brightness, in the mean, are light on dark.

    None between the two: they do not agree among themselves, or are of a middle grey.
    """
    return None if 64 <= edge < 192 else bool(edge < 128)


def check_dataset(dataset, network):
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
    parts = {words: getattr(dataset, split) for split, words in SPLITS.items()}
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
    check_sizes(dataset)


def check_sizes(dataset):
    """Raise UserError unless the images have one size, which is not too large."""
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
