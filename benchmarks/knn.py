"""KNN: the nearest center of 10,000 features

Against the loop over samples that the program of 2019 had, and against the matrix product that
the search consists of.
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

    seconds = take_turns({"ours": ours, "loop": loop}, 1 if smoke else 7)
    rows = [
        ("this program", median([1000 * s for s in seconds["ours"]]), "1"),
        (
            "a loop over the samples (NumPy)",
            median([1000 * s for s in seconds["loop"]]),
            ratio(seconds["loop"], seconds["ours"]),
        ),
    ]
    small = table(("10,000 features, 10 centers, feature_size 2", "ms", "/ this program"), rows)
    return f"{small}\n\n{large(nearest_center, *((1000, 10_000) if smoke else (10_000, 10**6)))}"


def large(nearest_center, samples, classes):
    random = np.random.RandomState(0)
    features = random.standard_normal((samples, 128)).astype(np.float32)
    centers = random.standard_normal((classes, 128)).astype(np.float32)
    a, b = random.standard_normal((2, 2048, 2048))
    products = []

    def product():
        began = time.perf_counter()
        a @ b
        products.append(2 * 2048**3 / (time.perf_counter() - began))

    product()
    product()
    tracemalloc.start()
    began = time.perf_counter()
    nearest_center(features, centers)
    seconds = time.perf_counter() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    product()
    rate = 2 * samples * classes * 128 / seconds
    return (
        f"{samples:,} features against {classes:,} centers, feature_size 128: {seconds:.3g} s, "
        f"{rate / 1e9:.3g} GFLOP/s, {rate / np.median(products):.2f} of the rate of a product of "
        f"two float64 matrices (2048 x 2048); at its peak it held {peak / 2**20:.0f} MiB "
        f"beside features and centers, whose matrix of distances would take "
        f"{8 * samples * classes / 2**20:.0f} MiB."
    )
