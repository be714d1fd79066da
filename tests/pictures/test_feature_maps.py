"""Pictures: of any features, never blank, with the right number of frames."""

import io

import imageio.v3 as iio
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from pictures.feature_maps import (
    COLORS,
    class_colors,
    feature_map,
    read_dots,
    stacked_feature_maps,
    to_plane,
)
from pictures.figure import identity_of
from pictures.gifs import gif


def picture(size, num_classes, samples=300, title="a $title\\frac with 中文"):
    random = np.random.RandomState(0)
    labels = random.randint(0, num_classes, samples)
    features = (random.normal(size=(samples, size)) + labels[:, None]).astype(np.float32)
    png = feature_map(features, labels, num_classes, title)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("size", [1, 2, 3, 64])
@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_features_of_any_size_are_drawn_in_colours(size, num_classes):
    image = picture(size, num_classes)
    assert image.shape == (640, 640, 3)
    coloured = image[np.ptp(image.astype(int), axis=2) > 60]
    assert len(coloured) > 500
    assert len(np.unique(coloured // 64, axis=0)) >= min(num_classes, 5)


def test_more_than_two_features_are_projected_on_principal_components():
    random = np.random.RandomState(0)
    plane = random.normal(size=(200, 2)) * [5, 3]
    basis, _ = np.linalg.qr(random.normal(size=(6, 6)))
    features = plane @ basis[:2] + 10
    points, note = to_plane(features.astype(np.float32), np.zeros(200, int))
    centered = plane - plane.mean(axis=0)
    np.testing.assert_allclose(
        np.linalg.norm(points, axis=1), np.linalg.norm(centered, axis=1), rtol=1e-3
    )
    assert "PCA of 6 features: 100% of the variance" in note


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
    share = (values[:2] ** 2).sum() / (values**2).sum()
    assert f"PCA of {size} features: {share:.0%} of the variance" in note


def test_one_point_and_equal_features_can_be_drawn():
    for size in (1, 2, 3):
        feature_map(np.zeros((1, size), np.float32), np.zeros(1, int), 10, "one")
        feature_map(np.ones((5, size), np.float32), np.arange(5), 10, "equal")


def test_a_gif_has_all_frames(tmp_path):
    frames, path = [], tmp_path / "frame.png"  # of so many classes that no digit hides a dot
    triangle = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    for size in (1, 2, 3, 10):
        title = f"epoch {size}"
        path.write_bytes(feature_map(size / 10 * triangle, np.arange(3), 60, title))
        frames.append((read_dots(path), title))
    images = iio.imread(gif(frames, 60, 2), extension=".gif", index=None)
    assert images.shape == (4, 640, 640, 3)
    # The last one has the scale that it would have alone; in the others the dots lie as they do.
    alone = iio.imread(path, mode="RGB").astype(int)
    assert np.abs(images[-1].astype(int) - alone).mean() < 2
    widths = [spread(image) for image in images]
    np.testing.assert_allclose(np.array(widths[:3]) / widths[3], [0.1, 0.2, 0.3], atol=0.03)


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


def test_a_picture_carries_its_dots(tmp_path):
    random, path = np.random.RandomState(0), tmp_path / "picture.png"
    features, labels = random.normal(size=(25_000, 2)), random.randint(0, 4, 25_000)
    centers = random.normal(size=(10, 2))
    path.write_bytes(feature_map(features, labels, 10, "many", "a run", centers))
    dots = read_dots(path)
    assert identity_of(path) == "a run"
    np.testing.assert_allclose(dots.points, features[::3], rtol=1e-6)
    assert dots.labels.tolist() == labels[::3].tolist()
    np.testing.assert_allclose(dots.centers, centers[:4], rtol=1e-6)


def test_many_maps_fit_a_jpeg():
    features, labels = np.random.RandomState(0).normal(size=(4, 2)), np.arange(4)
    picture = stacked_feature_maps([(features, labels, 4, "run")] * 80)
    with Image.open(io.BytesIO(picture)) as image:
        assert image.height < 65_500 and image.width > 1000
