"""Training throughput: LeNet++, batch 128

The same images go through this program's epoch loop, through the bare passes, through a loop like
that of 2019, and through PyTorch.
"""

import contextlib
import importlib.util
import os

import numpy as np

from benchmarks.harness import Child, median, ratio, table, take_turns

NAMES = {
    "ours": "this program (`train.train_epoch`)",
    "bare": "bare hybridized loop over batches cut before",
    "parameter": "the same, with the centers in a Parameter (`ParameterCenterLoss`)",
    "2019": "a loop like the one of 2019, MXNet's own number of threads",
    "torch": "PyTorch {torch}, eager",
    "torch-channels-last": "PyTorch {torch}, channels_last",
}


def run(smoke):
    images, turns = (128, 1) if smoke else (1280, 5)
    names = dict(NAMES)
    version = "is not installed"
    if importlib.util.find_spec("torch"):
        from importlib.metadata import version as version_of

        version = version_of("torch").partition("+")[0]
    else:
        del names["torch"], names["torch-channels-last"]
    size = 256 if smoke else 4096
    a, b, c = np.random.RandomState(0).rand(3, size, size).astype(np.float32)
    with contextlib.ExitStack() as stack:
        contenders = {
            name: stack.enter_context(
                Child("benchmarks.contenders", name, images, env=environment(name))
            )
            for name in names
        }
        contenders["product"] = lambda: np.dot(a, b, out=c) is None
        seconds = take_turns(contenders, turns)
    products = seconds.pop("product")
    rates = {name: [images / s for s in values] for name, values in seconds.items()}
    limit = [2 * size**3 / s for s in products]
    flops = {name: [flop_an_image() * r for r in values] for name, values in rates.items()}
    rows = [
        (
            names[name].format(torch=version),
            median(rates[name]),
            median([f / 1e9 for f in flops[name]]),
            ratio(rates["ours"], rates[name]) if name != "ours" else "1",
            ratio(flops[name], limit),
        )
        for name in names
    ]
    rows.append(
        (
            f"float32 product of two {size} x {size} matrices (NumPy)",
            "-",
            median([f / 1e9 for f in limit]),
            "-",
            "1",
        )
    )
    header = ("loop", "images/s", "GFLOP/s", "ours / this", "of the product's rate")
    note = f"{images} images a turn, {turns} turns"
    parameter = ratio(seconds["parameter"], seconds["bare"], digits=4)
    embedding = f"The bare loop's step takes {parameter} times as long with a Parameter"
    return f"{note}.\n\n{table(header, rows)}\n\n{embedding}." + (
        "" if "torch" in names else "\n\nPyTorch is not installed."
    )


def environment(name):
    """What `name` runs in: the program of 2019 left the number of threads to MXNet."""
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    if name == "2019":
        env["OMP_NUM_THREADS"] = str(max(1, os.cpu_count() // 2))
    return env


def flop_an_image():
    """Floating point operations of forward and backward pass of LeNet++, of one image."""
    total, before = 0, 1
    for side, channels in ((28, 32), (14, 64), (7, 128)):
        for _ in range(2):
            forward = 2 * 25 * before * channels * side**2
            total += forward * (2 if before == 1 else 3)  # the images need no gradient
            before = channels
    return total + 3 * 2 * (128 * 3 * 3 * 2 + 2 * 10)
