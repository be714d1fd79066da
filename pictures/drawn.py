"""What was drawn of a run's epochs, in one file, which GIFs, pages and trajectories are made of."""

import io
import zipfile

import numpy as np

from datasets.dataset import SPLITS
from pictures.feature_maps import Dots
from process.console import warn
from process.files import read_file, write_atomically

# Which parts of `Dots` the file has for each epoch, as which type, and which only once.
STACKED = {"points": np.float32, "means": np.float32, "centers": np.float32, "note": str}
ONCE = ("labels", "classes", "feature_size")


def path_of(run):
    """The file of a `runs.run.Run`."""
    return run.folder / "feature_maps.npz"


def write_drawn(run, record, drawn):
    """Write what was drawn of a run, ``drawn[epoch][split]``, each `Dots`, as ``numpy.savez`` does.

    The images of a split are the same in every epoch. The record's identity stands in the file.
    """
    arrays = {"run": np.array(record.identity), "epochs": np.array(list(drawn))}
    for split in SPLITS:
        every = [parts[split] for parts in drawn.values()]
        for name, kind in STACKED.items():
            arrays[f"{split}_{name}"] = np.array([getattr(dots, name) for dots in every], kind)
        for name in ONCE:
            arrays[f"{split}_{name}"] = np.asarray(getattr(every[0], name), np.int32)
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_atomically(path_of(run), file.getvalue())


def read_drawn(run, record):
    """Read what `write_drawn` wrote: for two features ``drawn[epoch]["train"].points`` (N, 2) are
    the features themselves, ``.means`` (K, 2) the means of the classes, ``.centers`` (K, 2).

    It is empty where nothing was drawn, or of another run of this name; a warning says where the
    file is damaged.
    """
    path = path_of(run)
    try:
        content = read_file(path)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            # Ours are stored as they are: what would become larger could take all memory.
            if sum(member.file_size for member in arrays.zip.infolist()) > len(content):
                raise ValueError("its arrays are larger than itself")
            if str(arrays["run"]) != record.identity:
                return {}
            finished = len(record.history)
            return {epoch: dots for epoch, dots in unpack(arrays).items() if epoch < finished}
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile, MemoryError):
        warn(f"{path} is damaged: the epochs before are left out of GIFs and pages")
        return {}


def unpack(arrays):
    """The dots of every epoch; raises KeyError, IndexError or ValueError where any are missing."""
    loaded = {name: arrays[name] for name in arrays.files}
    drawn = {}
    for i, epoch in enumerate(loaded["epochs"].tolist()):
        drawn[epoch] = {
            split: Dots(
                **{name: loaded[f"{split}_{name}"][i] for name in STACKED},
                **{name: loaded[f"{split}_{name}"] for name in ONCE},
            )
            for split in SPLITS
        }
    return drawn
