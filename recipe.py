"""The flags that make a run what it is, with their defaults and ranges.

This file imports neither NumPy nor MXNet, so that --help answers at once.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

from process.arguments import SMALLEST_FLOAT, one_of, within
from process.errors import UserError


class EvalMethod(NamedTuple):
    """A way to find the class of an image from its features, in words and as a table's column."""

    words: str
    column: str
    needs_centers: bool


MODELS = {"lenetplus": "LeNetPlus", "lenet": "LeNet"}  # by flag: the class in models.py
FORMULATIONS = ("hist", "paper")  # what center_loss.FORMULATIONS computes
EVAL_METHODS = {  # what utils.classify computes, and runs.record.Epoch keeps
    "softmax": EvalMethod("class prediction", "class prediction", needs_centers=False),
    "knn": EvalMethod("nearest center", "KNN search", needs_centers=True),
}
LR_SCHEDULES = ("step", "cosine")
PREPARE = ("auto", "mnist", "none")  # see runs.trained.Trained.prepares
DATASETS = ("auto", "mnist", "fashion_mnist", "mnist5k")  # what data.READERS reads
LARGEST_INT = 2**31 - 1


@dataclass(frozen=True)
class Network:
    """The network of a run, which all commands but --train take from its record."""

    model: str = one_of(MODELS, default="lenetplus")
    no_bias: bool = False
    num_classes: int = within(2, 10**7, default=10)
    feature_size: int = within(1, 10**5, default=2)
    # Squared, and times the networks' 32 channels, the most numbers that MXNet's arrays hold.
    image_size: int = within(16, 8191, default=28)
    color: bool = False
    prepare: str = one_of(PREPARE, default="auto")

    @classmethod
    def names(cls):
        """The flags, in the order of a record."""
        return [field.name for field in fields(cls)]

    @classmethod
    def merge(cls, given, recorded=None, prefix=None, **fixed):
        """Decide every flag: what a run recorded goes before the default, and binds the user.

        Parameters
        ----------
        given, recorded : dict
            Flags that the user gave, and flags that the run `prefix` was begun with; more than
            those of `cls` may be among them.
        prefix : str
        **fixed
            Fields that are no flags.

        Raises
        ------
        UserError
            A flag is given otherwise than it is recorded.
        """
        recorded = recorded or {}
        for name in cls.names():
            if name in given and name in recorded and given[name] != recorded[name]:
                raise UserError(
                    f"--{name} {given[name]} contradicts the run {prefix}, which has "
                    f"{recorded[name]}: leave the flag out, or choose another --prefix"
                )
        known = {**given, **recorded}
        return cls(**{name: known[name] for name in cls.names() if name in known}, **fixed)


@dataclass(frozen=True)
class Recipe(Network):
    """All that must be equal for a run to go on: its network, and how that is trained."""

    formulation: str = one_of(FORMULATIONS, default="hist")
    lmbd: float = within(0, default=1.0)
    alpha: float = within(0, default=0.5)
    lr: float = within(0, above=True, default=0.1)
    lr_step: int = within(1, LARGEST_INT, default=10)
    lr_factor: float = within(0, above=True, default=0.1)
    lr_schedule: str = one_of(LR_SCHEDULES, default="step")
    batch_size: int = within(1, LARGEST_INT, default=128)
    wd: float = within(0, default=1e-4)
    momentum: float = within(0, 1, below=True, default=0.0)
    augment: bool = False
    seed: int = within(0, LARGEST_INT, default=0)
    eval_method: str = one_of(EVAL_METHODS, default="softmax")
    plotting: bool = False
    center_loss: bool = False
    # Not a flag: which action it is of.
    second: bool = False

    @classmethod
    def names(cls):
        return [name for name in super().names() if name != "second"]

    @property
    def action(self):
        return "second_train" if self.second else "train"

    @property
    def losses(self):
        """The names of the losses, in the order in which they are added up."""
        softmax = () if self.second else ("softmax",)
        center = ("center",) if self.second or self.center_loss else ()
        return softmax + center

    def flags(self):
        """The flags as a record keeps them."""
        # A second training has center loss anyway.
        dropped = {"second", "center_loss"} if self.second else {"second"}
        if self.prepare == Network.prepare:  # not in older records
            dropped.add("prepare")
        return {name: value for name, value in asdict(self).items() if name not in dropped}

    def decayed(self, lr, progress):
        """A learning rate after so many epochs, which may be a fraction.

        It is multiplied by `lr_factor` every `lr_step` epochs; with the schedule ``cosine`` it
        also falls to zero within these, along half a cosine (Loshchilov and Hutter, "SGDR:
        Stochastic Gradient Descent with Warm Restarts", ICLR 2017, Equation 5).
        """
        falls, part = divmod(progress, self.lr_step)
        rate = lr * self.lr_factor ** int(falls)
        if self.lr_schedule == "cosine":
            rate *= (1 + math.cos(math.pi * part / self.lr_step)) / 2
        return rate if rate >= SMALLEST_FLOAT else 0.0
