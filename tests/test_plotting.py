"""Pictures: of any features, never blank, with the right number of frames."""

import io

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

import plotting


def picture(size, num_classes, samples=300, title="a $title\\frac with 中文"):
    random = np.random.RandomState(0)
    labels = random.randint(0, num_classes, samples)
    features = (random.normal(size=(samples, size)) + labels[:, None]).astype(np.float32)
    png = plotting.feature_map(features, labels, num_classes, title)
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
    points, note = plotting.to_plane(features.astype(np.float32), np.zeros(200, int))
    centered = plane - plane.mean(axis=0)
    np.testing.assert_allclose(
        np.linalg.norm(points, axis=1), np.linalg.norm(centered, axis=1), rtol=1e-3
    )
    assert "PCA of 6 features: 100% of the variance" in note


def test_one_point_and_equal_features_can_be_drawn():
    for size in (1, 2, 3):
        plotting.feature_map(np.zeros((1, size), np.float32), np.zeros(1, int), 10, "one")
        plotting.feature_map(np.ones((5, size), np.float32), np.arange(5), 10, "equal")


def test_a_gif_has_all_frames(tmp_path):
    frames = []
    for i in range(4):
        frames.append(tmp_path / f"{i}.png")
        frames[-1].write_bytes(
            plotting.feature_map(np.eye(3, 2, dtype=np.float32), np.arange(3), 3, f"epoch {i}")
        )
    images = iio.imread(
        plotting.gif(list(map(plotting.read_frame, frames))), extension=".gif", index=None
    )
    assert images.shape == (4, 640, 640, 3)
    first = iio.imread(frames[0], mode="RGB").astype(int)
    assert np.abs(images[0].astype(int) - first).mean() < 5
