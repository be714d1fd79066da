"""A command line: errors of one line, and types that say what they expect."""

import argparse
import difflib
import math
import os
import re
import shlex
import sys

from process.console import fail, say


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with errors of one line, which suggest the flag that a typo meant.

    @FILE stands for the flags in a file: words as in a shell, and comments after #.
    """

    def __init__(self, **kwargs):
        super().__init__(fromfile_prefix_chars="@", allow_abbrev=False, **kwargs)

    def convert_arg_line_to_args(self, line):
        return shlex.split(line, comments=True)

    def parse_args(self, argv):
        try:
            args, unknown = self.parse_known_args(argv)
        except ValueError as error:  # a quotation without an end, or bytes that are no text
            self.error(f"the file of flags cannot be read: {error}")
        if unknown:
            hint = ""
            for word in unknown:
                flag = word.partition("=")[0].replace("-", "_").replace("__", "--", 1)
                close = difflib.get_close_matches(flag, self._option_string_actions, 1, 0.8)
                hint = hint or (f": did you mean {close[0]}?" if close else "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return args

    def error(self, message):
        fail(f"{message} (see --help)")
        sys.exit(2)

    def print_help(self, file=None):
        say(self.format_help().rstrip())


class Tell(argparse.Action):
    """A flag that prints what its function `tell` returns, and ends."""

    def __init__(self, *args, tell, **kwargs):
        super().__init__(*args, nargs=0, **kwargs)
        self.tell = tell

    def __call__(self, *args):
        say(self.tell())
        sys.exit(0)


def of_field(each, smallest, largest):
    """Keyword arguments of argparse for a flag that is a field of a dataclass.

    Unless it is a bool, `typed.within` or `typed.one_of` made it; a float that is not 0 lies
    between `smallest` and `largest`.
    """
    limits = each.metadata.get("range")
    kinds = {
        bool: lambda: {"action": "store_true"},
        int: lambda: {"type": whole(limits.low, limits.high)},
        float: lambda: {"type": number(limits, smallest, largest)},
        str: lambda: {"choices": each.metadata["choices"]},
    }
    return {**kinds[each.type](), "default": argparse.SUPPRESS}  # what is absent was not given


def whole(low, high):
    """A type for argparse: a whole number in [low, high]."""

    def convert(text):
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    convert.__name__ = "whole number"
    return convert


def number(limits, smallest, largest):
    """A type for argparse: a number in a `typed.Range`, 0 or from `smallest` to `largest`."""

    def convert(text):
        value = float(text)
        low, above = limits.low, "above" if limits.above else "at least"
        high, below = limits.high, "below" if limits.below else "at most"
        if not math.isfinite(value) or value < low or (limits.above and value == low):
            wanted = f"a finite number {above} {low}"
        elif value != 0 and not smallest <= value <= largest:
            wanted = f"between {smallest} and {largest}, as MXNet needs it"
        elif value > high or (limits.below and value == high):
            wanted = f"{below} {high}"
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
