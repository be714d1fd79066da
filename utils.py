"""Accuracies of features: class prediction, nearest center, and how tight the clusters are."""

from typing import Dict, NamedTuple, Optional

import mxnet as mx
import numpy as np

from data import batches
from datasets.dataset import Split
from process.errors import UserError

EVALUATION_BATCH = 500
MAX_ELEMENTS = 2**28  # of an array; 2**31 is the limit of MXNet


class Answers(NamedTuple):
    """What a network says of N images.

    Attributes
    ----------
    features : (N, feature_size) float32
    found : dict of str to (N,) int64
        The class that each of `recipe.EVAL_METHODS` finds: that of the largest logit by
        ``softmax``, that of the nearest center by ``knn``, which is not there without centers.
    probability : (N,) float32
        The softmax of the largest logit.
    doubt : (N,) float32
        The sum of all other classes' softmax: one minus `probability`, but right to float32's
        relative precision, where the probability itself is often rounded to 1.
    distance : (N,) float64 or None
        The Euclidean distance to the nearest center.
    """

    features: np.ndarray
    found: Dict[str, np.ndarray]
    probability: np.ndarray
    doubt: np.ndarray
    distance: Optional[np.ndarray] = None


def classify(net, centers, images, ctx, classes=None):
    """Run the network over images, and find their classes by every method.

    Parameters
    ----------
    net : FeatureNet
    centers : (num_classes, feature_size) float32, or None
    images : (N, C, H, W) uint8
    ctx : mxnet.Context
    classes : (K,) int array, optional
        Those that were trained; the centers of others are ignored. By default all.

    Returns
    -------
    Answers

    Raises
    ------
    UserError
        A feature is not finite.
    """
    parts = []
    size = max(1, min(EVALUATION_BATCH, MAX_ELEMENTS // net.largest_layer(images.shape[1:])))
    split = Split(images, np.zeros(len(images), np.int32))
    for ((image, _, _),) in batches(split, size, [ctx]):
        output, feature = net(image)
        index, softmax = output.argmax(axis=1), output.softmax(axis=1)
        probability = softmax.max(axis=1)
        softmax[mx.nd.arange(len(index), ctx=ctx), index] = 0
        outputs = (feature, index, probability, softmax.sum(axis=1))
        parts.append([array.asnumpy() for array in outputs])
    features, predicted, probability, doubt = map(np.concatenate, zip(*parts))
    check_finite(features, "a feature")
    found = {"softmax": predicted.astype(np.int64)}
    if centers is None:
        return Answers(features, found, probability, doubt)
    classes = np.arange(len(centers)) if classes is None else classes
    nearest = classes[nearest_center(features, centers[classes])].astype(np.int64)
    distance = np.linalg.norm(features.astype(np.float64) - centers[nearest], axis=1)
    return Answers(features, {**found, "knn": nearest}, probability, doubt, distance)


def check_finite(values, what):
    """Raise UserError unless all values are finite."""
    if not np.isfinite(values).all():
        raise UserError(f"{what} became NaN or infinite: try a lower --lr, --lmbd or --alpha")


def nearest_center(features, centers, block=2**24):
    """Find the center nearest to each feature, by Euclidean distance.

    Distances are compared in double precision: in single precision ||c||^2 - 2 x.c loses what tells
    near centers apart.

    Parameters
    ----------
    features : (N, d) float
    centers : (C, d) float
    block : int
        How many distances are in memory at once, at least those of one feature.

    Returns
    -------
    (N,) int64
        The index of the center; of equally near ones the lowest.
    """
    centers = centers.astype(np.float64)
    square = (centers**2).sum(axis=1)  # without ||x||^2, which is the same for every center
    rows = max(1, block // len(centers))
    parts = np.split(features, range(rows, len(features), rows))
    return np.concatenate([(square - 2 * part @ centers.T).argmin(axis=1) for part in parts])


def accuracies(answers, labels):
    """The fraction of right answers, by method."""
    return {method: float(np.mean(found == labels)) for method, found in answers.found.items()}


def tightness(features, labels, centers):
    """How tight the clusters are: below 1/2 a typical feature is nearest to its own center.

    Parameters
    ----------
    features : (N, d) float
    labels : (N,) int
    centers : (C, d) float

    Returns
    -------
    float
        The mean distance to the own center over the smallest distance between two centers, of
        the classes that `labels` has. `spread` and `shift` tell apart what it mixes.
    """
    own = np.linalg.norm(features.astype(np.float64) - centers[labels], axis=1).mean()
    return ratio(own, smallest_distance(centers[np.unique(labels)].astype(np.float64)))


def spread(features, labels):
    """How far features lie from the mean of their class, whose shapes are as for `tightness`.

    It is the mean distance over the smallest distance between the means of two classes: what
    `tightness` would be if the centers were the means.
    """
    means, places = class_means(features, labels)
    own = np.linalg.norm(features.astype(np.float64) - means[places], axis=1).mean()
    return ratio(own, smallest_distance(means))


def shift(features, labels, centers):
    """How far the classes' means lie from their centers: arguments as for `tightness`.

    It is the mean distance, over the classes that `labels` has, over the smallest distance
    between two of their centers.
    """
    means, _ = class_means(features, labels)
    present = centers[np.unique(labels)].astype(np.float64)
    return ratio(np.linalg.norm(means - present, axis=1).mean(), smallest_distance(present))


def class_means(features, labels):
    """The means (K, d) float64 of the classes that are there, ascending, and which of them each
    image belongs to, (N,) int."""
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(places, kind="stable")
    sums = np.add.reduceat(features[order].astype(np.float64), np.cumsum(counts) - counts)
    return sums / counts[:, None], places


def smallest_distance(points):
    """The distance between the two of the points (K, d) that are nearest to each other; 0 where
    there is one alone."""
    gaps = [np.linalg.norm(points[i:] - p, axis=1).min() for i, p in enumerate(points[:-1], 1)]
    return min(gaps, default=0.0)


def ratio(length, unit):
    return float(length / unit) if unit else float("inf")
