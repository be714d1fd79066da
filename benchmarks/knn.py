"""KNN: the nearest center of 10,000 features

Against the loop over samples that the program of 2019 had; and with many centers.
"""

import time
import tracemalloc

import numpy as np

from benchmarks.harness import median, ratio, take_turns
from process.console import table
from process.startup import prepare_mxnet

CALLS = 50  # a turn: one alone would mostly measure how its threads wake up


def run(smoke):
    prepare_mxnet()
    from utils import nearest_center

    features, centers = points(10_000, 10, 2)

    def ours():
        began = time.perf_counter()
        for _ in range(CALLS):
            nearest_center(features, centers)
        return (time.perf_counter() - began) / CALLS

    def loop():
        for feature in features:
            np.argmin(np.sum((feature - centers) ** 2, axis=1))

    seconds = take_turns({"this program": ours, "a loop over the samples": loop}, smoke or 7)
    rows = [
        (name, median([1000 * s for s in values]), ratio(values, seconds["this program"]))
        for name, values in seconds.items()
    ]
    small = table(("10,000 features, 10 centers, feature_size 2", "ms", "/ this program"), rows)
    return f"{small}\n\n{many(*((1000, 10_000, 1) if smoke else (10_000, 10**6, 2)))}"


def many(samples, classes, turns):
    """What many centers take, in time and memory."""
    from utils import nearest_center

    features, centers = points(samples, classes, 128)
    seconds = take_turns({"ours": lambda: nearest_center(features, centers) is None}, turns)["ours"]
    tracemalloc.start()
    nearest_center(features, centers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (
        f"{samples:,} features and {classes:,} centers of 128: {median(seconds)} s. Beside them it "
        f"holds {peak / 2**20:.0f} MiB at the most; the matrix of distances would take "
        f"{8 * samples * classes / 2**20:,.0f} MiB."
    )


def points(*counts_and_size):
    """Random features and centers."""
    *counts, size = counts_and_size
    random = np.random.RandomState(0)
    return [random.standard_normal((count, size)).astype(np.float32) for count in counts]
