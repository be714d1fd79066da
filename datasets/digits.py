"""Photos and drawings of digits, prepared as MNIST prepared its own: the ink is found, turned light
on dark, scaled into 20 x 20 pixels, and put with its center of mass into the middle of 28 x 28
(LeCun, Cortes and Burges, "The MNIST database of handwritten digits")."""

from typing import NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE, BOX = 28, 20  # pixels of the input, and of the digit's longer side in it
WORKING_SIDE = 320  # pixels of the longer side, on which the ink is looked for
WIDEST_STROKE = 0.4  # of the longer side: wider dark areas are shadows
INK = 0.4  # of the strongest contrast with the ground: ruled lines are fainter
FAINTEST = 0.08  # of white: the least contrast that is ink
SMALLEST = 0.03  # of the largest part of the ink: smaller parts are specks


class Prepared(NamedTuple):
    pixels: np.ndarray
    box: Optional[Tuple[int, int, int, int]]
    dark_on_light: bool


def prepare(grey):
    """Find a digit in a picture, a PIL.Image.Image of mode L; None where there is no ink. A picture
    of 28 x 28 pixels is taken as it is; it is inverted where its edges are light."""
    if grey.size == (SIDE, SIDE):
        return as_it_is(np.asarray(grey))
    small = grey.copy()
    small.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    picture = ndimage.gaussian_filter(np.asarray(small, np.float32) / 255, 0.7)
    found = [(*ink_of(one), dark) for dark, one in ((True, picture), (False, 1 - picture))]
    contrast, ink, dark = max(found, key=lambda one: one[0])
    if contrast < FAINTEST:
        return None
    rows, columns = ndimage.find_objects(ink > 0)[0]
    box = np.array([columns.start, rows.start, columns.stop, rows.stop]) * grey.width / small.width
    return Prepared(centered(ink[rows, columns]), tuple(box.round().astype(int).tolist()), dark)


def as_it_is(pixels):
    """A picture that has the size already; None where all of it is of one grey."""
    if pixels.min() == pixels.max():
        return None
    light = bool(border(pixels).mean() > 127.5)
    return Prepared(255 - pixels if light else pixels.copy(), None, light)


def border(pixels):
    """The outermost pixels of an image (H, W), in a row."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def ink_of(picture):
    """The dark ink in a picture (H, W): how much darker than the borders it is, and 0 to 1 for each
    pixel. Grey closing fills what is dark and narrower than its window: strokes, but no shadows."""
    window = int(WIDEST_STROKE * max(picture.shape)) | 1
    depth = ndimage.grey_closing(picture, window, mode="nearest") - picture
    mask = depth > max(FAINTEST, INK * np.quantile(depth, 0.999))
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return 0.0, None
    areas = np.bincount(labels.ravel())[1:]
    edge = np.bincount(border(labels), minlength=count + 1)[1:]
    areas = np.where(edge > np.sqrt(areas), 0, areas)  # a shadow, or the table below the paper
    if areas.max() < 8 or areas.max() < 0.5 * areas.sum():  # a texture
        return 0.0, None
    mask = np.isin(labels, 1 + np.flatnonzero(areas >= max(8, SMALLEST * areas.max())))
    full = np.median(depth[mask])
    soft = ndimage.binary_dilation(mask)
    return np.median(border(picture)) - np.median(picture[mask]), np.where(
        soft, (depth / full).clip(0, 1), 0
    )


def centered(digit):
    """A digit (h, w) of 0 to 1, scaled into 20 x 20, with its mass in the middle of 28 x 28."""
    image = Image.fromarray(digit.astype(np.float32))
    scale = BOX / max(digit.shape)
    size = [max(1, round(side * scale)) for side in digit.shape[::-1]]
    pixels = np.asarray(
        image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    )
    pixels = (pixels / max(pixels.max(), 1e-6)).clip(0, 1)
    # In MNIST the mean of the row's and the column's index is 14 (13.5 to 14.5), not 13.5.
    top, left = (
        int(np.clip(round(SIDE / 2 - middle), 0, SIDE - side))
        for middle, side in zip(ndimage.center_of_mass(pixels), pixels.shape)
    )
    placed = np.zeros((SIDE, SIDE), np.uint8)
    placed[top : top + pixels.shape[0], left : left + pixels.shape[1]] = np.round(255 * pixels)
    return placed
