"""People's own images: a folder a class, read in any format, size and mode."""

import hashlib
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import List, NamedTuple, Optional

import joblib
import numpy as np
import psutil

from datasets import digits
from datasets.images import open_image, quiet, read_image
from datasets.layouts import list_splits
from process.console import progress, warn
from process.errors import UserError, check_signals

CHUNK = 100  # images that a thread decodes at once
UNREADABLE, NO_INK = "not a readable image", "no ink found"


class Part(NamedTuple):
    """A part of a set: `images` (N, C, H, W) uint8, `labels` (N,) int32 and their `files`."""

    images: np.ndarray
    labels: np.ndarray
    files: List[Path]


class Decoded(NamedTuple):
    """An image file, read: `pixels` (C, H, W) uint8 and, where it was prepared, the `box` of its
    ink, (left, top, right, bottom); or the `fault` why there are none."""

    pixels: Optional[np.ndarray] = None
    box: Optional[tuple] = None
    fault: Optional[str] = None


def read(folder, size, color, prepare=False):
    """Read a data set of folders.

    Parameters
    ----------
    folder : Path
        With ``train/<class>/*``, ``test/<class>/*`` and perhaps ``val/<class>/*``; without the
        latter two a tenth of every class is set apart, the same as long as the files are.
    size : int
        To how many pixels each side is brought.
    color : bool
        Whether images have three channels or, grey, one.
    prepare : bool
        Whether they are prepared as MNIST's digits were; `size` is 28 then, and `color` False.

    Returns
    -------
    dict of str to Part
        By ``train``, ``test`` and, where the folder has it beside ``test``, ``val``.
    names : list of str
        The classes.

    Raises
    ------
    UserError
        The folders are none of the above, a class has no image, or memory is too small.
    """
    files, names = list_splits(folder)
    shape = (3 if color else 1, size, size)
    splits = {split: read_files(files[split], shape, prepare) for split in ("train", "val", "test")
              if split in files}  # fmt: skip
    missing = np.setdiff1d(np.arange(len(names)), splits["train"].labels)
    if len(missing):
        raise UserError(f"the class {names[missing[0]]} in {folder} has no image that can be read")
    count_repeated(splits)
    return splits, names


def count_repeated(splits):
    """Say how many images of the other parts are also in the training set."""
    trained = set(map(digest, splits["train"].images))
    for split, part in splits.items():
        again = [path for path, image in zip(part.files, part.images) if digest(image) in trained]
        if split != "train" and again:
            warn(
                f"{len(again)} of {len(part.files)} images in {split} are also in train, "
                f"for example {again[0]}: its accuracy is that of images seen in training"
            )


def digest(image):
    return hashlib.sha1(image.tobytes()).digest()


def read_files(files, shape, prepare=False):
    """Decode images, in as many threads as there are cores: Pillow does not hold them up.

    Parameters
    ----------
    files : list of list of Path
        One list a class.
    shape : (C, H, W)
    prepare : bool, optional

    Returns
    -------
    Part
        Of those that can be read; the others are named.
    """
    paths = [path for one in files for path in one]
    labels = np.repeat(np.arange(len(files), dtype=np.int32), list(map(len, files)))
    check_memory(len(paths), shape)
    images = np.empty((len(paths), *shape), np.uint8)
    chunks = [
        (paths[start : start + CHUNK], shape, prepare) for start in range(0, len(paths), CHUNK)
    ]
    faults, start = [None] * len(paths), 0
    bar = progress(total=len(paths), desc="reading images", unit=" images")
    cores = joblib.cpu_count(only_physical_cores=True)
    with quiet(), bar, ThreadPool(max(1, min(cores, len(chunks)))) as pool:
        for chunk in pool.imap(lambda arguments: decode_quietly(*arguments), chunks):
            check_signals()
            for image in chunk:
                faults[start] = image.fault
                if image.fault is None:
                    images[start] = image.pixels
                start += 1
            bar.update(len(chunk))
    for fault in (UNREADABLE, NO_INK):
        skipped = [str(path) for path, each in zip(paths, faults) if each == fault]
        if skipped:
            warn(f"skipped: {fault}: {', '.join(skipped)}")
    whole = np.array([fault is None for fault in faults], bool)
    part = Part(images[whole], labels[whole], [p for p, good in zip(paths, whole) if good])
    flat = np.ptp(part.images.reshape(len(part.images), int(np.prod(shape))), axis=1) == 0
    blank = [part.files[i] for i in np.flatnonzero(flat)]
    if blank:
        warn(f"images of a single grey: {', '.join(map(str, blank))}")
    return part


def check_memory(count, shape):
    """Raise UserError where so many images would take more than half of the free memory."""
    size = count * int(np.prod(shape))
    if size > psutil.virtual_memory().available / 2:
        raise UserError(
            f"{count} images of {shape[1]} x {shape[2]} pixels take {size / 2**30:.1f} GiB, "
            "more than half of the free memory: choose a smaller --image_size"
        )


def decode(paths, shape, prepare=False):
    """Read image files, a list of Decoded; parameters are those of `read_files`."""
    with quiet():
        return decode_quietly(paths, shape, prepare)


def decode_quietly(paths, shape, prepare=False):
    decoded = []
    for path in paths:
        try:
            decoded.append(read_digit(path) if prepare else Decoded(read_image(path, shape)))
        except ValueError:
            decoded.append(Decoded(fault=UNREADABLE))
    return decoded


def read_digit(path):
    """Read an image file as a digit of MNIST; raises ValueError where it cannot be read."""
    image, full = open_image(path, "L", (digits.WORKING_SIDE,) * 2)
    prepared = digits.prepare(image)
    if prepared is None:
        return Decoded(fault=NO_INK)
    box = prepared.box and tuple(
        round(place * whole / side)
        for place, whole, side in zip(prepared.box, full * 2, image.size * 2)
    )
    return Decoded(prepared.pixels[np.newaxis], box)
