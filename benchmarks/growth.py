"""How cost grows: with images, batch size, classes, feature_size, threads and workers

One of them changes at a time. Everything else is LeNet++ with 10 classes, 2 features and batches
of 128 on all cores, through the epoch loop of main.py.
"""

import contextlib

from benchmarks.cluster import seconds_an_epoch
from benchmarks.harness import Child, median, ratio, take_turns
from benchmarks.training import environment
from process.console import table
from process.cores import physical_cores


def run(smoke):
    images, turns = (128, 1) if smoke else (256, 3)
    cores = physical_cores()
    counts = sorted({1, max(1, cores // 2), cores})
    flags = {
        "batch size": ("--batch_size", (128,) if smoke else (16, 32, 64, 128, 256)),
        "classes": ("--num_classes", (10,) if smoke else (10, 1000, 100_000, 1_000_000)),
        "feature_size": ("--feature_size", (2,) if smoke else (2, 16, 128, 512)),
    }
    settings = {
        "images": {n: (n, (), None) for n in (images, 2 * images, 4 * images)},
        **{what: {n: (images, (flag, n), None) for n in values}
           for what, (flag, values) in flags.items()},
        "threads": {n: (images, (), n) for n in counts},
    }  # fmt: skip
    parts = [compare(what, values, turns) for what, values in settings.items()]
    workers = {n: seconds_an_epoch(n, 1 if smoke else 5) for n in ((1,) if smoke else (1, 2))}
    rows = [
        (n, f"{4000 / seconds:.3g}", f"{workers[1] / seconds:.3g}")
        for n, seconds in workers.items()
    ]
    parts.append(
        "LeNet on mnist5k with `--kvstore dist_sync` and a server on this machine, each worker "
        f"with one thread:\n\n{table(('workers', 'images/s', 'to the first'), rows)}"
    )
    return "\n\n".join(parts)


def compare(what, settings, turns):
    """A table of throughputs; `settings` are, by value, images, flags and threads."""
    with contextlib.ExitStack() as stack:
        contenders = {}
        for value, (images, flags, threads) in settings.items():
            env = environment({"OMP_NUM_THREADS": str(threads)} if threads else {})
            child = Child("benchmarks.contenders", "ours", images, *flags, env=env)
            contenders[value] = stack.enter_context(child)
        seconds = take_turns(contenders, turns)
    rates = {v: [settings[v][0] / s for s in values] for v, values in seconds.items()}
    first = next(iter(rates.values()))
    rows = [(f"{value:,}", median(r), ratio(r, first)) for value, r in rates.items()]
    return table((what, "images/s", "to the first"), rows)
