"""The record of a run: what it is, how it went, and the bytes of that."""

import csv
import hashlib
import io
import json
import os
import platform
from dataclasses import asdict, dataclass, field, fields
from typing import List, Optional

import mxnet as mx
import numpy as np

from process.console import warn
from process.errors import UserError
from recipe import LATER, Recipe


@dataclass
class Epoch:
    """A finished epoch; the fields are the columns of the history's table.

    `loss` is the moving average over the run's steps, its parts are means over the epoch;
    accuracies are those of both sets by both methods, None where there are no centers; `seconds`
    are those of the training pass.
    """

    epoch: int
    dataset: str
    lr: float
    loss: float
    softmax_loss: Optional[float]
    center_loss: Optional[float]
    train_softmax: float
    test_softmax: float
    train_knn: Optional[float]
    test_knn: Optional[float]
    seconds: float

    def accuracy(self, split, method):
        return getattr(self, f"{split}_{method}")


COLUMNS = [column.name for column in fields(Epoch)]
PERCENT = np.linspace(0, 1, 101)
SURROUNDINGS = ("versions", "threads", "devices")


class OtherVersion(Exception):
    """A record that another version of the program wrote."""


@dataclass
class Record:
    """What a run is: where it comes from, on what it was trained and how, and its history.

    Attributes
    ----------
    prefix : str
    started_from : dict or None
        Prefix, epoch and, since there are such, SHA-256 of the best network of the run that a
        second training began with.
    recipe : Recipe
    epochs : int
        How many the run is to have.
    dataset : dict
        See `data.Dataset.fingerprint`.
    surroundings : dict
        See `surroundings`.
    best : dict or None
        The epoch of the highest test accuracy by the recipe's method, that accuracy and, where
        there are centers, the percentiles of the distances of the test images to the nearest one.
    moving_loss : float or None
    history : list of Epoch
    sha256 : dict of str to str
        Of each parameter file, by its name.
    """

    prefix: str
    started_from: Optional[dict]
    recipe: Recipe
    epochs: int
    dataset: dict
    surroundings: dict
    best: Optional[dict] = None
    moving_loss: Optional[float] = None
    history: List[Epoch] = field(default_factory=list)
    sha256: dict = field(default_factory=dict)

    def observe(self, loss):
        """Move the average by the mean loss of a step."""
        before = self.moving_loss
        self.moving_loss = loss if before is None else 0.99 * before + 0.01 * loss

    def append(self, epoch, distance=None):
        """Add a finished epoch; returns whether its network is the best so far.

        Parameters
        ----------
        epoch : Epoch
        distance : (N,) float, optional
            Of the test images to their nearest centers.
        """
        self.history.append(epoch)
        accuracy = epoch.accuracy("test", self.recipe.eval_method)
        better = self.best is None or accuracy > self.best["accuracy"]
        if better:
            self.best = {"epoch": epoch.epoch, "accuracy": accuracy}
            if distance is not None:
                self.best["distances"] = np.quantile(distance, PERCENT).tolist()
        return better

    def threshold(self, share):
        """The distance to the nearest center that this share of the test images exceeded.

        Raises
        ------
        UserError
            The record does not know.
        """
        if "distances" not in self.best:
            raise UserError(f"{self.prefix} kept no distances when it was trained: train it again")
        return float(np.interp(1 - share, PERCENT, self.best["distances"]))

    @property
    def identity(self):
        """A few digits that tell this run's pictures from those of another of its name."""
        flags = {**self.recipe.flags(), "action": self.recipe.action}
        flags = {name: value for name, value in flags.items() if LATER.get(name) != value}
        return sha256(dump([flags, self.dataset["sha256"], self.started_from]))[:16]

    def same_data(self, dataset):
        """Whether the run was trained on this very data set."""
        return self.dataset["sha256"] == dataset.fingerprint["sha256"]

    def check(self, dataset, now):
        """Refuse to resume with other data; warn of what may change the last bits."""
        if not self.same_data(dataset):
            raise UserError(
                f"--dataset or --data_dir contradicts the run {self.prefix}: it was trained on "
                f"{self.dataset['name']}, and this is {dataset.name} with other images or labels"
            )
        for name, value in now.items():
            if self.surroundings[name] != value:
                warn(
                    f"{name} of {self.prefix} were {self.surroundings[name]}, now {value}: "
                    "it will not end with the bits it would have had"
                )

    def to_bytes(self):
        """The bytes of the record's file; floats come back from them bit for bit."""
        content = {
            "prefix": self.prefix,
            "action": self.recipe.action,
            "started_from": self.started_from,
            "flags": {"epochs": self.epochs, **self.recipe.flags()},
            "dataset": self.dataset,
            **self.surroundings,
            "best": self.best,
            "moving_loss": self.moving_loss,
            "history": [asdict(epoch) for epoch in self.history],
            "sha256": self.sha256,
        }
        return dump({**content, "checksum": sha256(dump(content))})

    @classmethod
    def from_bytes(cls, content):
        """The opposite of `to_bytes`.

        Raises
        ------
        ValueError
            It is damaged.
        OtherVersion
            It is whole, but has another layout.
        """
        try:
            record = json.loads(content)
            checksum = record.pop("checksum")
        except (RecursionError, KeyError, AttributeError, TypeError) as error:
            raise ValueError("it is not a record") from error
        if checksum != sha256(dump(record)):
            raise ValueError("its checksum is wrong")
        try:
            epochs = record["flags"].pop("epochs")
            read = cls(
                prefix=record["prefix"],
                started_from=record["started_from"],
                recipe=Recipe.read(record["flags"], record["action"]),
                epochs=epochs,
                dataset=record["dataset"],
                surroundings={name: record[name] for name in SURROUNDINGS},
                best=record["best"],
                moving_loss=record["moving_loss"],
                history=[Epoch(**row) for row in record["history"]],
                sha256=record["sha256"],
            )
            best = read.history[read.best["epoch"]]
            whole = best.accuracy("test", read.recipe.eval_method) == read.best["accuracy"]
            whole &= isinstance(epochs, int) and {"name", "sha256"} <= read.dataset.keys()
            whole &= f"{read.prefix}-best.params" in read.sha256
            whole &= all(isinstance(digest, str) for digest in read.sha256.values())
            whole &= facts_are_whole(read)
            whole &= isinstance(read.moving_loss, (float, type(None)))
            whole &= isinstance(read.started_from, (dict, type(None)))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise OtherVersion from error
        if not whole:
            raise OtherVersion
        return read

    def history_csv(self):
        """The history as the bytes of a table."""
        file = io.StringIO()
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(map(asdict, self.history))
        return file.getvalue().encode()


def facts_are_whole(record):
    """Whether what later versions keep of data and distances is there as it must be, or not."""
    dataset, num_classes = record.dataset, record.recipe.num_classes
    shape, names = dataset.get("shape", [1, 28, 28]), dataset.get("names")
    numbers = [*dataset.get("classes", []), *shape, dataset.get("edge", 0)]
    distances = record.best.get("distances", [0.0] * len(PERCENT))
    return (
        all(isinstance(number, int) for number in numbers)
        and all(0 <= one < num_classes for one in dataset.get("classes", []))
        and len(shape) == 3
        and (names is None or (len(names) == num_classes and all(map(str.isprintable, names))))
        and all(isinstance(one, float) for one in distances)
        and len(distances) == len(PERCENT)
    )


def surroundings(contexts, workers):
    """What the numbers of a run depend on beside its recipe and data."""
    return {
        "versions": {
            "python": platform.python_version(),
            "mxnet": mx.__version__,
            "numpy": np.__version__,
        },
        "threads": os.environ["OMP_NUM_THREADS"],
        "devices": [str(ctx) for ctx in contexts] * workers.size,
    }


def dump(content):
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def sha256(content):
    return hashlib.sha256(content).hexdigest()
