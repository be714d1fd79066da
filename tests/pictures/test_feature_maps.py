"""Pictures: of any features, never blank, with the right number of frames."""

import io

import imageio.v3 as iio
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from pictures import regions
from pictures.feature_maps import (
    COLORS,
    MARKERS,
    MAX_LETTERS,
    Dots,
    class_colors,
    feature_map,
    short_names,
    stacked_feature_maps,
    to_plane,
)
from pictures.gifs import gif


def dots_of(size, num_classes, samples=300):
    random = np.random.RandomState(0)
    labels = random.randint(0, num_classes, samples)
    features = (random.normal(size=(samples, size)) + labels[:, None]).astype(np.float32)
    return Dots.of(features, labels)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


@pytest.mark.parametrize("size", [1, 2, 3, 64])
@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_features_of_any_size_are_drawn_in_colours(size, num_classes):
    image = pixels(feature_map(dots_of(size, num_classes), "a $title\\frac with 中文"))
    assert image.shape == (640, 640, 3)
    coloured = image[np.ptp(image.astype(int), axis=2) > 60]
    assert len(coloured) > 500
    assert len(np.unique(coloured // 64, axis=0)) >= min(num_classes, 5)


@pytest.mark.parametrize("size", [3, 50, 3000])
def test_the_projection_is_that_of_a_singular_value_decomposition(size):
    random = np.random.RandomState(0)
    features = random.normal(size=(300, size)) * (90 / np.arange(1, size + 1)) + 5
    points, note = to_plane(features.astype(np.float32), np.zeros(300, int))
    left, values, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    for axis in range(2):
        wanted = left[:, axis] * values[axis]
        assert abs(points[:, axis] @ wanted) > 0.99 * wanted @ wanted
        assert points[:, axis] @ points[:, axis] == pytest.approx(wanted @ wanted, rel=0.02)
    explained = (values[:2] ** 2).sum() / (values**2).sum()
    assert f"PCA of {size} features: {explained:.0%} of the variance" in note


def test_one_point_and_equal_features_can_be_drawn():
    for size in (1, 2, 3):
        feature_map(Dots.of(np.zeros((1, size), np.float32), np.zeros(1, int)), "one")
        feature_map(Dots.of(np.ones((5, size), np.float32), np.arange(5)), "equal")


def test_a_gif_has_all_frames(monkeypatch):
    monkeypatch.setattr("pictures.feature_maps.MAX_NAMED_CLASSES", 0)  # no name hides a dot
    triangle = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    sizes = (1, 2, 3, 10)
    frames = [(Dots.of(size / 10 * triangle, np.arange(3)), f"epoch {size}") for size in sizes]
    images = iio.imread(gif([frames]), extension=".gif", index=None)
    assert images.shape == (4, 640, 640, 3)
    # The last one has the scale that it would have alone; in the others the dots lie as they do.
    alone = pixels(feature_map(*frames[-1])).astype(int)
    assert np.abs(images[-1].astype(int) - alone).mean() < 2
    widths = [spread(image) for image in images]
    np.testing.assert_allclose(np.array(widths[:3]) / widths[3], [0.1, 0.2, 0.3], atol=0.03)
    # Side by side each run keeps a scale of its own.
    small = [(Dots.of(dots.points / 1000, dots.labels), title) for dots, title in frames[::-1]]
    both = iio.imread(gif([frames, small]), extension=".gif", index=None)
    assert both.shape == (4, 520, 960, 3)
    halves = [[spread(half) for half in np.split(image, 2, axis=1)] for image in both]
    np.testing.assert_allclose(np.array(halves)[:, 1], np.array(halves)[::-1, 0], atol=12)


def is_near(image, color):
    return np.abs(image.astype(int) - 255 * np.array(to_rgb(color))).max(axis=-1) < 30


def spread(image):
    """From the dot of class 0 to that of class 1, in pixels."""
    left, right = (np.nonzero(is_near(image, color))[1].mean() for color in COLORS[:2])
    return right - left


def test_the_colours_of_ten_classes_differ_for_everybody():
    """By the matrices of Machado, Oliveira and Fernandes, "A Physiologically-based Model for
    Simulation of Color Vision Deficiency" (2009), Table 1, for severity 1."""
    blind = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                   [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
        "all": np.eye(3),
    }  # fmt: skip
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    colors = class_colors(10)
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    for kind, matrix in blind.items():
        seen = np.clip(linear @ np.transpose(matrix), 0, 1)
        x, y, z = np.cbrt(np.maximum(seen @ np.transpose(to_xyz) / [0.9505, 1, 1.089], 0.009)).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        distance = np.linalg.norm(lab[:, None] - lab, axis=2)
        assert distance[~np.eye(10, dtype=bool)].min() > 6, kind


def test_dots_have_the_means_of_all_and_an_even_choice():
    random = np.random.RandomState(0)
    features, labels = random.normal(size=(25_000, 2)), random.randint(0, 4, 25_000) * 2
    centers = random.normal(size=(10, 2))
    dots = Dots.of(features, labels, centers).thinned()
    assert (dots.points == features[::3]).all() and (dots.labels == labels[::3]).all()
    assert dots.classes.tolist() == [0, 2, 4, 6] and (dots.centers == centers[:8:2]).all()
    means = [features[labels == j].mean(axis=0) for j in dots.classes]
    np.testing.assert_allclose(dots.means, means)


def test_names_that_are_cut_differ():
    names = [f"handwriting-{j}" for j in "abc"] + [f"a long begin {j}, a long end" for j in "abc"]
    short = short_names([*names, "short"])
    assert len(set(short)) == 7 and short[-1] == "short"
    assert max(map(len, short)) <= MAX_LETTERS


def test_classes_of_one_colour_have_other_shapes():
    points = np.random.RandomState(0).normal(size=(20, 2))
    maps = [feature_map(Dots.of(points, np.full(20, j)), "", [" "] * 11) for j in (0, 10)]
    blue = [is_near(pixels(each), COLORS[0]).sum() for each in maps]
    assert min(blue) > 100 and blue[1] > 1.3 * blue[0]


def test_the_style_is_the_programs_own():
    dots, pictures = dots_of(2, 3), []
    for style in ({}, {"axes.facecolor": "black", "font.size": 30, "savefig.dpi": 50}):
        with matplotlib.rc_context(style):
            maps = feature_map(dots, ""), stacked_feature_maps([(dots, "")]), gif([[(dots, "")]])
            pictures.append(maps)
    assert pictures[0] == pictures[1]


def test_drawing_does_not_cost_per_class(monkeypatch):
    calls, scatter = [], matplotlib.axes.Axes.scatter

    def counted(*args, **kwargs):
        calls.append(1)
        return scatter(*args, **kwargs)

    monkeypatch.setattr(matplotlib.axes.Axes, "scatter", counted)
    features = np.random.RandomState(0).normal(size=(2000, 2)).astype(np.float32)
    assert feature_map(Dots.of(features, np.arange(2000)), "many")
    assert len(calls) == len(MARKERS)


def test_the_tints_are_what_the_classifier_answers():
    """Away from the dots; and what is wrong is outlined in black."""
    weight, bias = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]]), np.array([0.0, 0.5, -1.0])
    points = np.array([[-4.0, -4.0], [4.0, 4.0], [4.0, -4.0]])
    panel = regions.Panel(
        Dots.of(points, np.arange(3), points / 2), np.array([0, 0, 1], bool), weight, bias,
        "a run",
    )  # fmt: skip
    image = pixels(regions.who_answers_what([panel], [" "] * 3)).astype(float)
    tints = 255 * (1 - regions.TINT * (1 - class_colors(3)))
    found = np.abs(image[:, :, None] - tints).max(axis=-1) < 2
    # In the square of side 8 * 1.06 each class has the part of it that the equations say.
    side = np.linspace(-4.24, 4.24, 400)
    places = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    wanted = np.bincount((places @ weight.T + bias).argmax(axis=1)) / len(places)
    parts = found.sum(axis=(0, 1)) / found.sum()
    np.testing.assert_allclose(parts, wanted, atol=0.03)
