"""The record of a run: what it is, how it went, and the bytes of that."""

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass, field, fields
from typing import Dict, List, Optional

import mxnet as mx
import numpy as np

from datasets.dataset import Fingerprint
from process import version
from process.console import as_csv, warn
from process.errors import UserError
from recipe import Recipe

PERCENT = np.linspace(0, 1, 101)
FORMAT = 2  # of records; higher where what is there already gets another meaning. None is 1


@dataclass
class Epoch:
    """A finished epoch; the fields are the columns of the history's table.

    `loss` is the sum of its parts, and these are means over the epoch's images; accuracies are
    those of both sets by both methods, None where there are no centers; `seconds` are those of the
    training pass.
    """

    epoch: int
    dataset: str
    lr: float
    loss: float = field(init=False)
    softmax_loss: Optional[float]
    center_loss: Optional[float]
    train_softmax: float
    test_softmax: float
    train_knn: Optional[float]
    test_knn: Optional[float]
    seconds: float
    # What has a default is left out of records and tables where it is None: without a validation
    # set, without centers, and in the epochs of older versions.
    val_softmax: Optional[float] = None
    val_knn: Optional[float] = None
    train_spread: Optional[float] = None  # see `utils.spread`
    test_spread: Optional[float] = None
    train_shift: Optional[float] = None  # see `utils.shift`
    test_shift: Optional[float] = None

    def __post_init__(self):
        parts = self.softmax_loss, self.center_loss
        self.loss = sum(part for part in parts if part is not None)

    def accuracy(self, split, method):
        return getattr(self, f"{split}_{method}")

    @property
    def chooser(self):
        """Which part the best epoch is chosen by."""
        return "test" if self.val_softmax is None else "val"


COLUMNS = [column.name for column in fields(Epoch)]


@dataclass
class Best:
    """The epoch of the highest accuracy by the recipe's method, and that accuracy.

    It is that on the validation set, if there is one, or else on the test set. Where there are
    centers, `distances` are the percentiles of the distances of its images to the nearest one.
    """

    epoch: int
    accuracy: float
    distances: Optional[List[float]] = None


@dataclass
class Origin:
    """What a second training began with: the best network of a run, its epoch and SHA-256."""

    prefix: str
    epoch: int
    sha256: Optional[str] = None  # some shipped runs lack it


@dataclass
class Surroundings:
    """What the numbers of a run depend on beside its recipe and data."""

    versions: Dict[str, str]
    threads: str
    devices: List[str]
    # Older records lack these.
    processor: Optional[str] = None
    commit: Optional[str] = None  # of this program, where it is a clone

    @classmethod
    def now(cls, contexts, workers):
        versions = {
            "python": platform.python_version(),
            "mxnet": mx.__version__,
            "numpy": np.__version__,
        }
        devices = [str(ctx) for ctx in contexts] * workers.size
        threads = os.environ["OMP_NUM_THREADS"]
        return cls(versions, threads, devices, version.processor(), version.commit())


class OtherVersion(Exception):
    """A record that another version of the program wrote; the text says what is other."""


