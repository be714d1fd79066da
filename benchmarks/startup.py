"""Start-up: from the command to an answer

Python alone, with what it imports for nothing, is the least that any program in it costs.
"""

import subprocess
import sys
import tempfile
import time

from benchmarks.harness import ROOT, median, ratio, take_turns
from process.console import table

TRAIN = ("--train", "--center_loss", "--dataset", "mnist5k", "--epochs", "1")


def run(smoke):
    contenders = {
        "`python -c pass`": lambda: until_end("-c", "pass"),
        "`python -c 'import mxnet'`": lambda: until_end(
            "-c", "from process.startup import prepare_mxnet; prepare_mxnet()"
        ),
        "`main.py --help`": lambda: until_end("main.py", "--help"),
        "`main.py --train ...` to its first step": until_first_step,
    }
    seconds = take_turns(contenders, 1 if smoke else 5)
    bare = seconds["`python -c pass`"]
    rows = [(name, median(values), ratio(values, bare)) for name, values in seconds.items()]
    note = f"`main.py --train` is `main.py {' '.join(TRAIN)}`"
    return f"{note}.\n\n{table(('command', 'seconds', '/ `python -c pass`'), rows)}"


def until_end(*command):
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def until_first_step():
    """Until the line that main.py prints before it starts to train."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *TRAIN],
            cwd=folder, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert "softmax + center loss" in process.stdout.readline()
            seconds = time.perf_counter() - began
            process.kill()
    return seconds
