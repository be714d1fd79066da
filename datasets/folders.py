"""People's own images: a folder a class, read in any format, size and mode."""

import collections
import contextlib
import hashlib
import io
import os
import re
import threading
import warnings
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageOps

from process.console import printable, progress, say, warn
from process.cores import physical_cores
from process.errors import UserError, check_signals
from process.files import read_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}
TEST_SHARE = 10  # one image of so many, where no test images are set apart
NAMED = 3  # files that a message names


def holds_images(folder):
    """Whether a data set's folder has folders in it, and none of IDX's files."""
    with contextlib.suppress(OSError):
        there = visible(folder)
        idx = any(re.search(r"(images|labels)[-.]idx\d", path.name) for path in there)
        return not idx and any(map(Path.is_dir, there))
    return False


def visible(folder):
    return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))


def class_names(folder):
    """The names of the classes, those of the folders of the training images, sorted.

    Raises
    ------
    UserError
        There are not two or more, or two are the same but for case.
    """
    root = train_folder(folder)
    names = [path.name for path in visible(root) if path.is_dir()]
    if len(names) < 2:
        raise UserError(
            f"{root} has {len(names)} folder(s) of images, but classes need two: "
            "DIR/train/<class>/* and DIR/test/<class>/*, or DIR/<class>/*"
        )
    seen = {}
    for name in names:
        if not name.isprintable() or name == "unknown":  # which refused images are called
            raise UserError(f"{root} has a class that must have another name: {name!r}")
        if name.lower() in seen:
            raise UserError(
                f"{root} has the classes {seen[name.lower()]} and {name}, which differ in case "
                "only: rename or join them"
            )
        seen[name.lower()] = name
    return names


def train_folder(folder):
    """Where the folders of the training classes are: in ``train``, or directly in `folder`."""
    there = [name for name in ("train", "test") if (folder / name).is_dir()]
    if there == ["test"]:
        raise UserError(f"{folder} has test images in {folder / 'test'}, but no folder train")
    return folder / "train" if there else folder


