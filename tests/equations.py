"""The center losses by their equations, in NumPy: a new formulation gets its row here.

An image with the features x (d,), whose class has the center c (d,) and n images in the batch, has
the loss ``loss``, the gradient ``gradient`` with respect to x, and adds ``pull`` to the gradient
that its center receives. ``by_batch`` says whether a step divides that by the batch size.
"""

from typing import Callable, NamedTuple

import numpy as np


class Equations(NamedTuple):
    loss: Callable
    gradient: Callable
    pull: Callable
    by_batch: bool


EQUATIONS = {
    "hist": Equations(
        loss=lambda x, c, n, lmbd: lmbd / 2 * np.sum((x - c) ** 2) / n,
        gradient=lambda x, c, n, lmbd: lmbd * (x - c) / n,
        pull=lambda x, c, n, lmbd: lmbd * (c - x) / n,
        by_batch=True,
    ),
    "paper": Equations(
        loss=lambda x, c, n, lmbd: lmbd / 2 * np.sum((x - c) ** 2),
        gradient=lambda x, c, n, lmbd: lmbd * (x - c),
        pull=lambda x, c, n, lmbd: (c - x) / (1 + n),
        by_batch=False,
    ),
}


def by_the_equations(formulation, features, labels, centers, lmbd, weights=None):
    """Losses (N,), gradients of the features (N, d), and of the centers (C, d), in float64."""
    rule = EQUATIONS[formulation]
    features, centers = features.astype(np.float64), centers.astype(np.float64)
    weights = np.ones(len(labels)) if weights is None else weights
    losses, gradients, pulls = np.zeros(len(labels)), np.zeros_like(features), 0 * centers
    for i, (x, y, weight) in enumerate(zip(features, labels, weights)):
        values = x, centers[y], np.sum(labels == y), lmbd
        losses[i] = weight * rule.loss(*values)
        gradients[i] = weight * rule.gradient(*values)
        pulls[y] += weight * rule.pull(*values)
    return losses, gradients, pulls


def moved(formulation, centers, pulls, alpha, batch_size):
    """The centers after a step of SGD."""
    divisor = batch_size if EQUATIONS[formulation].by_batch else 1
    return centers - alpha / divisor * pulls
