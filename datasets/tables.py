"""Sets of arrays and tables: Keras' mnist.npz and files like it, Kaggle's train.csv and its kin."""

import io
import itertools
import re
import warnings

import numpy as np

from datasets import layouts
from datasets.idx import as_images
from process.errors import UserError, check_signals
from process.files import open_regular

# What the names of arrays, or of files with one array each, say of them.
PARTS = {"train": "train", "test": "test|t10k"}
KINDS = {"images": "x|imgs?|images?", "labels": "y|labels?"}
ARRAYS = tuple((part, kind) for part in PARTS for kind in KINDS)
FIRST = ("mnist.npz", "train.csv", "mnist_train.csv", "fashion-mnist_train.csv")
LABELS = ("label", "class", "target", "y")  # columns of a table
NO_PIXELS = ("", "id", "index", "unnamed: 0")
MAX_UNPACKED = 2**33  # bytes of an .npz file, a small one of which may hold anything
ROWS_AT_ONCE = 250  # that are read between two looks for a signal


def find(folder):
    """The files of a data set in a folder, or the folder itself where it is such a file; none where
    there is none. Raises UserError where there are several sets."""
    if folder.is_file():
        return [folder] if folder.suffix.lower() in (".npz", ".csv") else []
    files = [path for path in layouts.visible(folder) if path.is_file()]
    for name in FIRST:
        if folder / name in files:
            return [folder / name]
    arrays, tables = (
        [path for path in files if path.suffix.lower() == end] for end in (".npz", ".csv")
    )
    if {array_of(path.stem) for path in arrays} >= set(ARRAYS):
        return arrays
    found = arrays or [path for path in tables if "train" in path.name.lower()] or tables
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"{folder} has more than one data set ({names}): name one with --data_dir")
    return found


def array_of(name):
    """Which of `ARRAYS` a name stands for, part of which may be None."""
    words = re.split("[-_. ]", name.lower())
    return tuple(
        next((key for key, like in each.items() if any(re.fullmatch(like, w) for w in words)), None)
        for each in (PARTS, KINDS)
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
    if beside != path and beside.is_file() and width(beside) == width(path):
        return train, read_csv(beside)
    layouts.say_what_is_test(folder, sets_apart)
    return hold_out(*train) if sets_apart else (train, train)


def read_npz(paths):
    """Both parts of one file with four arrays, or of four files with one each."""
    arrays = {}
    for path in paths:
        try:
            with open_regular(path) as file:
                # np.load takes what is no .npz file for a pickle, and advises to trust it.
                members = np.lib.npyio.NpzFile(file)
                if sum(member.file_size for member in members.zip.infolist()) > MAX_UNPACKED:
                    raise ValueError(f"it unpacks to more than {MAX_UNPACKED:,} bytes")
                for name, array in members.items():
                    arrays[array_of(name if len(paths) == 1 else path.stem)] = np.array(array)
        except Exception as error:  # of zipfile, its four ways to pack, and NumPy's tokenizer
            raise UserError(f"{path} cannot be read ({error})") from error
    if not arrays.keys() >= set(ARRAYS):
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
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a table without rows
            labels, pixels = read_rows(io.TextIOWrapper(file, "utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read: its rows must be a label and pixels ({error})"
        ) from error
    side = round(pixels.shape[1] ** 0.5)
    if not pixels.size or side**2 != pixels.shape[1]:
        raise UserError(f"{path} has no rows of a label and the pixels of a square")
    return as_split(path, pixels.reshape(-1, side, side), labels)


def read_rows(text):
    """The labels (N,) and pixels (N, P) of a table; raises ValueError where it is none."""
    first = text.readline()
    separator = separator_of(first)
    names = [cell.strip(" \"'\r\n").lower() for cell in first.split(separator)]
    is_header = not all(map(is_number, names))
    lines = text if is_header else itertools.chain([first], text)
    label, columns = columns_of(names) if is_header else (0, list(range(1, len(names))))
    labels, pixels = [np.empty(0)], [np.empty((0, len(columns)), np.float32)]
    while True:
        check_signals()
        piece = list(itertools.islice(lines, ROWS_AT_ONCE))
        if not piece:
            return np.concatenate(labels), np.concatenate(pixels)
        rows = np.loadtxt(piece, delimiter=separator, ndmin=2, quotechar='"')
        if rows.size and rows.shape[1] != len(names):
            raise ValueError(f"{rows.shape[1]} columns where the first row has {len(names)}")
        if rows.size:
            labels.append(rows[:, label])
            pixels.append(rows[:, columns].astype(np.float32))


def separator_of(line):
    return max(",;\t", key=line.count)


def columns_of(names):
    """Which column of a table with a header is the label, and which are the pixels."""
    known = [names.index(name) for name in LABELS if name in names]
    others = [i for i, name in enumerate(names) if not re.search(r"\d", name)]
    others = [i for i in others if names[i] not in NO_PIXELS]
    if not known and len(others) != 1:
        raise ValueError(f"no column is called {', '.join(LABELS)}")
    label = (known or others)[0]
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
        test[rows[:: layouts.TEST_SHARE] if len(rows) > 1 else []] = True
    return (images[~test], labels[~test]), (images[test], labels[test])


def width(path):
    """How many columns a table has."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(2**20)
    return 1 + line.count(separator_of(line))
