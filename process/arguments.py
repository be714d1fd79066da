"""A command line: errors of one line, types that say what they expect, and fields as flags."""

import argparse
import difflib
import math
import os
import re
import shlex
import sys
from dataclasses import field

from process.console import note, printable, say

# What float32, in which MXNet computes, holds with some room.
SMALLEST_FLOAT, LARGEST_FLOAT = 1e-37, 1e38


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with errors of one line, which suggest the flag that a typo meant.

    A file of flags has words as in a shell, and comments after #.
    """

    def convert_arg_line_to_args(self, line):
        return shlex.split(line, comments=True)

    def parse_args(self, argv):
        try:
            args, unknown = self.parse_known_args(argv)
        except ValueError as error:  # a quotation without an end, or bytes that are no text
            self.error(f"the file of flags cannot be read: {error}")
        if unknown:
            flag = unknown[0].partition("=")[0].replace("-", "_").replace("__", "--", 1)
            close = difflib.get_close_matches(flag, self._option_string_actions, 1, 0.8)
            hint = f": did you mean {close[0]}?" if close else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return args

    def error(self, message):
        note(f"{self.prog}: error: {printable(message)} (see --help)")
        sys.exit(2)

    def print_help(self, file=None):
        say(self.format_help().rstrip())


def within(low, high=math.inf, above=False, below=False, *, default):
    """A field of a dataclass, and a flag, whose number lies in a range; see `number`."""
    kind = whole(low, high) if isinstance(default, int) else number(low, high, above, below)
    return field(default=default, metadata={"type": kind})


def one_of(choices, default):
    """A field of a dataclass, and a flag, that is one of some strings."""
    return field(default=default, metadata={"choices": tuple(choices)})


def whole(low, high):
    """A type for argparse: a whole number in [low, high]."""

    def convert(text):
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    convert.__name__ = "whole number"
    return convert


def number(low, high=math.inf, above=False, below=False):
    """A type for argparse: a number in [low, high] that float32 holds; `above` and `below` leave
    out the ends."""

    def convert(text):
        value = float(text)
        if not math.isfinite(value) or value < low or (above and value == low):
            wanted = f"a finite number {'above' if above else 'at least'} {low}"
        elif value != 0 and not SMALLEST_FLOAT <= value <= LARGEST_FLOAT:
            wanted = f"between {SMALLEST_FLOAT} and {LARGEST_FLOAT}, as MXNet needs it"
        elif value > high or (below and value == high):
            wanted = f"{'below' if below else 'at most'} {high}"
        else:
            return value
        raise argparse.ArgumentTypeError(f"{text} is not {wanted}")

    convert.__name__ = "number"
    return convert


def truth(text):
    """True or False, in any case."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text.lower() == "true"


def distinct_numbers(text):
    """Whole numbers with commas between them, such as 0,1."""
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of GPUs such as 0,1")
    numbers = [int(part) for part in text.split(",")]
    if len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"{text} names a GPU twice")
    return numbers


def path(text):
    """A path; a ~ at its beginning is the user's home folder."""
    if not text:
        raise argparse.ArgumentTypeError("a path is empty")
    return os.path.expanduser(text)  # no shell does that in --data_dir=~/digits


def part_of_file_names(text):
    """A text that files can be named after."""
    if not text.isprintable() or not text.strip() or "/" in text or len(text.encode()) > 200:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a part of file names: up to 200 bytes, and no /"
        )
    return text
