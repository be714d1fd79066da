"""KNN: the nearest center of 10,000 features

Against the loop over samples that the program of 2019 had, and, with many centers, against the
same search in double precision alone.
"""

import time
import tracemalloc
from unittest import mock

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
    """A table for many centers; in double precision alone where nothing is ruled out before."""
    import utils

    random = np.random.RandomState(0)
    features = random.standard_normal((samples, 128)).astype(np.float32)
    centers = random.standard_normal((classes, 128)).astype(np.float32)
    answers, peaks = {}, []

    def ours():
        tracemalloc.start()
        began = time.perf_counter()
        answers["ours"] = utils.nearest_center(features, centers)
        seconds = time.perf_counter() - began
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        return seconds

    def double():
        everything = mock.patch.object(utils, "may_be_nearer", lambda x, *_: np.ones(len(x), bool))
        with everything:
            answers["double"] = utils.nearest_center(features, centers)

    seconds = take_turns({"ours": ours, "double": double}, turns)
    rows = [
        ("this program", median(seconds["ours"]), "1"),
        ("in double precision alone", median(seconds["double"]),
         ratio(seconds["double"], seconds["ours"])),
    ]  # fmt: skip
    what = f"{samples:,} features, {classes:,} centers, feature_size 128"
    same = np.mean(answers["ours"] == answers["double"])
    return (
        f"{table((what, 's', '/ this program'), rows)}\n\n{same:.2%} of the answers are the same. "
        f"Beside features and centers it holds {max(peaks) / 2**20:.0f} MiB at the most; the "
        f"matrix of distances would take {8 * samples * classes / 2**20:,.0f} MiB."
    )
