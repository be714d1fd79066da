"""People's own images: a folder a class, read in any format, size and mode."""

import warnings
from multiprocessing.pool import ThreadPool
from typing import NamedTuple, Optional

import numpy as np

from datasets.dataset import Dataset, Split
from datasets.images import open_image, read_image
from datasets.layouts import list_splits
from process.console import progress, warn
from process.cores import physical_cores
from process.errors import UserError, check_signals

UNREADABLE, NO_INK = "not a readable image", "no ink found"


class Decoded(NamedTuple):
    """An image file, read: `pixels` (C, H, W) uint8 and, where it was prepared, the `box` of its
    ink, (left, top, right, bottom), and how many `digits` it seems to hold; or the `fault` why
    there are none."""

    pixels: Optional[np.ndarray] = None
    box: Optional[tuple] = None
    digits: int = 1
    fault: Optional[str] = None


def read(folder, name, reading):
    """The Dataset of that name in a folder of folders, as a `dataset.Reading` says.

    Its parts are those of `layouts.list_splits`. Raises UserError where the folders are none of a
    set, or a class to be trained on has no image.
    """
    listed, names = list_splits(folder, reading.names, reading.sets_apart(name))
    parts, files = {}, {}
    for split, classes in listed.items():
        parts[split], files[split] = read_files(classes, reading.shape, reading.prepare)
    train = parts.get("train", parts["test"])
    missing = np.setdiff1d(np.arange(len(names)), train.labels)
    if len(missing) and reading.names is None:
        raise UserError(
            f"the class {names[missing[0]]} in {folder} has no image that can be read and is left "
            "to train with"
        )
    if "train" in parts:
        count_repeated(parts, files)
    return Dataset(name, train, parts["test"], names, files["test"], parts.get("val"))


def count_repeated(parts, files):
    """Say how many images of the other parts are also in the training set."""
    trained = {hash(image.tobytes()) for image in parts["train"].images}
    for split in sorted(parts.keys() - {"train"}):
        pairs = zip(files[split], parts[split].images)
        again = [path for path, image in pairs if hash(image.tobytes()) in trained]
        if again:
            warn(
                f"{len(again)} of {len(files[split])} images in {split} are also in train, for "
                f"example {again[0]}: its accuracy is that of images seen in training"
            )


def read_files(classes, shape, prepare):
    """Read a list of paths for each class: a Split of those that can be read, and their paths. The
    others are named."""
    paths = [path for one in classes for path in one]
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), list(map(len, classes)))
    images = np.empty((len(paths), *shape), np.uint8)
    kept, skipped = [], {}
    for i, one in enumerate(decode(paths, shape, prepare)):
        if one.fault:
            skipped.setdefault(one.fault, []).append(str(paths[i]))
        else:
            images[len(kept)] = one.pixels
            kept.append(i)
    for fault, names in skipped.items():
        warn(f"skipped: {fault}: {', '.join(names)}")
    return Split(images[: len(kept)], labels[kept]), [paths[i] for i in kept]


def decode(paths, shape, prepare=False):
    """Read image files, in as many threads as there are cores: Pillow does not hold them up.

    Yields a Decoded of each, of `shape` (C, H, W). Raises Interrupted before the next one, if a
    signal has come, and UserError where images of this shape cannot be prepared as MNIST's.
    """
    if prepare and shape != (1, 28, 28):
        raise UserError(
            "--prepare mnist makes grey images of 28 x 28: leave --image_size and --color out"
        )
    # Unlike an executor it leaves what is not begun, and takes a tenth of the memory for a path.
    with warnings.catch_warnings(), ThreadPool(physical_cores()) as pool:
        warnings.simplefilter("ignore")  # of decoders; the filters are the same in all threads
        decoded = pool.imap(lambda path: read_one(path, shape, prepare), paths)
        bar = {"total": len(paths), "desc": "reading images", "unit": " images"}
        for one in progress(iterable=decoded, **bar):
            check_signals()
            yield one


def read_one(path, shape, prepare):
    """An image file as a Decoded."""
    try:
        return read_digit(path) if prepare else Decoded(read_image(path, shape))
    except ValueError:
        return Decoded(fault=UNREADABLE)


def read_digit(path):
    """Read an image file as a digit of MNIST; raises ValueError where it cannot be read."""
    from datasets import digits  # SciPy's ndimage takes a quarter of a second, wanted here only

    image, full = open_image(path, "L", (digits.WORKING_SIDE,) * 2)
    prepared = digits.prepare(image)
    if prepared is None:
        return Decoded(fault=NO_INK)
    box = prepared.box and tuple(
        round(place * whole / side)
        for place, whole, side in zip(prepared.box, full * 2, image.size * 2)
    )
    return Decoded(prepared.pixels[np.newaxis], box, prepared.digits)
