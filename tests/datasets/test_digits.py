"""Photos of digits become MNIST's: found, turned light on dark, scaled and centered."""

import shutil
import subprocess
import sys
import time

import mxnet as mx
import numpy as np
import pytest
from helpers import mnist5k
from PIL import Image

import utils
from datasets import digits
from experiments import photographs
from runs.run import SHIPPED, Run
from runs.trained import open_run


def grey(kind, digit, seed, **kwargs):
    return photographs.photograph(kind, digit, seed, **kwargs).convert("L")


def shrunk(picture):
    return picture.resize((28, 28), Image.Resampling.BILINEAR)


def accuracies(pictures, labels, prefix="best"):
    """Those of a shipped network on prepared pictures, by method."""
    prepared, blank = map(digits.prepare, pictures), np.zeros((28, 28), np.uint8)
    images = np.stack([one.pixels if one else blank for one in prepared])[:, np.newaxis]
    loaded = open_run(Run(prefix, SHIPPED, "output"), {}).on(mx.cpu())
    return utils.accuracies(loaded.answer(images), labels)


@pytest.mark.parametrize("kind", photographs.KINDS)
def test_the_ink_is_found_whatever_it_is_written_on(kind):
    for digit in (0, 3, 4, 8):
        picture = grey(kind, digit, 40 + digit)
        prepared = digits.prepare(picture)
        assert prepared.pixels.shape == (28, 28) and prepared.pixels.dtype == np.uint8
        rows, columns = (np.flatnonzero(prepared.pixels.any(axis=axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        y, x = np.indices((28, 28)).reshape(2, -1) @ prepared.pixels.ravel() / prepared.pixels.sum()
        assert abs(y - 14) < 0.6 and abs(x - 14) < 0.6
        left, top, right, bottom = prepared.box
        assert 0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height


@pytest.mark.parametrize("prefix", ["center-loss", "best"])
def test_shipped_networks_read_digits_of_every_kind_and_size(prefix):
    labels = np.tile(np.arange(10), len(photographs.KINDS))
    pictures = [grey(kind, j, 70 + j) for kind in photographs.KINDS for j in range(10)]
    for sized in (pictures, [shrunk(picture) for picture in pictures]):
        found = accuracies(sized, labels, prefix)
        assert min(found.values()) >= 0.9, found


def test_pictures_without_ink_hold_no_digit():
    for kind in photographs.KINDS:
        for seed in range(4):
            paper = grey(kind, None, 300 + seed)
            assert digits.prepare(paper) is None and digits.prepare(shrunk(paper)) is None


def test_a_shadow_is_no_ink():
    y, x = np.mgrid[:400, :300] / 400
    for slope in (0.1, 0.8, 3):
        light = 0.9 - 0.4 / (1 + np.exp((x - slope * y) * 60))
        noise = np.random.RandomState(0).normal(0, 0.02, light.shape)
        picture = ((light + noise).clip(0, 1) * 255).astype(np.uint8)
        assert digits.prepare(Image.fromarray(picture)) is None


def test_of_mnists_own_images_nothing_changes():
    for image in mnist5k().test.images[::100, 0]:
        prepared = digits.prepare(Image.fromarray(image))
        np.testing.assert_array_equal(prepared.pixels, image)
        assert prepared.box is None
        prepared = digits.prepare(Image.fromarray(255 - image))
        np.testing.assert_array_equal(prepared.pixels, image)
    assert digits.prepare(Image.new("L", (28, 28), 9)) is None


def in_a_corner(image):
    moved = np.zeros_like(image)
    moved[1:21, 1:21] = image[4:24, 4:24]
    return Image.fromarray(moved)


def cut_at_the_ink(image):
    rows, columns = (np.flatnonzero((image > 20).any(axis=axis)) for axis in (1, 0))
    return Image.fromarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


MNIST_OTHERWISE = {
    "grey paper": lambda image: Image.fromarray((150 - 0.4 * image).astype(np.uint8)),
    "in a corner": in_a_corner,
    "cut at the ink": cut_at_the_ink,
    "cut, dark on light": lambda image: Image.fromarray(255 - np.asarray(cut_at_the_ink(image))),
    "16 x 16": lambda image: Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR),
    "8 x 8": lambda image: Image.fromarray(image[4:24, 4:24]).resize((8, 8), Image.Resampling.BOX),
}


@pytest.mark.parametrize("kind", MNIST_OTHERWISE)
def test_small_pictures_are_found_out_and_not_taken_for_mnists(kind):
    """28 x 28 is no proof that a picture is as MNIST's are, nor that it has a margin."""
    images, labels = (array[::25] for array in mnist5k().test)
    pictures = [MNIST_OTHERWISE[kind](image) for image in images[:, 0]]
    assert accuracies(pictures, labels)["softmax"] >= 0.9


def test_several_digits_are_counted():
    eight = Image.fromarray(mnist5k().test.images[850, 0])
    row = Image.new("L", (150, 60))
    for place in range(4):
        row.paste(eight, (10 + 32 * place, 5 + 10 * (place % 2)))
        assert digits.prepare(row).digits == place + 1


def test_where_it_lies_does_not_matter():
    """MNIST's images, eight times as large and moved, come back much as they were."""
    images = mnist5k().test.images[::50, 0]
    alike = []
    for i, image in enumerate(images):
        large = Image.new("L", (400, 300))
        large.paste(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC), (9 * i, i))
        pixels = digits.prepare(large).pixels
        alike.append(np.corrcoef(pixels.ravel(), image.ravel())[0, 1])
    assert np.mean(alike) > 0.85 and min(alike) > 0.6, sorted(alike)  # blurred on the way


def test_a_photo_of_twelve_megapixels_takes_no_half_second():
    picture = grey("phone", 3, 5, size=(4000, 3000))
    seconds = []
    for _ in range(3):
        began = time.process_time()
        assert digits.prepare(picture) is not None
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (17, 16)])
def test_tiny_and_narrow_pictures_are_no_trouble(size):
    for picture in (Image.new("L", size, 200), Image.effect_noise(size, 90)):
        digits.prepare(picture)


def test_the_file_can_be_used_alone(tmp_path):
    shutil.copy(digits.__file__, tmp_path)
    photographs.photograph("phone", 3, 40).save(tmp_path / "photo.png")
    script = (
        "import digits, PIL.Image as Image\n"
        "print(digits.prepare(Image.open('photo.png').convert('L')).box)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert done.stdout.startswith(b"("), done.stderr
