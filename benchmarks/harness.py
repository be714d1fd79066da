"""What all measurements share: turns, ratios, and contenders in processes of their own."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parent.parent


def take_turns(contenders, turns):
    """Time contenders side by side, each `turns` times after once that does not count.

    `contenders` are functions by name, which return the seconds they took, or None to be timed
    by the clock. Returns the lists of seconds by name.
    """
    seconds = {name: [] for name in contenders}
    for turn in tqdm(range(turns + 1), unit="turn", leave=False, disable=None):
        for name, contender in contenders.items():
            time.sleep(0.3)  # the threads of the one before spin for a while
            began = time.perf_counter()
            took = contender() or time.perf_counter() - began
            if turn:
                seconds[name].append(took)
    return seconds


def median(values, digits=3):
    """A median with the smallest and the largest of the values, as text."""
    middle, low, high = (f"{f(values):.{digits}g}" for f in (statistics.median, min, max))
    return middle if len(values) == 1 else f"{middle} [{low}, {high}]"


def ratio(values, others, digits=3):
    """How many times as large as `others` the `values` are, turn by turn, as text."""
    return median([a / b for a, b in zip(values, others)], digits)


class Child:
    """A contender in a process of its own: MXNet and PyTorch read their settings only once.

    `command` is a Python module, run with ``-m``, and its arguments. It prints a number for each
    line that it reads, as `answer` does.
    """

    def __init__(self, *command, env=None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", *map(str, command)],
            cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} has ended")
        return float(line)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def answer(function):
    """The other side of a `Child`: print what `function` returns for every line of the input."""
    for _ in sys.stdin:
        print(function(), flush=True)