def read(folder, size, color):
    """Read a data set of folders.

    Parameters
    ----------
    folder : Path
        With ``train/<class>/*`` and ``test/<class>/*``; without ``test`` a tenth of every class is
        set apart, the same as long as the files are.
    size : int
        To how many pixels each side is brought.
    color : bool
        Whether images have three channels or, grey, one.

    Returns
    -------
    train, test : (images, labels)
        (N, 1 or 3, size, size) uint8, and (N,) int32, the places of the classes in `names`.
    names : list of str

    Raises
    ------
    UserError
        The folders are none of the above, a class has no image, or memory is too small.
    """
    names = class_names(folder)
    root = train_folder(folder)
    files = [list_class(root / name) for name in names]
    if root != folder and (folder / "test").is_dir():
        test_files = list_test(folder / "test", names)
    else:
        files = [sorted(paths, key=by_hash) for paths in files]
        counts = [max(1, len(paths) // TEST_SHARE) for paths in files]
        test_files = [sorted(paths[:count]) for paths, count in zip(files, counts)]
        files = [sorted(paths[count:]) for paths, count in zip(files, counts)]
        say(
            f"{folder} has no folder test: one image of {TEST_SHARE} of each class is set apart "
            "as the test set, chosen by the names of the files"
        )
    for name, paths in zip(names, files):
        if not paths:
            raise UserError(
                f"{root / name} has no image to train with: a class needs one, or two where there "
                "is no folder test"
            )
    shape = (3 if color else 1, size, size)
    splits = [read_files(paths, shape) for paths in (files, test_files)]
    missing = np.setdiff1d(np.arange(len(names)), splits[0][1])
    if len(missing):
        raise UserError(f"{root / names[missing[0]]} has no image that can be read")
    return (*splits, names)


def by_hash(path):
    """Sorts files in an order that has nothing to do with their names and never changes."""
    return hashlib.sha256(os.fsencode(path.name)).digest()


def list_test(folder, names):
    """The test images of each class."""
    there = {path.name: path for path in visible(folder) if path.is_dir()}
    unknown = sorted(there.keys() - set(names))
    if unknown:
        raise UserError(
            f"{folder / unknown[0]} holds test images of a class that has no training images"
        )
    return [list_class(there[name]) if name in there else [] for name in names]


def list_class(folder):
    """The images of a class."""
    paths = visible(folder)
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder within a class, where only images may be")
    images = [path for path in paths if path.suffix.lower() in FORMATS]
    others = [path for path in paths if path.suffix.lower() not in FORMATS]
    if others:
        warn(f"{some(others)}: left out, for the name ends in none of {', '.join(FORMATS)}")
    return images


def some(paths):
    """The first of some files, and how many they are."""
    named = ", ".join(map(printable, paths[:NAMED]))
    return f"{named}, ... ({len(paths)} files)" if len(paths) > NAMED else named


def read_files(files, shape):
    """Decode the images of classes.

    Parameters
    ----------
    files : list of list of Path
        One list a class.
    shape : (C, H, W)

    Returns
    -------
    images : (N, C, H, W) uint8
    labels : (N,) int32
        Those that cannot be read are left out, with a warning.
    """
    paths = [path for one in files for path in one]
    labels = np.repeat(np.arange(len(files), dtype=np.int32), list(map(len, files)))
    size = len(paths) * int(np.prod(shape))
    if size > psutil.virtual_memory().available / 2:
        raise UserError(
            f"{len(paths)} images of {shape[1]} x {shape[2]} pixels take {size / 2**30:.1f} GiB, "
            "more than half of the free memory: choose a smaller --image_size"
        )
    images, whole = decode_all(paths, shape)
    if not whole.all():
        broken = [path for path, good in zip(paths, whole) if not good]
        warn(f"{some(broken)}: left out, for it is no image that can be read")
    return images[whole], labels[whole]


def decode(paths, shape):
    """Images (C, H, W) uint8, or None where one cannot be read."""
    return [image if good else None for image, good in zip(*decode_all(paths, shape))]


def decode_all(paths, shape):
    """Decode images, in as many threads as there are cores: Pillow does not hold them up.

    Parameters
    ----------
    paths : list of Path
    shape : (C, H, W)

    Returns
    -------
    images : (N, C, H, W) uint8
    whole : (N,) bool
        Which of them could be read.

    Raises
    ------
    Interrupted
        Before the next image, if a signal has come.
    """
    images, whole = np.empty((len(paths), *shape), np.uint8), np.zeros(len(paths), bool)
    places = iter(range(len(paths)))  # from which each thread takes its next image

    def work(prepare=lambda place: None):
        for i in places:
            prepare(i)
            with contextlib.suppress(ValueError):
                images[i] = read_image(paths[i], shape)
                whole[i] = True

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
    return images, whole


def start_threads(count, work):
    """Start up to `count` threads, as many as the system lets this process have."""
    threads = []
    with contextlib.suppress(RuntimeError):
        for _ in range(count):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            threads.append(thread)
    return threads


@contextlib.contextmanager
def quiet():
    """Without the warnings of decoders; around threads, not in them: the filters are the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_image(path, shape):
    """Read an image as people see it: upright, transparent parts white.

    Parameters
    ----------
    path : Path
    shape : (C, H, W)

    Returns
    -------
    (C, H, W) uint8

    Raises
    ------
    ValueError
        It cannot be read.
    """
    channels, height, width = shape
    mode = "RGB" if channels == 3 else "L"
    try:
        content = io.BytesIO(read_file(path))
        with Image.open(content, formats=sorted(set(FORMATS.values()))) as image:
            image.draft(mode, (width, height))  # a JPEG need not be decoded whole
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if "A" in image.getbands() or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            image = image.convert(mode)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except Exception as error:  # decoders fail in many ways
        raise ValueError(f"{path} cannot be read as an image") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
