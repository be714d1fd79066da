"""KNN: the nearest center of 10,000 features

Against the loop over samples that the program of 2019 had.
"""

import time

import numpy as np

from benchmarks.harness import median, ratio, take_turns
from process.console import table
from process.startup import prepare_mxnet

CALLS = 50  # a turn: one alone would mostly measure how its threads wake up


def run(smoke):
    prepare_mxnet()
    from utils import nearest_center

    random = np.random.RandomState(0)
    features, centers = (random.normal(size=(n, 2)).astype(np.float32) for n in (10_000, 10))

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
    return table(("10,000 features, 10 centers, feature_size 2", "ms", "/ this program"), rows)
