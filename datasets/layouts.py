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


def visible(folder):
    """What lies in a folder but for hidden files and those of the system, sorted."""
    return sorted(path for path in Path(folder).iterdir() if is_visible(path.name))


def is_visible(name):
    return not name.startswith(".") and name not in NOT_OURS


def folders_in(folder):
    return [path for path in visible(folder) if path.is_dir()]


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
        return not holds_idx(folder) and bool(folders_in(folder))
    return False


def holds_idx(folder):
    """Whether a folder has files that are named as IDX's are."""
    return any(re.search(r"(images|labels)[-.]idx\d", path.name) for path in visible(folder))


def split_folders(folder):
    """The folders of the parts, by the keys of `FOLDERS`; one without folders of classes is none.

    With none at all the folders in `folder` are the classes. Raises UserError where a part has two
    folders, or where that of the training images alone is missing.
    """
    found = {}
    for path in folders_in(folder):
        for split, names in FOLDERS.items():
            if path.name.lower() in names and folders_in(path):
                if split in found:
                    raise UserError(f"{found[split]} and {path} are both named for one part")
                found[split] = path
    if found and "train" not in found:
        raise UserError(
            f"{folder} has {', '.join(path.name for path in found.values())}, but no folder train "
            "with a folder for each class"
        )
    return found or {"train": Path(folder)}


def class_names(folder):
    """The names of the classes, those of the folders of the training images, sorted; raises
    UserError where there are not two or more, or where a name is no text."""
    root = split_folders(folder)["train"]
    names = [path.name for path in folders_in(root)]
    if len(names) < 2:
        raise UserError(
            f"{root} has {len(names)} folder(s) of images, but classes need two: "
            "DIR/train/<class>/* and DIR/test/<class>/*, or DIR/<class>/*; --data_dir may also be "
            "the very file mnist.npz or train.csv"
        )
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{root / name} has a name that is no UTF-8: rename it") from error
    return names


def list_splits(folder):
    """Find the images of a data set: by part a list of paths for each class, and their names.

    They lie in ``train/<class>``, ``test/<class>`` and perhaps ``val/<class>``, however deep. Those
    of ``val`` are the test images where there is no ``test``; without both a tenth of every class
    is set apart, the same as long as the files are. Raises UserError where the folders are others.
    """
    names, folders = class_names(folder), split_folders(folder)
    unused = []
    if folders["train"] != folder:
        unused += [path for path in visible(folder) if path not in folders.values()]
    splits = {split: list_split(root, names, unused) for split, root in folders.items()}
    if unused:
        warn(f"not used: {', '.join(map(str, unused))} (images end in {', '.join(FORMATS)})")
    if "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")
        say(printable(f"{folder} has no labelled test images: {folders['val']} is the test set"))
    elif "test" not in splits:
        splits["train"], splits["test"] = zip(*map(set_apart, splits["train"]))
        say(
            f"{printable(folder)} has no labelled test images: one image of {TEST_SHARE} of each "
            "class is set apart as the test set, chosen by the names of the files"
        )
    return splits, names


def list_split(root, names, unused):
    """The images of each class in a part; what else is there is added to `unused`."""
    there = {path.name: path for path in folders_in(root)}
    strange = sorted(there.keys() - set(names))
    if strange:
        raise UserError(f"{root / strange[0]} holds images of a class without training images")
    unused += [path for path in visible(root) if not path.is_dir()]
    classes = [walk(there[name]) if name in there else [] for name in names]
    unused += [path for paths in classes for path in paths if not is_image(path)]
    return [list(filter(is_image, paths)) for paths in classes]


def set_apart(paths):
    """Take a tenth of the images of a class away, for the test: two lists."""
    # An order that has nothing to do with the names of the files and never changes.
    mixed = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(path.name)).digest())
    count = max(1, len(paths) // TEST_SHARE)
    return sorted(mixed[count:]), sorted(mixed[:count])
