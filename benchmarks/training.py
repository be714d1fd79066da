"""Training throughput: LeNet++ and LeNet, batch 128

Each turn of this program is an evaluation and then an epoch, as main.py runs them, and the first
turn does not count. The same images go through the bare passes, through a loop like that of 2019,
and through PyTorch; first alone, then beside a process that keeps one core busy. The limit is the
fastest float32 product of two matrices among those at hand.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys

from benchmarks.harness import Child, median, ratio, take_turns
from process.console import table

HALF_THE_PROCESSORS = {"OMP_NUM_THREADS": str(max(1, os.cpu_count() // 2))}
# By name: what it is called, and its environment.
LOOPS = {
    "ours": ("this program (`train.train_epoch`)", {}),
    "bare": ("bare hybridized loop over batches cut before", {}),
    "parameter": ("the same, with the centers in a Parameter", {}),
    "2019": ("a loop like the one of 2019, MXNet's own number of threads", HALF_THE_PROCESSORS),
    "torch": ("PyTorch {torch}, eager", {}),
    "torch-channels-last": ("PyTorch {torch}, channels_last", {}),
    "torch-compile": ("PyTorch {torch}, torch.compile", {}),
}
BUSY = ("ours", "torch-channels-last")
IMAGES = {"lenetplus": 1280, "lenet": 25_600}
CALLED = {"lenetplus": "LeNet++", "lenet": "LeNet"}


def run(smoke):
    version, libraries = None, ["numpy", "mxnet"]
    if importlib.util.find_spec("torch"):
        from importlib.metadata import version as version_of

        version = version_of("torch").partition("+")[0]
        libraries.append("torch")
    turns, size = (1, 256) if smoke else (5, 4096)
    fastest, limit = fastest_product(libraries, size, turns)
    parts = [
        f"{turns} turns. The limit is the float32 product of two {size} x {size} matrices by "
        f"{fastest}, the fastest here: {limit / 1e9:.3g} GFLOP/s."
    ]
    for model in CALLED:
        images = 128 if smoke else IMAGES[model]
        names = [name for name in LOOPS if version or not name.startswith("torch")]
        if model == "lenet":
            names.remove("2019")
        parts.append(compare(model, names, images, turns, version, limit))
        with a_busy_core():
            busy = [name for name in BUSY if name in names]
            parts.append(compare(model, busy, images // 2, turns, version))
    return "\n\n".join(parts) + ("" if version else "\n\nPyTorch is not installed.")


def fastest_product(libraries, size, turns):
    """The name of the fastest, and its operations a second."""
    with contextlib.ExitStack() as stack:
        products = {
            library: stack.enter_context(
                Child("benchmarks.contenders", f"{library}-product", size, env=environment({}))
            )
            for library in libraries
        }
        seconds = {name: sorted(values) for name, values in take_turns(products, turns).items()}
    middle = {name: values[len(values) // 2] for name, values in seconds.items()}
    fastest = min(middle, key=middle.get)
    called = {"numpy": "NumPy", "mxnet": "MXNet", "torch": "PyTorch"}
    return called[fastest], 2 * size**3 / middle[fastest]


def compare(model, names, images, turns, version, limit=None):
    """A table of throughputs; without `limit` beside a busy core."""
    with contextlib.ExitStack() as stack:
        contenders = {}
        for name in names:
            _, env = LOOPS[name]
            child = Child(
                "benchmarks.contenders", name, images, *flags(name, model),
                env=environment(env),
            )  # fmt: skip
            contenders[name] = stack.enter_context(child)
        seconds = take_turns(contenders, turns)
    rates = {name: [images / s for s in values] for name, values in seconds.items()}
    rows = []
    for name in names:
        row = [LOOPS[name][0].format(torch=version), median(rates[name])]
        row.append(ratio(rates["ours"], rates[name]) if name != "ours" else "1")
        if limit:
            flops = [flop_an_image(model) * rate / limit for rate in rates[name]]
            row.append(median(flops))
        rows.append(row)
    where = "alone" if limit else "beside a process that keeps one core busy"
    header = [f"{CALLED[model]}, {where}", "images/s", "ours / this"]
    text = table(header + ["of the limit"] * bool(limit), rows)
    if limit:
        parameter = ratio(seconds["parameter"], seconds["bare"], digits=4)
        text += f"\n\nThe bare loop's step takes {parameter} times as long with a Parameter."
    return f"{images} images a turn.\n\n{text}"


def flags(contender, model):
    if contender == "2019":
        return ()
    return (model,) if contender.startswith("torch") else ("--model", model)


def environment(variables):
    """The user's, with these instead of what could steer the threads there."""
    steering = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MXNET_CPU_PARALLEL_SIZE")
    rest = {name: value for name, value in os.environ.items() if name not in steering}
    return {**rest, **variables}


@contextlib.contextmanager
def a_busy_core():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def flop_an_image(model):
    """Floating point operations of forward and backward pass of an image."""
    if model == "lenet":
        convolutions, dense = [(24, 1, 16), (8, 16, 48)], 48 * 4 * 4 * 512 + 512 * 2
    else:
        convolutions = [(28, 1, 32), (28, 32, 32), (14, 32, 64), (14, 64, 64), (7, 64, 128)]
        convolutions, dense = [*convolutions, (7, 128, 128)], 128 * 3 * 3 * 2
    total = 0
    for side, before, channels in convolutions:
        forward = 2 * 25 * before * channels * side**2
        total += forward * (2 if before == 1 else 3)  # the images need no gradient
    return total + 3 * 2 * (dense + 2 * 10)
