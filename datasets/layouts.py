"""Where the images of a data set of folders lie, as other programs and systems write them."""

import hashlib
import os
import unicodedata
from pathlib import Path

from datasets import idx
from datasets.images import FORMATS
from process.console import printable, say, warn
from process.errors import UserError, check_signals

PARTS = {  # by what the folder of a set's part may be called, in any case
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
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


def walk(folder):
    """The visible files in a folder, however deep and beyond links: the images, and the others,
    both sorted. Raises UserError where a folder in it cannot be read."""
    images, others, seen = [], [], set()
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        check_signals()
        folders[:] = filter(is_visible, folders)
        if os.path.realpath(root) in seen:  # by a link that leads in a circle
            folders.clear()
            continue
        seen.add(os.path.realpath(root))
        for path in (Path(root, name) for name in names if is_visible(name)):
            (images if path.suffix.lower() in FORMATS else others).append(path)
    return sorted(images), sorted(others)


def refuse(error):
    raise UserError(f"{error.filename} cannot be read ({error.strerror})") from error


def holds_images(folder):
    """Whether a data set's folder has folders in it, and none of IDX's files."""
    return folder.is_dir() and idx.find_folder(folder) is None and bool(folders_in(folder))


def same(name):
    """A name as it is compared: macOS writes accents apart from their letters, others do not."""
    return unicodedata.normalize("NFC", name)


def split_folders(folder):
    """The folders of the parts, by the values of `PARTS`; one without folders of classes is none.

    With none at all the folders in `folder` are the classes. Raises UserError where a part has two
    folders, or where that of the training images alone is missing.
    """
    found = {}
    for path in folders_in(folder):
        part = PARTS.get(path.name.lower())
        if part and folders_in(path):
            if part in found:
                raise UserError(f"{found[part]} and {path} are both named for one part")
            found[part] = path
    if found and "train" not in found:
        raise UserError(
            f"{folder} has {', '.join(path.name for path in found.values())}, but no folder train "
            "with a folder for each class"
        )
    return found or {"train": Path(folder)}


def class_names(folder):
    """The names of the classes, those of the folders of the training images, sorted; raises
    UserError where there are not two or more, or where a name is no text or another's."""
    root = split_folders(folder)["train"]
    names = [path.name for path in folders_in(root)]
    if len(names) < 2:
        raise UserError(
            f"{root} has {len(names)} folder(s) of images, but classes need two: "
            "DIR/train/<class>/* and DIR/test/<class>/*, or DIR/<class>/*; if a table has the "
            "labels, move each image to a folder of its class; if it has the pixels, name the "
            "table itself with --data_dir"
        )
    for name in names:
        if name.lower() == "unknown":
            raise UserError(f"{root / name}: images that are refused are called unknown: rename it")
        if name != os.fsencode(name).decode(errors="replace"):
            raise UserError(f"{root / name} has a name that is no UTF-8: rename it")
    return names


def list_splits(folder, names, sets_apart):
    """Find the images of a data set: by part a list of paths for each class, and their names.

    They lie in ``train/<class>``, ``test/<class>`` and perhaps ``val/<class>``, however deep. Those
    of ``val`` are the test images where there is no ``test``; without both a tenth of every class
    is set apart, the same as long as the files are, or, without `sets_apart`, all are the test
    images. Where `names` of classes are given, others are refused, and some may be missing. Raises
    UserError where the folders are others.
    """
    roots = split_folders(folder)
    names = names or class_names(folder)
    unused = [] if roots["train"] == folder else set(visible(folder)) - set(roots.values())
    warn_of_unused(sorted(unused))
    splits = {split: list_split(root, names) for split, root in roots.items()}
    if "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")
        say(printable(f"{folder} has no labelled test images: {roots['val']} is the test set"))
    elif "test" not in splits:
        say_what_is_test(folder, sets_apart)
        apart = zip(*map(set_apart, splits["train"]))
        splits = dict(zip(("train", "test"), apart)) if sets_apart else {"test": splits["train"]}
    return splits, names


def say_what_is_test(where, sets_apart):
    """Say what the test set is of a data set that has none of its own."""
    apart = f"one image of {TEST_SHARE} of each class is set apart as the test set"
    what = apart if sets_apart else "all labelled images are tested"
    say(f"{printable(where)} has no labelled test images: {what}")


def list_split(root, names):
    """The images of each class in a part."""
    there = {}
    for path in folders_in(root):
        if same(path.name) in there:
            raise UserError(f"{there[same(path.name)]} and {path} have the same name: rename one")
        there[same(path.name)] = path
    wanted = list(map(same, names))
    strange = sorted(there.keys() - set(wanted))
    if strange:
        known = ", ".join(names[:20]) + ", ..." * (len(names) > 20)
        raise UserError(
            f"{there[strange[0]]} is a class without training images: the classes are {known}"
        )
    found = [walk(there[name]) if name in there else ([], []) for name in wanted]
    beside = [path for path in visible(root) if not path.is_dir()]
    warn_of_unused(sum((others for _, others in found), beside))
    return [images for images, _ in found]


def warn_of_unused(paths):
    """Name what is not used of a data set's folders, if anything."""
    if paths:
        warn(f"not used: {', '.join(map(str, paths))} (images end in {', '.join(FORMATS)})")


def set_apart(paths):
    """Take a tenth of the images of a class away, for the test: two lists. The only one stays."""
    # An order that has nothing to do with the names of the files and never changes.
    mixed = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(path.name)).digest())
    count = max(1, len(paths) // TEST_SHARE) if len(paths) > 1 else 0
    return sorted(mixed[count:]), sorted(mixed[:count])
