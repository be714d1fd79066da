"""Training throughput: LeNet++ and LeNet, batch 128

Each turn of this program is an evaluation and then an epoch, as main.py runs them. The same images
go through the bare passes, through a loop like that of 2019, and through PyTorch.
"""

import contextlib
import importlib.util
import os

from benchmarks.harness import Child, median, ratio, take_turns
from process.console import table

# What could steer the threads, besides the contender.
STEERING = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MXNET_CPU_PARALLEL_SIZE")
HALF_THE_PROCESSORS = {"OMP_NUM_THREADS": str(max(1, os.cpu_count() // 2))}
LOOPS = {
    "ours": "this program (`train.train_epoch`)",
    "bare": "bare hybridized loop over batches cut before",
    "parameter": "the same, with the centers in a Parameter",
    "2019": "a loop like the one of 2019, MXNet's own number of threads",
    "torch": "PyTorch, eager",
    "torch-channels-last": "PyTorch, channels_last",
    "torch-compile": "PyTorch, torch.compile",
}
IMAGES = {"lenetplus": 1280, "lenet": 25_600}
CALLED = {"lenetplus": "LeNet++", "lenet": "LeNet"}


def run(smoke):
    has_torch = importlib.util.find_spec("torch")
    turns, parts = (1 if smoke else 5), []
    loops = [name for name in LOOPS if has_torch or not name.startswith("torch")]
    for model in CALLED:
        images = 128 if smoke else IMAGES[model]
        names = [name for name in loops if (model, name) != ("lenet", "2019")]
        parts.append(compare(model, names, images, turns))
    return "\n\n".join(parts) + "\n\nPyTorch is not installed." * (not has_torch)


def compare(model, names, images, turns):
    """A table of throughputs."""
    with contextlib.ExitStack() as stack:
        contenders = {}
        for name in names:
            rest = {key: value for key, value in os.environ.items() if key not in STEERING}
            env = {**rest, **(HALF_THE_PROCESSORS if name == "2019" else {})}
            child = Child("benchmarks.contenders", name, images, model, env=env)
            contenders[name] = stack.enter_context(child)
        seconds = take_turns(contenders, turns)
    rates = {name: [images / s for s in values] for name, values in seconds.items()}
    rows = [(LOOPS[name], median(rates[name]), ratio(rates["ours"], rates[name])) for name in names]
    text = table((CALLED[model], "images/s", "ours / this"), rows)
    if "parameter" in seconds:
        times = ratio(seconds["parameter"], seconds["bare"], digits=4)
        text += f"\n\nThe bare loop's step takes {times} times as long with a Parameter."
    return f"{images} images a turn, {turns} turns.\n\n{text}"
