"""Where the images of a data set of folders lie, as other programs and systems write them."""

import contextlib
import hashlib
import os
import re
from pathlib import Path

from datasets.images import FORMATS
from process.console import printable, say, warn
from process.errors import UserError, check_signals

FOLDERS = {  # what the folders of a set's parts may be called, in any case
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
NOT_OURS = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")  # left by macOS, Synology, Windows
TEST_SHARE = 10  # one image of so many, where no test images are set apart
LONGEST_NAME = 100  # characters of a class's name


def visible(folder):
    """What lies in a folder but for hidden files and those of the system, sorted."""
    return sorted(path for path in Path(folder).iterdir() if is_visible(path.name))


def is_visible(name):
    return not name.startswith(".") and name not in NOT_OURS


def walk(folder, onerror=None):
    """All visible files in a folder, however deep, sorted."""
    found = []
    for root, folders, names in os.walk(folder, onerror=onerror):
        check_signals()
        folders[:] = filter(is_visible, folders)
        found += [Path(root, name) for name in names if is_visible(name)]
    return sorted(found)


def is_image(path):
    return path.suffix.lower() in FORMATS


def holds_images(folder):
    """Whether a data set's folder has folders in it, and none of IDX's files."""
    with contextlib.suppress(OSError):
        return not holds_idx(folder) and any(map(Path.is_dir, visible(folder)))
    return False


def holds_idx(folder):
    """Whether a folder has files that are named as IDX's are."""
    return any(re.search(r"(images|labels)[-.]idx\d", path.name) for path in visible(folder))


def split_folders(folder):
    """The folders of the parts of a data set, by the keys of `FOLDERS`.

    Where there is no folder for a part, its key is missing; with none at all the folders in
    `folder` are the classes.

    Raises
    ------
    UserError
        A part has two folders, or that of the training images is missing.
    """
    found = {}
    for path in visible(folder):
        for split, names in FOLDERS.items():
            if path.is_dir() and path.name.lower() in names:
                if split in found:
                    raise UserError(f"{found[split]} and {path} are both named for one part")
                found[split] = path
    if found and "train" not in found:
        raise UserError(
            f"{folder} has {', '.join(path.name for path in found.values())}, but no folder train"
        )
    return found or {"train": Path(folder)}


def class_names(folder):
    """The names of the classes, those of the folders of the training images, sorted.

    Raises
    ------
    UserError
        There are not two or more, a name cannot be printed, or two differ in case only.
    """
    root = split_folders(folder)["train"]
    names = [path.name for path in visible(root) if path.is_dir()]
    if len(names) < 2:
        raise UserError(
            f"{root} has {len(names)} folder(s) of images, but classes need two: "
            "DIR/train/<class>/* and DIR/test/<class>/*, or DIR/<class>/*; --data_dir may also be "
            "the very file mnist.npz or train.csv"
        )
    seen = {}
    for name in names:
        fault = fault_of(name)
        if fault:
            raise UserError(f"{root} has a class that must have another name, for {fault}: {name}")
        if name.lower() in seen:
            raise UserError(
                f"{root} has the classes {seen[name.lower()]} and {name}, which differ in case "
                "only: rename or join them"
            )
        seen[name.lower()] = name
    return names


def fault_of(name):
    """Why a class cannot be called this; None if it can."""
    if name.lower() == "unknown":
        return "images that are refused are called unknown"
    if len(name) > LONGEST_NAME:
        return f"it has more than {LONGEST_NAME} characters"
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"it is no UTF-8 ({printable(name)})"
    return None


def list_splits(folder):
    """Find the images of a data set.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict of str to list of list of Path
        The images of each class, for ``train``, ``test`` and, where the folder has it beside
        ``test``, ``val``.
    names : list of str
        The classes.

    Raises
    ------
    UserError
        The folders are not as `datasets.folders.read` wants them.
    """
    names, folders = class_names(folder), split_folders(folder)
    unused = []
    if folders["train"] != folder:
        unused += [path for path in visible(folder) if path not in folders.values()]
    splits = {
        split: list_split(root, names, unused)
        for split, root in folders.items()
        if split == "train" or has_labels(root)
    }
    if unused:
        warn(f"not used: {', '.join(map(str, unused))} (images end in {', '.join(FORMATS)})")
    if "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")
        say(printable(f"{folder} has no labelled test images: {folders['val']} is the test set"))
    elif "test" not in splits:
        splits["test"] = set_apart(splits, folder)
    for name, paths in zip(names, splits["train"]):
        if not paths:
            raise UserError(
                f"{folders['train'] / name} has no image to train with: a class needs one, or two "
                "where there is no folder test"
            )
    return splits, names


def has_labels(root):
    """Whether a part has folders of classes; says so where it has images alone."""
    there = visible(root)
    if any(map(Path.is_dir, there)):
        return True
    say(
        f"{printable(root)} has no folders of classes, so its {sum(map(is_image, there))} images "
        f"have no labels and are not used: --predict answers for them"
    )
    return False


def list_split(root, names, unused):
    """The images of each class in a part; what else is there is added to `unused`."""
    there = {path.name: path for path in visible(root) if path.is_dir()}
    strange = sorted(there.keys() - set(names))
    if strange:
        raise UserError(f"{root / strange[0]} holds images of a class without training images")
    unused += [path for path in visible(root) if not path.is_dir()]
    classes = [walk(there[name]) if name in there else [] for name in names]
    unused += [path for paths in classes for path in paths if not is_image(path)]
    return [list(filter(is_image, paths)) for paths in classes]


def set_apart(splits, folder):
    """Take a tenth of the training images of every class away: the test images."""
    files = [sorted(paths, key=by_hash) for paths in splits["train"]]
    counts = [max(1, len(paths) // TEST_SHARE) for paths in files]
    splits["train"] = [sorted(paths[count:]) for paths, count in zip(files, counts)]
    say(
        f"{printable(folder)} has no labelled test images: one image of {TEST_SHARE} of each class "
        "is set apart as the test set, chosen by the names of the files"
    )
    return [sorted(paths[:count]) for paths, count in zip(files, counts)]


def by_hash(path):
    """Sorts files in an order that has nothing to do with their names and never changes."""
    return hashlib.sha256(os.fsencode(path.name)).digest()
