"""Dataclasses read from JSON, checked by one rule: the type and the range of each field."""

import math
from dataclasses import MISSING, field, fields, is_dataclass
from typing import NamedTuple, Union, get_type_hints


class Range(NamedTuple):
    """The numbers from `low` to `high`; `above` and `below` leave out the ends themselves."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value):
        return (
            self.low <= value <= self.high
            and not (self.above and value == self.low)
            and not (self.below and value == self.high)
        )


def within(low, high=math.inf, above=False, below=False, length=None, default=MISSING):
    """A field whose numbers lie in a range, and whose list has so many items."""
    metadata = {"range": Range(low, high, above, below), "length": length}
    return field(default=default, metadata=metadata)


def one_of(choices, default):
    """A field that is one of some strings."""
    return field(default=default, metadata={"choices": tuple(choices)})


def read(cls, row):
    """Make a dataclass from a JSON object.

    Parameters
    ----------
    cls : type
        A dataclass whose types are int, float, str, bool, other such dataclasses, and Optional,
        List and Dict[str, ...] of these.
    row : anything that JSON can hold

    Raises
    ------
    ValueError
        A field is missing, unknown, of another type, or out of its range.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{cls.__name__} is no object")
    known = {each.name: each for each in fields(cls)}
    required = {name for name, each in known.items() if each.default is MISSING}
    if not required <= row.keys() <= known.keys():
        raise ValueError(f"{cls.__name__} has other fields")
    hints = get_type_hints(cls)
    return cls(
        **{name: conform(value, hints[name], known[name].metadata) for name, value in row.items()}
    )


def conform(value, hint, metadata):
    """Give back a value of a type, with dataclasses in the place of JSON's objects."""
    outer, inner = getattr(hint, "__origin__", None), getattr(hint, "__args__", ())
    if outer is Union:  # Optional
        return None if value is None else conform(value, inner[0], metadata)
    if is_dataclass(hint):
        return read(hint, value)
    if type(value) is not (outer or hint):
        raise ValueError(f"{value!r:.50} is no {hint}")
    if outer is list:
        low, high = metadata.get("length") or (0, math.inf)
        if not low <= len(value) <= high:
            raise ValueError(f"a list of {len(value)}")
        return [conform(item, inner[0], metadata) for item in value]
    if outer is dict:
        return {key: conform(item, inner[1], metadata) for key, item in value.items()}
    if hint is float and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    if hint in (int, float) and value not in metadata.get("range", Range(-math.inf)):
        raise ValueError(f"{value} is out of range")
    if value not in metadata.get("choices", (value,)):
        raise ValueError(f"{value!r:.50} is an unknown choice")
    return value
