"""Accuracies of features: class prediction, nearest center, and how tight the clusters are."""

from typing import Dict, NamedTuple, Optional

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
    distance : (N,) float64 or None
        The Euclidean distance to the nearest center.
    """

    features: np.ndarray
    found: Dict[str, np.ndarray]
    probability: np.ndarray
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
        Those that were trained: the centers of others lie where they were initialized, and are
        nobody's. By default all.

    Returns
    -------
    Answers

    Raises
    ------
    UserError
        A feature is not finite.
    """
    parts = []
    an_image = max(net.output.weight.shape[0], net.width * images[0, 0].size)
    size = max(1, min(EVALUATION_BATCH, MAX_ELEMENTS // an_image))
    split = Split(images, np.zeros(len(images), np.int32))
    for ((image, _, _),) in batches(split, size, [ctx]):
        output, feature = net(image)
        probability = output.softmax(axis=1).max(axis=1)
        outputs = (feature, output.argmax(axis=1), probability)
        parts.append([array.asnumpy() for array in outputs])
    features, predicted, probability = map(np.concatenate, zip(*parts))
    check_finite(features, "a feature")
    found = {"softmax": predicted.astype(np.int64)}
    if centers is None:
        return Answers(features, found, probability)
    if classes is None or len(classes) == len(centers):
        nearest = nearest_center(features, centers)
    else:
        nearest = classes[nearest_center(features, centers[classes])].astype(np.int64)
    distance = np.linalg.norm(features.astype(np.float64) - centers[nearest], axis=1)
    return Answers(features, {**found, "knn": nearest}, probability, distance)


def check_finite(values, what):
    """Raise UserError unless all values are finite."""
    if not np.isfinite(values).all():
        raise UserError(f"{what} became NaN or infinite: try a lower --lr, --lmbd or --alpha")


def nearest_center(features, centers, columns=2048, block=2**21):
    """Find the center nearest to each feature, by Euclidean distance.

    Memory beside input and output is that of a block of distances. They are compared in double
    precision: in single precision ||c||^2 - 2 x.c loses what tells near centers apart. It is good
    enough to find the features of which a block of centers cannot hold the nearest one, and these
    are nearly all once some blocks are done.

    Parameters
    ----------
    features : (N, d) float
    centers : (C, d) float
    columns, block : int
        How many centers a block has at the most, and how many distances.

    Returns
    -------
    (N,) int64
        The index of the center; of equally near ones the lowest.
    """
    nearest = np.zeros(len(features), np.int64)
    smallest = np.full(len(features), np.inf)
    rows = max(1, block // min(columns, len(centers)))
    for column in range(0, len(centers), columns):
        center = centers[column : column + columns].astype(np.float64)
        square = (center**2).sum(axis=1)
        for row in range(0, len(features), rows):
            part = np.arange(row, min(row + rows, len(features)))
            if column:
                part = part[may_be_nearer(features[part], center, square, smallest[part])]
            distance = features[part].astype(np.float64) @ (-2 * center.T)
            distance += square  # without ||x||^2, which is the same for every center
            index = distance.argmin(axis=1)
            distance = distance[np.arange(len(index)), index]
            nearer = distance < smallest[part]
            nearest[part[nearer]] = column + index[nearer]
            smallest[part[nearer]] = distance[nearer]
    return nearest


def may_be_nearer(features, center, square, smallest):
    """Which features may have ||c||^2 - 2 x.c below `smallest` for a center c of a block.

    Single precision, with unit roundoff u = 2^-24, is off by at most e, and a feature is ruled out
    where all its values are more than e above `smallest`. The value is a sum of d + 1 products
    whose factors are rounded to single precision first, so that each term is rounded d + 3 times
    at the most, in whatever order they are added (Higham, "Accuracy and Stability of Numerical
    Algorithms", 2002, Section 3.1): with n = d + 3 and gamma = n u / (1 - n u),

        e <= gamma (2 sum_k |x_k c_k| + ||c||^2) <= gamma (2 ||x|| ||c|| + ||c||^2).

    Gamma is taken for n = d + 4; the rest is more than the errors of double precision, which are
    2^29 times as small. What underflows adds less than 2^-126 to a factor or to a product. Where
    single precision could overflow nothing is ruled out.
    """
    size = features.shape[1]
    gamma = (size + 4) * 2**-24 / (1 - (size + 4) * 2**-24)
    length = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    longest = np.sqrt(square.max())
    terms = 2 * length * longest + longest**2
    error = gamma * terms + 2.0**-126 * size * (1 + 2 * length + 3 * longest)
    limit = np.where(terms < 1e38, smallest + error, np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        left = np.ones((len(features), size + 1), np.float32)
        left[:, :-1] = features
        right = np.concatenate([-2 * center, square[:, None]], axis=1).astype(np.float32)
        least = (left @ right.T).min(axis=1)
        return ~(least > limit)  # with NaN too


def accuracies(answers, labels):
    """The share of right answers, by method."""
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
        the classes that `labels` has.
    """
    features, centers = features.astype(np.float64), centers.astype(np.float64)
    own = np.linalg.norm(features - centers[labels], axis=1).mean()
    present = centers[np.unique(labels)]
    gaps = [np.linalg.norm(present[i:] - c, axis=1).min() for i, c in enumerate(present[:-1], 1)]
    smallest = min(gaps, default=0.0)
    return float(own / smallest) if smallest else float("inf")
