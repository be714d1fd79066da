"""IDX files, MNIST's format: found by the names that people's files have, and read with care."""

import gzip
import math
import re
import zlib

import numpy as np

from process.console import note, printable
from process.errors import UserError
from process.files import read_file

BYTES, INTEGERS = 0x08, 0x0C
DTYPES = {BYTES: np.dtype("u1"), INTEGERS: np.dtype(">i4")}
IMAGES, LABELS = ((3, 4), (BYTES,)), ((1, 2), (BYTES, INTEGERS))  # axes, kinds: see `read_idx`
NAMES = {"train": "train", "t10k": "(?:t10k|test)"}  # of a part, by MNIST's: in others' files
WORDS = {"train": "training", "t10k": "test"}


def read_split(folder, split):
    """Images (N, C, H, W) uint8 and labels (N,) int32 of one of MNIST's two parts, by `NAMES`.

    Raises UserError where a file is missing or damaged, or where the two do not fit each other.
    """
    path, labels_path = (find_idx(folder, split, part) for part in ("images", "labels"))
    images, labels = read_images(path), read_idx(labels_path, *LABELS)
    if len(images) != len(labels):
        raise UserError(
            f"{path} has {len(images)} {WORDS[split]} images, but {len(labels)} labels are beside "
            "it: the two files do not belong together"
        )
    if labels.ndim == 2:  # QMNIST has more columns
        labels = labels[:, :1].ravel()
    return images, labels.astype(np.int32)


def read_images(path):
    """Images (N, C, H, W) uint8 of an IDX file; raises UserError where it has none."""
    images = read_idx(path, *IMAGES)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.shape[3] not in (1, 3):
        raise UserError(f"{path}: its images have {images.shape[3]} channels instead of 1 or 3")
    upright = (0, 3, 1, 2)
    if path.name.startswith("emnist"):  # whose images lie on their side, and are mirrored
        upright = (0, 3, 2, 1)
        note(f"{printable(path)}: EMNIST's images are transposed, and are turned upright")
    return np.ascontiguousarray(images.transpose(upright))


def find_idx(folder, split, part):
    """Find a file by MNIST's name, or by the like names that Kaggle, EMNIST and QMNIST use."""
    name = f"{split}-{part}-idx{1 if part == 'labels' else 3}-ubyte"
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    like = rf"(?:.+-)?{NAMES[split]}-{part}[-.]idx\d-(?:ubyte|int)(?:\.gz)?"
    there = sorted(path.name for path in folder.iterdir() if not path.is_dir())
    found = {one.partition(".gz")[0]: one for one in there if re.fullmatch(like, one)}
    if len(found) > 1:
        raise UserError(
            f"{folder} has more than one file of {WORDS[split]} {part}: {', '.join(found)}: "
            "leave the files of one set there"
        )
    if not found:
        raise UserError(
            f"{folder} has no file {name} or {name}.gz, nor one of a like name, but "
            f"{', '.join(there[:8]) + ', ...' * (len(there) > 8) or 'nothing'}; images go to "
            "DIR/train/<class>/ and DIR/test/<class>/, or DIR/<class>/"
        )
    return folder / found.popitem()[1]


def read_idx(path, axes, kinds):
    """Read an IDX file, packed by gzip or not, whatever its name says: an array of uint8, or of
    big-endian int32.

    `axes` are how many it may have, `kinds` which numbers, by IDX's codes. Raises UserError where
    it is something else, or damaged.
    """
    try:
        content = read_file(path)
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason})") from error
    magic = content[:4]
    known = len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in kinds and magic[3] in axes
    start = 4 + 4 * magic[3] if known else 0
    if not known or len(content) < start:
        numbers = " or ".join("bytes" if kind == BYTES else "int32" for kind in kinds)
        raise UserError(
            f"{path} cannot be read: it is not an IDX file of {numbers} with "
            f"{' axes, or '.join(map(str, axes))} axes"
        )
    shape = np.frombuffer(content[4:start], ">u4").tolist()
    size = math.prod(shape) * DTYPES[magic[2]].itemsize
    if len(content) - start != size:
        fault = "truncated" if len(content) - start < size else "longer than that"
        raise UserError(f"{path}: the header promises {size} bytes, and the file is {fault}")
    return np.frombuffer(content, DTYPES[magic[2]], offset=start).reshape(shape)
