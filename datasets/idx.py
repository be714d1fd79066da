"""IDX files, MNIST's format: found by the names that people's files have, and read with care."""

import gzip
import math
import re
import zlib

import numpy as np

from process.console import note, printable
from process.errors import UserError
from process.files import read_file

DTYPES = {8: "u1", 9: "i1", 0xB: ">i2", 0xC: ">i4", 0xD: ">f4", 0xE: ">f8"}  # by IDX's codes
IMAGES, LABELS = (3, 4), (1, 2)  # how many axes they may have
NAMES = {"train": "train", "t10k": "(?:t10k|test)"}  # of a part, by MNIST's: in others' files
WORDS = {"train": "training", "t10k": "test"}


def find_folder(folder):
    """The folder with IDX's files, which torchvision puts into MNIST/raw; None where there is none.
    Raises UserError where there are several."""
    for place in ("", "raw/", "*/raw/"):
        found = sorted({path.parent for path in folder.glob(f"{place}[!.]*[-.]idx[0-9]*")})
        if len(found) > 1:
            names = ", ".join(map(str, found))
            raise UserError(
                f"{folder} has more than one data set ({names}): name one with --data_dir"
            )
        if found:
            return found[0]
    return None


def read_split(folder, split):
    """Images (N, C, H, W) and labels (N,), of any type, of one of MNIST's two parts, by `NAMES`.

    Raises UserError where a file is missing or damaged, or where the two do not fit each other.
    """
    path, labels_path = (find_idx(folder, split, part) for part in ("images", "labels"))
    images, labels = read_images(path), read_idx(labels_path, LABELS)
    if len(images) != len(labels):
        raise UserError(
            f"{path} has {len(images)} {WORDS[split]} images, but {len(labels)} labels are beside "
            "it: the two files do not belong together"
        )
    if labels.ndim == 2:  # QMNIST has more columns
        labels = labels[:, 0]
    if labels.dtype.kind == "i" and labels.any() and not (labels % 2**24).any():
        raise UserError(
            f"{labels_path}: its labels are in the wrong byte order: IDX files are big-endian"
        )
    return images, labels


def read_images(path):
    """Images (N, C, H, W) of an IDX file; raises UserError where it has none."""
    return as_images(path, read_idx(path, IMAGES))


def as_images(path, array):
    """The images of a file, (N, H, W) or (N, H, W, C), as (N, C, H, W). Those of EMNIST lie on
    their side, and are turned. Raises UserError where the array has another shape."""
    images = array[..., np.newaxis] if array.ndim == 3 else array
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f"{path}: its images are an array of shape {array.shape}: (N, H, W) or (N, H, W, 3) is "
            "wanted"
        )
    if path.name.lower().startswith("emnist"):
        images = images.transpose(0, 2, 1, 3)
        note(f"{printable(path)}: EMNIST's images are transposed, and are turned upright")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def find_idx(folder, split, part):
    """Find a file by MNIST's name, or by the like names that Kaggle, EMNIST and QMNIST use; the
    packed one where it is there, too."""
    like = rf"(?:.+-)?{NAMES[split]}-{part}[-.]idx\d-(?:ubyte|int)(?:\.gz)?"
    there = sorted(path.name for path in folder.iterdir() if not path.is_dir())
    found = {name.partition(".gz")[0]: name for name in there if re.fullmatch(like, name)}
    if len(found) > 1:
        raise UserError(
            f"{folder} has more than one file of {WORDS[split]} {part}: {', '.join(found)}: "
            "leave the files of one set there"
        )
    if not found:
        name = f"{split}-{part}-idx{1 if part == 'labels' else 3}-ubyte"
        raise UserError(
            f"{folder} has no file {name} or {name}.gz, nor one of a like name, but "
            f"{', '.join(there[:8]) + ', ...' * (len(there) > 8) or 'nothing'}; images go to "
            "DIR/train/<class>/ and DIR/test/<class>/, or DIR/<class>/"
        )
    return folder / found.popitem()[1]


def read_idx(path, axes):
    """Read an IDX file, packed by gzip or not, whatever its name says: an array of one of `DTYPES`.

    `axes` are how many it may have. Raises UserError where it is something else, or damaged.
    """
    try:
        content = read_file(path)
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason})") from error
    known = len(content) >= 4 and content[:2] == b"\0\0" and content[2] in DTYPES
    if not known or content[3] not in axes or len(content) < 4 + 4 * content[3]:
        wanted = " axes, or ".join(map(str, axes))
        raise UserError(
            f"{path} cannot be read: it is not an IDX file of numbers with {wanted} axes"
        )
    start = 4 + 4 * content[3]
    shape, dtype = np.frombuffer(content[4:start], ">u4").tolist(), np.dtype(DTYPES[content[2]])
    size, there = math.prod(shape) * dtype.itemsize, len(content) - start
    if there != size:
        fault = "truncated" if there < size else "longer than that"
        raise UserError(f"{path}: the header promises {size} bytes, and the file is {fault}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
