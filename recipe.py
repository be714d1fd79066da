"""The flags that make a run what it is. This file imports neither NumPy nor MXNet."""

import math
from dataclasses import asdict, dataclass, fields

from process.errors import UserError

MODELS = {"lenetplus": "LeNetPlus", "lenet": "LeNet"}  # by flag: the class in models.py
FORMULATIONS = ("hist", "paper")
EVAL_METHODS = {"softmax": "class prediction", "knn": "nearest center"}  # in words
LR_SCHEDULES = ("step", "cosine")
DATASETS = ("auto", "mnist", "mnist5k")
TINY, HUGE = 1e-37, 1e38  # what float32, in which MXNet computes, holds with some room
MOST = 2**31 - 1
WHOLE = {  # whole numbers, and between which they lie
    "num_classes": (2, 10**7),
    "feature_size": (1, 10**5),
    "image_size": (16, 10**4),
    "lr_step": (1, MOST),
    "batch_size": (1, MOST),
    "seed": (0, MOST),
}
# Flags that the first records do not have.
LATER = {"image_size": 28, "color": False, "lr_schedule": "step", "augment": False}
EPOCHS = 30  # outside the recipe: --resume may raise it


def fits(value):
    """Whether a number at or above 0 fits float32 without becoming 0 or infinite."""
    return value == 0 or TINY <= value <= HUGE


@dataclass(frozen=True)
class Network:
    """The network of a run, which --test, --compare and --second_train take from it."""

    model: str = "lenetplus"
    no_bias: bool = False
    num_classes: int = 10
    feature_size: int = 2
    image_size: int = 28
    color: bool = False

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
                    f"{recorded[name]}: leave the flag away, or choose another --prefix"
                )
        known = {**given, **recorded}
        return cls(**{name: known[name] for name in cls.names() if name in known}, **fixed)


@dataclass(frozen=True)
class Recipe(Network):
    """All that must be equal for a run to go on: its network, and how that is trained."""

    formulation: str = "hist"
    lmbd: float = 1.0
    alpha: float = 0.5
    lr: float = 0.1
    lr_step: int = 10
    lr_factor: float = 0.1
    lr_schedule: str = "step"
    batch_size: int = 128
    wd: float = 1e-4
    momentum: float = 0.0
    augment: bool = False
    seed: int = 0
    eval_method: str = "softmax"
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
        dropped = ("second", "center_loss") if self.second else ("second",)
        return {name: value for name, value in asdict(self).items() if name not in dropped}

    @classmethod
    def read(cls, flags, action):
        """The opposite of `flags`; raises ValueError where these are not this version's."""
        flags = {**LATER, **flags}
        recipe = cls(**flags, second=action == "second_train")
        default = cls(second=recipe.second).flags()
        kinds = [{name: type(value) for name, value in f.items()} for f in (flags, default)]
        if kinds[0] != kinds[1] or recipe.action != action:
            raise ValueError("other flags")
        choices = {"model": MODELS, "formulation": FORMULATIONS, "eval_method": EVAL_METHODS,
                   "lr_schedule": LR_SCHEDULES}  # fmt: skip
        if any(getattr(recipe, name) not in values for name, values in choices.items()):
            raise ValueError("an unknown choice")
        floats = [value for value in flags.values() if isinstance(value, float)]
        wholes = [low <= flags[name] <= high for name, (low, high) in WHOLE.items()]
        if not (all(map(fits, floats)) and all(wholes) and recipe.momentum < 1):
            raise ValueError("an impossible number")
        return recipe

    def decayed(self, lr, progress):
        """A learning rate after so many epochs, which may be a fraction.

        It is multiplied by `lr_factor` every `lr_step` epochs; with the schedule ``cosine`` it
        also falls to zero within these, along half a cosine (Loshchilov and Hutter, "SGDR:
        Stochastic Gradient Descent with Warm Restarts", ICLR 2017, Equation 5).
        """
        falls, part = divmod(progress, self.lr_step)
        try:
            rate = lr * self.lr_factor ** int(falls)
        except OverflowError:
            rate = HUGE
        if self.lr_schedule == "cosine":
            rate *= (1 + math.cos(math.pi * part / self.lr_step)) / 2
        return min(rate, HUGE) if rate >= TINY else 0.0
