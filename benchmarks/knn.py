"""KNN: the nearest center of 10,000 features

Against the loop over samples that the program of 2019 had; and with many centers.
"""

import time
import tracemalloc

import numpy as np

from benchmarks.harness import median, ratio, take_turns
from process.console import table
from process.startup import prepare_mxnet

CALLS = 50  # a turn


def run(smoke):
    prepare_mxnet()
    from utils import nearest_center

    turns = 1 if smoke else 7
    random = np.random.RandomState(0)
    features = random.normal(size=(10_000, 2)).astype(np.float32)
    centers = random.normal(size=(10, 2)).astype(np.float32)

    def ours():
        began = time.perf_counter()
        for _ in range(CALLS):  # one alone would mostly measure how its threads wake up
            nearest_center(features, centers)
        return (time.perf_counter() - began) / CALLS

    def loop():
        for feature in features:
            np.argmin(np.sum((feature - centers) ** 2, axis=1))

    seconds = take_turns({"ours": ours, "loop": loop}, turns)
    rows = [
        ("this program", median([1000 * s for s in seconds["ours"]]), "1"),
        (
            "a loop over the samples (NumPy)",
            median([1000 * s for s in seconds["loop"]]),
            ratio(seconds["loop"], seconds["ours"]),
        ),
    ]
    small = table(("10,000 features, 10 centers, feature_size 2", "ms", "/ this program"), rows)
    return f"{small}\n\n{many(*((1000, 10_000, 1) if smoke else (10_000, 10**6, 2)))}"


def many(samples, classes, turns):
    """A table for many centers."""
    import utils

    random = np.random.RandomState(0)
    features = random.standard_normal((samples, 128)).astype(np.float32)
    centers = random.standard_normal((classes, 128)).astype(np.float32)
    peaks = []

    def ours():
        tracemalloc.start()
        began = time.perf_counter()
        utils.nearest_center(features, centers)
        seconds = time.perf_counter() - began
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        return seconds

    seconds = take_turns({"ours": ours}, turns)
    rows = [("this program", median(seconds["ours"]))]
    what = f"{samples:,} features, {classes:,} centers, feature_size 128"
    return (
        f"{table((what, 's'), rows)}\n\nBeside features and centers it holds "
        f"{max(peaks) / 2**20:.0f} MiB at the most; the matrix of distances would take "
        f"{8 * samples * classes / 2**20:,.0f} MiB."
    )
