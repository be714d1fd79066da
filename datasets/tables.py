"""MNIST and sets like it as beginners have them: Keras' mnist.npz, and Kaggle's train.csv."""

import warnings
from pathlib import Path

import numpy as np

from datasets.layouts import TEST_SHARE
from process.console import printable, say
from process.errors import UserError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # of Keras' files
COLUMNS_OF_TRAINING = ("train.csv", "mnist_train.csv", "fashion-mnist_train.csv")


def find(folder):
    """The file of a data set in a folder, or the folder itself where it is such a file; None where
    there is none. Raises UserError where there are several, none of which is called mnist.npz."""
    if folder.is_file():
        return folder if folder.suffix.lower() in (".npz", ".csv") else None
    for name in ("mnist.npz", *COLUMNS_OF_TRAINING):
        if (folder / name).is_file():
            return folder / name
    arrays = sorted(filter(Path.is_file, folder.glob("*.npz")))
    if len(arrays) > 1:
        names = ", ".join(path.name for path in arrays)
        raise UserError(
            f"{folder} has more than one data set ({names}): name one, as --data_dir {arrays[0]}"
        )
    return arrays[0] if arrays else None


def read(path):
    """Both parts of a set: grey images (N, 1, H, W) uint8 and labels (N,) int32 of each.

    It is an .npz file with the arrays `ARRAYS`; or a CSV file with a header, whose first column is
    the label and whose others are the pixels of a square image, of 0 to 255. Beside the latter a
    file whose name has ``test`` for ``train`` may hold labelled test images; without it a tenth of
    every class is set apart. Raises UserError where the file is something else, or damaged.
    """
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    train = read_csv(path)
    beside = path.with_name(path.name.replace("train", "test"))
    if beside != path and beside.is_file() and first_column(beside) == first_column(path):
        return train, read_csv(beside)
    say(
        f"{printable(path.parent)} has no labelled test images: one image of {TEST_SHARE} of each "
        "class is set apart as the test set"
    )
    return hold_out(*train)


def read_npz(path):
    """Both parts of a file of Keras."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
    except Exception as error:  # of zipfile, its four ways to pack, and NumPy's tokenizer
        raise UserError(
            f"{path} cannot be read: a data set in this format has {', '.join(ARRAYS)} ({error})"
        ) from error
    return tuple(
        as_split(path, arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")
    )


def read_csv(path):
    """A part from a table with a label and the pixels of an image in each row."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a table without rows
            rows = np.loadtxt(path, np.float32, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read: its rows must be a label and pixels ({error})"
        ) from error
    broken = rows[(rows != np.round(rows)) | (np.abs(rows) > 2**24)]  # what float32 holds exactly
    if len(broken):
        raise UserError(f"{path} has {broken[0]:g} where whole numbers are wanted")
    side = round(max(rows.shape[1] - 1, 0) ** 0.5)
    if not rows.size or side**2 != rows.shape[1] - 1:
        raise UserError(f"{path} has no rows of a label and the pixels of a square")
    rows = rows.astype(np.int32)
    return as_split(path, rows[:, 1:].reshape(-1, side, side), rows[:, 0])


def as_split(path, images, labels):
    """Images (N, 1, H, W) uint8 and labels (N,) int32, if these are some."""
    whole = images.ndim == 3 and labels.shape == (len(images),) and labels.dtype.kind in "iu"
    if not whole or images.dtype.kind not in "iu":
        raise UserError(
            f"{path}: its images are {images.dtype} of shape {images.shape}, with labels of shape "
            f"{labels.shape}, where (N, H, W) and (N,) of whole numbers are wanted"
        )
    if images.size and not 0 <= images.min() <= images.max() <= 255:
        raise UserError(f"{path} has pixels outside 0 to 255")
    return images[:, np.newaxis].astype(np.uint8), labels.astype(np.int32)


def hold_out(images, labels):
    """Keep every tenth image of each class, the first one included, for the test."""
    test = np.zeros(len(labels), bool)
    for j in np.unique(labels):
        test[np.flatnonzero(labels == j)[::TEST_SHARE]] = True
    return (images[~test], labels[~test]), (images[test], labels[test])


def first_column(path):
    """The name of a table's first column."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline(1000).partition(",")[0].strip().lower()
