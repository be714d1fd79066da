"""Which classes are taken for which."""

import numpy as np

MAX_PAIRED = 1000  # classes of which all pairs are counted


def confusion(labels, found, names):
    """How often images of each class were taken for each, and how often rightly.

    Parameters
    ----------
    labels, found : (N,) int
    names : list of str or None
        Of the classes; None where they are numbers.

    Returns
    -------
    list of list of str
        A row for each class that is there, below one that says what the columns are: all classes,
        unless they are too many, and the accuracy.
    """
    classes = np.union1d(labels, found)
    called = [names[j] if names else str(j) for j in classes]
    if len(classes) <= MAX_PAIRED:
        counts = np.zeros((len(classes), len(classes)), int)
        np.add.at(counts, (np.searchsorted(classes, labels), np.searchsorted(classes, found)), 1)
        rows = [["class", *called]] + [[name, *map(str, row)] for name, row in zip(called, counts)]
    else:
        rows = [["class"]] + [[name] for name in called]
    images, right = (np.bincount(np.searchsorted(classes, one), minlength=len(classes))
                     for one in (labels, labels[labels == found]))  # fmt: skip
    accuracies = [f"{a / b:.4f}" if b else "-" for a, b in zip(right, images)]
    return [[*row, last] for row, last in zip(rows, ["accuracy", *accuracies])]