@dataclass
class Record:
    """What a run is: where it comes from, on what it was trained and how, and its history."""

    prefix: str
    started_from: Optional[Origin]  # what a second training began with
    recipe: Recipe
    epochs: int  # how many the run is to have
    dataset: Fingerprint
    surroundings: Surroundings
    data_dir: Optional[str] = None  # absolute; where the data set lay, if it was a folder
    best: Optional[Best] = None
    history: List[Epoch] = field(default_factory=list)
    sha256: Dict[str, str] = field(default_factory=dict)  # of each parameter file, by its name

    def append(self, epoch, distance=None):
        """Add a finished epoch; returns whether its network is the best so far.

        `distance` (N,) is that of the images that choose it to their nearest centers, if there are.
        """
        self.history.append(epoch)
        accuracy = epoch.accuracy(epoch.chooser, self.recipe.eval_method)
        better = self.best is None or accuracy > self.best.accuracy
        if better:
            percentiles = None if distance is None else np.quantile(distance, PERCENT).tolist()
            self.best = Best(epoch.epoch, accuracy, percentiles)
        return better

    @property
    def chooser(self):
        """Which part of the data chooses the best epoch: ``val``, if there is one, or ``test``."""
        return self.history[-1].chooser

    def threshold(self, reject):
        """The distance to the nearest center that the fraction `reject` of the images exceeded,
        those that chose the best epoch; raises UserError where the record does not know."""
        if self.best.distances is None:
            raise UserError(f"{self.prefix} kept no distances when it was trained: train it again")
        return float(np.interp(1 - reject, PERCENT, self.best.distances))

    @property
    def identity(self):
        """A few digits that tell this run's pictures from those of another of its name."""
        usual = vars(Recipe())  # not counted, so that a new flag with its default changes nothing
        known = {**self.recipe.flags(), "second": self.recipe.second}  # what a record gives back
        flags = {name: value for name, value in known.items() if value != usual[name]}
        return sha256(dump([flags, self.dataset.sha256, to_json(self.started_from)]))[:16]

    def same_data(self, dataset):
        """Whether the run was trained on this very data set."""
        return self.dataset.sha256 == dataset.fingerprint.sha256

    def check_resumable(self, dataset, now):
        """Refuse to resume with other data; warn of what may change the last bits."""
        if not self.same_data(dataset):
            raise UserError(
                f"--dataset or --data_dir contradicts the run {self.prefix}: it was trained on "
                f"{self.dataset.name}, and this is {dataset.name} with other images or labels"
            )
        # Not the commit: the same command gives the same bits by every version of this program.
        for name in ("versions", "threads", "devices", "processor"):
            before, after = getattr(self.surroundings, name), getattr(now, name)
            if before not in (None, after):
                warn(
                    f"{self.prefix} was begun with {name} {before}, and goes on with {after}: "
                    "the result may not be bit-identical to an uninterrupted run"
                )

    def to_bytes(self):
        """The bytes of the record's file; floats come back from them bit for bit."""
        content = {
            "format": FORMAT,
            "prefix": self.prefix,
            "action": self.recipe.action,
            "started_from": to_json(self.started_from),
            "flags": {"epochs": self.epochs, **self.recipe.flags()},
            "dataset": asdict(self.dataset),
            "data_dir": self.data_dir,
            **asdict(self.surroundings),
            "best": to_json(self.best),
            "history": [to_json(epoch) for epoch in self.history],
            "sha256": self.sha256,
        }
        return dump({**content, "checksum": sha256(dump(content))})

    @classmethod
    def from_bytes(cls, content):
        """The opposite of `to_bytes`; what is missing takes its default.

        The checksum says that a record is whole, and this program's: nothing else is checked.

        Raises
        ------
        ValueError
            It is damaged.
        OtherVersion
            It is whole, but its format is newer, a field is unknown here, or one is missing.
        """
        row = json.loads(content)
        checksum = row.pop("checksum", None) if isinstance(row, dict) else None
        if checksum is None or checksum != sha256(dump(row)):
            raise ValueError("its checksum is wrong")
        if row.pop("format", 1) > FORMAT:
            raise OtherVersion("its format is newer")
        try:
            row.pop("moving_loss", None)  # an average over steps, which format 1 had
            flags, second = row.pop("flags"), row.pop("action") == "second_train"
            known = [each.name for each in fields(Surroundings) if each.name in row]
            surroundings = {name: row.pop(name) for name in known}
            row.update(
                started_from=row["started_from"] and make(Origin, row["started_from"]),
                epochs=flags.pop("epochs"),
                recipe=make(Recipe, {**flags, "second": second}),
                dataset=make(Fingerprint, row["dataset"]),
                surroundings=Surroundings(**surroundings),
                best=make(Best, row["best"]),
                history=[make(Epoch, epoch) for epoch in row["history"]],
            )
            return make(cls, row)
        except (KeyError, TypeError) as error:  # something without a default is missing
            raise OtherVersion(error) from error

    def history_csv(self):
        """The history as the bytes of a table."""
        rows = [to_json(epoch) for epoch in self.history]
        header = [name for name in COLUMNS if any(name in row for row in rows)]
        return as_csv([header, *([row.get(name) for name in header] for row in rows)]).encode()


def make(cls, row):
    """A dataclass from its fields; raises OtherVersion where it has no such field."""
    given = {each.name: each.init for each in fields(cls)}  # others follow from these
    unknown = row.keys() - given.keys()
    if unknown:
        raise OtherVersion(f"its {min(unknown)} is unknown here")
    return cls(**{name: value for name, value in row.items() if given[name]})


def to_json(part):
    """The fields of a dataclass that do not have their default; None where there is no part."""
    return part and {
        each.name: getattr(part, each.name)
        for each in fields(part)
        if getattr(part, each.name) != each.default
    }


def dump(content):
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def sha256(content):
    return hashlib.sha256(content).hexdigest()
