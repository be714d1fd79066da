"""Sets of arrays and tables: Keras' mnist.npz and files like it, Kaggle's train.csv and its kin."""

import io
import re
import warnings

import numpy as np

from datasets import layouts
from datasets.idx import as_images
from process.errors import UserError
from process.files import open_regular

# What a word in the name of an array, or of a file with one array, says of it.
PARTS = {"train": {"train"}, "test": {"test", "t10k"}}
KINDS = {"images": {"x", "img", "imgs", "image", "images"}, "labels": {"y", "label", "labels"}}
ARRAYS = {(part, kind) for part in PARTS for kind in KINDS}
LABELS = ("label", "class", "target", "y")  # columns of a table
MAX_UNPACKED = 2**33  # bytes of an .npz file, a small one of which may hold anything
NO_PIXELS = ("", "id", "index", "unnamed: 0")


def find(folder):
    """The files of a data set in a folder, or the folder itself where it is such a file; none where
    there is none. Raises UserError where there are several sets."""
    if folder.is_file():
        return [folder] if folder.suffix.lower() in (".npz", ".csv") else []
    files = [path for path in layouts.visible(folder) if path.is_file()]
    arrays, tables = (
        [path for path in files if path.suffix.lower() == end] for end in (".npz", ".csv")
    )
    if {array_of(path.stem) for path in arrays} >= ARRAYS:
        return arrays
    mnist = [path for path in arrays if path.name == "mnist.npz"]
    training = [path for path in tables if "train" in path.name.lower()]
    found = mnist or training or arrays or tables
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"{folder} has more than one data set ({names}): name one with --data_dir")
    return found


def array_of(name):
    """Which of `ARRAYS` a name stands for, part of which may be None."""
    said = set(re.split("[-_. ]", name.lower()))
    return tuple(
        next((key for key, words in each.items() if words & said), None) for each in (PARTS, KINDS)
    )


def read(folder, paths, sets_apart):
    """Both parts of a set in a folder: grey or RGB images (N, C, H, W) and labels (N,) of any
    numbers.

    `paths` are .npz files with the arrays of a training and a test set; or a CSV file with a label
    and the pixels of a square image in each row. Beside the latter a file whose name has ``test``
    for ``train`` may hold labelled test images; without it one of `layouts.TEST_SHARE` of each
    class is set apart or, without `sets_apart`, all images are both. Raises UserError where the
    files are something else, or damaged.
    """
    path = paths[0]
    if path.suffix.lower() == ".npz":
        return read_npz(paths)
    train = read_csv(path)
    beside = path.with_name(path.name.replace("train", "test"))
    if beside != path and beside.is_file():
        columns = [len(first_row(table)[0]) for table in (path, beside)]
        if columns[0] == columns[1]:  # Kaggle's test.csv has no labels
            return train, read_csv(beside)
    layouts.say_what_is_test(folder, sets_apart)
    return hold_out(*train) if sets_apart else (train, train)


def read_npz(paths):
    """Both parts of one file with four arrays, or of four files with one each."""
    arrays = {}
    for path in paths:
        try:
            # np.load takes what is no .npz file for a pickle, and advises to trust it.
            with open_regular(path) as file:
                members = np.lib.npyio.NpzFile(file)
                if sum(member.file_size for member in members.zip.infolist()) > MAX_UNPACKED:
                    raise ValueError(f"it unpacks to more than {MAX_UNPACKED:,} bytes")
                for name, array in members.items():
                    arrays[array_of(name if len(paths) == 1 else path.stem)] = np.asarray(array)
        except Exception as error:  # of zipfile, its four ways to pack, and NumPy's tokenizer
            raise UserError(f"{path} cannot be read ({error})") from error
    if not arrays.keys() >= ARRAYS:
        raise UserError(
            f"{paths[0]} cannot be read: a data set in this format has the arrays x_train, "
            "y_train, x_test, y_test"
        )
    return tuple(
        as_split(paths[0], arrays[part, "images"], arrays[part, "labels"]) for part in PARTS
    )


def read_csv(path):
    """A part from a table with a label and the pixels of an image in each row."""
    try:
        names, separator = first_row(path)
        is_header = not all(map(is_number, names))
        label, pixels = columns_of(names) if is_header else (0, list(range(1, len(names))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a table without rows
            rows = np.loadtxt(
                path, np.float32, delimiter=separator, quotechar='"', skiprows=int(is_header),
                ndmin=2, encoding="utf-8-sig",
            )  # fmt: skip
        if len(rows) and rows.shape[1] != len(names):
            raise ValueError(f"{rows.shape[1]} columns where the first row has {len(names)}")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read: its rows must be a label and pixels ({error})"
        ) from error
    side = round(len(pixels) ** 0.5)
    if not len(rows) or not pixels or side**2 != len(pixels):
        raise UserError(f"{path} has no rows of a label and the pixels of a square")
    return as_split(path, rows[:, pixels].reshape(-1, side, side), rows[:, label])


def first_row(path):
    """The cells of a table's first row, in lower case, and what separates them."""
    with open_regular(path) as file:
        line = io.TextIOWrapper(file, "utf-8-sig", errors="replace").readline()
    separator = max(",;\t", key=line.count)
    return [cell.strip(" \"'\n").lower() for cell in line.split(separator)], separator


def columns_of(names):
    """Which column of a table with a header is the label, and which are the pixels."""
    known = [name for name in LABELS if name in names]
    others = [name for name in names if not re.search(r"\d", name) and name not in NO_PIXELS]
    if not known and len(others) != 1:
        raise ValueError(f"no column is called {', '.join(LABELS)}")
    label = names.index((known or others)[0])
    return label, [i for i, name in enumerate(names) if i != label and name not in NO_PIXELS]


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def as_split(path, images, labels):
    """Images (N, C, H, W) and labels (N,), of any numbers, if these are some."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    numbers = images.dtype.kind in "iufb" and labels.dtype.kind in "iuf"
    if not numbers or labels.shape != images.shape[:1]:
        raise UserError(
            f"{path}: its images are {images.dtype} of shape {images.shape}, its labels "
            f"{labels.dtype} of shape {labels.shape}: (N, H, W) and (N,) numbers are wanted"
        )
    return as_images(path, images), labels


def hold_out(images, labels):
    """Keep every tenth image of each class, the first one included, for the test; but not the only
    one."""
    test = np.zeros(len(labels), bool)
    for j in np.unique(labels):
        rows = np.flatnonzero(labels == j)
        if len(rows) > 1:
            test[rows[:: layouts.TEST_SHARE]] = True
    return (images[~test], labels[~test]), (images[test], labels[test])
