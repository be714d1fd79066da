"""How tight clusters are, against loops over all pairs."""

import numpy as np
import pytest

from evaluation import tightness


def test_tightness_is_the_distance_to_the_own_center_over_that_between_centers():
    random = np.random.RandomState(0)
    centers = random.normal(size=(6, 3)).astype(np.float32)
    labels = random.choice([0, 2, 3, 5], 50)  # the others are absent, however near their centers
    features = (centers[labels] + 0.1 * random.normal(size=(50, 3))).astype(np.float32)
    own = np.mean([np.sqrt(np.sum((x - centers[y]) ** 2)) for x, y in zip(features, labels)])
    gaps = [
        np.sqrt(np.sum((centers[a] - centers[b]) ** 2))
        for a in (0, 2, 3, 5)
        for b in (0, 2, 3, 5)
        if a < b
    ]
    assert tightness(features, labels, centers) == pytest.approx(own / min(gaps), rel=1e-5)


def test_centers_at_one_point_are_infinitely_loose():
    assert tightness(np.ones((4, 2)), np.array([0, 1, 0, 1]), np.zeros((2, 2))) == float("inf")
