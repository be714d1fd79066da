"""People's own images: a folder a class, read in any format, size and mode."""

import collections
import contextlib
import hashlib
import threading
from pathlib import Path
from typing import List, NamedTuple, Optional

import numpy as np

from datasets.images import open_image, quiet, read_image
from datasets.layouts import list_splits
from process.console import progress, warn
from process.cores import physical_cores
from process.errors import UserError, check_signals

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
        The folders are none of the above, or a class has no image.
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
    trained = set(map(digest_of, splits["train"].images))
    for split, part in splits.items():
        again = [
            path for path, image in zip(part.files, part.images) if digest_of(image) in trained
        ]
        if split != "train" and again:
            warn(
                f"{len(again)} of {len(part.files)} images in {split} are also in train, "
                f"for example {again[0]}: its accuracy is that of images seen in training"
            )


def digest_of(image):
    return hashlib.sha1(image.tobytes()).digest()


def read_files(files, shape, prepare=False):
    """Decode the images of classes.

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
    images, _, faults = decode_all(paths, shape, prepare)
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


def decode(paths, shape, prepare=False):
    """Read image files, a list of Decoded; parameters are those of `decode_all`."""
    return [
        Decoded(image if fault is None else None, box, fault)
        for image, box, fault in zip(*decode_all(paths, shape, prepare))
    ]


def decode_all(paths, shape, prepare=False):
    """Decode images, in as many threads as there are cores: Pillow does not hold them up.

    Parameters
    ----------
    paths : list of Path
    shape : (C, H, W)
    prepare : bool, optional
        Whether they are prepared as MNIST's digits were.

    Returns
    -------
    images : (N, C, H, W) uint8
    boxes, faults : list
        As a `Decoded` has them.

    Raises
    ------
    Interrupted
        Before the next image, if a signal has come.
    UserError
        Images of this shape cannot be prepared.
    """
    if prepare and shape != (1, 28, 28):
        raise UserError("--prepare mnist makes grey images of 28 x 28: leave --image_size and "
                        "--color away")  # fmt: skip
    images = np.empty((len(paths), *shape), np.uint8)
    boxes, faults = [None] * len(paths), [UNREADABLE] * len(paths)
    places = iter(range(len(paths)))  # from which each thread takes its next image

    def work(begin=lambda place: None):
        for i in places:
            begin(i)
            with contextlib.suppress(ValueError):
                one = read_digit(paths[i]) if prepare else Decoded(read_image(paths[i], shape))
                boxes[i], faults[i] = one.box, one.fault
                if one.fault is None:
                    images[i] = one.pixels

    def report(place):
        check_signals()
        bar.update(place + 1 - bar.n)

    cores = physical_cores()
    with quiet(), progress(total=len(paths), desc="reading images", unit=" images") as bar:
        helpers = start_threads(min(cores, len(paths)) - 1, work)
        try:
            work(report)
        finally:
            collections.deque(places, maxlen=0)  # nothing is left to the helpers
        for helper in helpers:
            helper.join()
    return images, boxes, faults


def start_threads(count, work):
    """Start up to `count` threads, as many as the system lets this process have."""
    threads = []
    with contextlib.suppress(RuntimeError):
        for _ in range(count):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            threads.append(thread)
    return threads


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
    return Decoded(prepared.pixels[np.newaxis], box)
