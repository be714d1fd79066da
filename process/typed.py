"""Fields of dataclasses that say which values they may have; a command line is made of them."""

import math
from dataclasses import field
from typing import NamedTuple


class Range(NamedTuple):
    """The numbers from `low` to `high`; `above` and `below` leave out the ends themselves."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False


def within(low, high=math.inf, above=False, below=False, *, default):
    """A field whose number lies in a range."""
    return field(default=default, metadata={"range": Range(low, high, above, below)})


def one_of(choices, default):
    """A field that is one of some strings."""
    return field(default=default, metadata={"choices": tuple(choices)})
