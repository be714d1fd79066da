"""Nearest centers against brute force; how tight clusters are, against all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

import utils


@settings(max_examples=50, deadline=None)
@given(
    samples=st.integers(1, 40),
    classes=st.integers(1, 40),
    size=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_nearest_center_is_that_of_brute_force(samples, classes, size, seed, scale):
    random = np.random.RandomState(seed)
    features = (scale * (100 + random.normal(size=(samples, size)))).astype(np.float32)
    centers = (scale * (100 + random.normal(size=(classes, size)))).astype(np.float32)
    distance = ((features[:, None].astype(np.float64) - centers[None]) ** 2).sum(axis=2)
    for block in (2**21, 3 * classes, 1):
        nearest = utils.nearest_center(features, centers, block)
        np.testing.assert_array_equal(nearest, distance.argmin(axis=1))


def test_near_centers_are_told_apart_in_double_precision():
    centers = np.array([[1000, 0], [1000.0001, 0]], np.float32)
    assert utils.nearest_center(centers, centers).tolist() == [0, 1]


def test_of_equally_near_centers_the_first_wins():
    centers = np.array([[1, 0], [-1, 0], [1, 0]], np.float32)
    features = np.array([[0, 5], [1, 0]], np.float32)
    assert utils.nearest_center(features, centers, 1).tolist() == [0, 0]


def test_a_million_centers_fit_in_memory():
    centers = np.random.RandomState(0).normal(size=(1_000_000, 2)).astype(np.float32)
    rows = np.array([3, 999_999, 123_456])
    np.testing.assert_array_equal(utils.nearest_center(centers[rows], centers), rows)


def test_tightness_is_the_distance_to_the_own_center_over_that_between_centers():
    random = np.random.RandomState(0)
    centers = random.normal(size=(6, 3)).astype(np.float32)
    labels = random.choice([0, 2, 3, 5], 50)  # the others are absent, however near their centers
    features = (centers[labels] + 0.1 * random.normal(size=(50, 3))).astype(np.float32)
    own = np.mean([np.sqrt(np.sum((x - centers[y]) ** 2)) for x, y in zip(features, labels)])
    gap = pdist(centers[[0, 2, 3, 5]]).min()
    assert utils.tightness(features, labels, centers) == pytest.approx(own / gap, rel=1e-5)


def test_spread_and_shift_tell_apart_what_tightness_mixes():
    random = np.random.RandomState(0)
    means, labels = random.normal(size=(4, 3)), np.repeat([0, 2, 3, 5], [9, 9, 30, 1])
    noise = np.concatenate([rows - rows.mean(axis=0) for rows in (
        random.normal(size=(count, 3)) for count in (9, 9, 30, 1)
    )])  # fmt: skip
    features = np.repeat(means, [9, 9, 30, 1], axis=0) + 0.1 * noise
    order = random.permutation(len(labels))
    centers = random.normal(size=(6, 3))  # those of absent classes do not count
    centers[[0, 2, 3, 5]] = means + [[3, 4, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    wanted = 0.1 * np.mean(np.linalg.norm(noise, axis=1)) / pdist(means).min()
    assert utils.spread(features[order], labels[order]) == pytest.approx(wanted)
    shift = utils.shift(features[order], labels[order], centers)
    assert shift == pytest.approx((5 + 1 + 1 + 1) / 4 / pdist(centers[[0, 2, 3, 5]]).min())
    tight = utils.tightness(features[order], labels[order], centers)
    centers[[0, 2, 3, 5]] = means
    assert utils.shift(features, labels, centers) == pytest.approx(0)
    assert utils.tightness(features, labels, centers) == pytest.approx(wanted) != tight


def test_centers_at_one_point_are_infinitely_loose():
    labels = np.array([0, 1, 0, 1])
    assert np.isinf(utils.tightness(np.ones((4, 2)), labels, np.zeros((2, 2))))
