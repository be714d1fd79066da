"""Photos and drawings of digits, prepared as MNIST prepared its own: the ink is found, turned light
on dark, scaled into 20 x 20 pixels, and put with its center of mass into the middle of 28 x 28
(LeCun, Cortes and Burges, "The MNIST database of handwritten digits").

This file needs nothing else of this project: copy it into yours."""

from typing import NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE, BOX = 28, 20  # pixels of the input, and of the digit's longer side in it
BLACK = 16  # of 255: the ground of MNIST's images, as JPEG may leave it
SMALL, WORKING_SIDE = 160, 320  # pixels of the longer side, between which the ink is looked for
WIDEST_STROKE = 0.4  # of the longer side: wider dark areas are shadows
INK = 0.4  # of the strongest contrast with the ground: ruled lines are fainter
FAINTEST = 0.08  # of white: the least contrast that is ink
SMALLEST = 0.03  # of the largest part of the ink: smaller parts are specks
ALIKE, MOST = 0.2, 8  # of the largest part: up to so many larger ones are digits, more a texture


class Prepared(NamedTuple):
    """An image as MNIST has them, `pixels` (28, 28) uint8, and what was found in the picture: the
    `box` of the ink, (left, top, right, bottom), None where all of the picture was taken; and how
    many `digits` there seem to be."""

    pixels: np.ndarray
    box: Optional[Tuple[int, int, int, int]]
    digits: int


class Ink(NamedTuple):
    """The ink in a picture: whether the picture was `cut` at it, its `contrast` with the ground,
    `soft` (H, W) of 0 to 1, and how many `digits` it seems to be."""

    cut: bool = False
    contrast: float = 0.0
    soft: Optional[np.ndarray] = None
    digits: int = 0


def prepare(grey):
    """Find a digit in a picture, a PIL.Image.Image of mode L; None where there is no ink.

    A picture that is like MNIST's is taken as it is, inverted where its edges are light.
    """
    small = turned(grey) if max(grey.size) < SMALL else None
    if small is not None and is_like_mnist(small):
        return Prepared(small, None, 1)
    scale = float(np.clip(max(grey.size), SMALL, WORKING_SIDE)) / max(grey.size)
    size = [max(1, round(side * scale)) for side in grey.size]
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    picture = np.asarray(grey.resize(size, resample), np.float32) / 255
    picture = ndimage.gaussian_filter(picture, 0.7)
    ink = max(map(ink_of, (picture, 1 - picture)), key=lambda found: (found.cut, found.contrast))
    if ink.contrast < FAINTEST:
        return None if small is None else as_a_whole(small)
    rows, columns = ndimage.find_objects((ink.soft > 0).astype(int))[0]
    box = np.array([columns.start, rows.start, columns.stop, rows.stop]) / scale
    box = tuple(box.round().astype(int).tolist())
    return Prepared(centered(ink.soft[rows, columns]), box, ink.digits)


def border(picture):
    """The outermost pixels of a picture (H, W)."""
    outermost = np.ones(picture.shape, bool)
    outermost[1:-1, 1:-1] = False
    return picture[outermost]


def turned(grey):
    """The pixels of a picture, inverted where its edges are light."""
    pixels = np.array(grey)
    return 255 - pixels if border(pixels).mean() > 127.5 else pixels


def is_like_mnist(pixels):
    """Whether a picture (H, W) has a black border, and ink of MNIST's size in its middle."""
    if pixels.shape != (SIDE, SIDE) or np.quantile(border(pixels), 0.8) > BLACK:
        return False
    ink = ndimage.find_objects((pixels > 2 * BLACK).astype(int))
    if not ink:
        return False
    off = np.subtract(ndimage.center_of_mass(pixels), SIDE / 2)
    return 16 <= max(side.stop - side.start for side in ink[0]) <= 21 and np.abs(off).max() <= 1.5


def as_a_whole(pixels):
    """A small picture (H, W), light on dark, of which no part is clearly the ink: all of it, where
    it is of two shades; None where it is blank, or only shaded."""
    if np.ptp(pixels) < 64:
        return None
    shades = (pixels - pixels.min()) / np.ptp(pixels)
    ink = shades > 0.5
    within = sum(np.mean(part) * shades[part].var() for part in (ink, ~ink))
    return Prepared(centered(shades), None, 1) if within < 0.2 * shades.var() else None


def ink_of(picture):
    """The dark ink in a picture (H, W). Grey closing fills what is dark and narrower than its
    window: strokes, but no shadows."""
    window = int(WIDEST_STROKE * max(picture.shape)) | 1
    ground = np.quantile(picture, 0.95)
    cut = is_cut_at(picture < ground - INK * (ground - picture.min()))
    if cut:  # it gets a margin
        wide = ndimage.grey_closing(np.pad(picture, window, constant_values=ground), window)
        depth = wide[window:-window, window:-window] - picture
        labels, areas = parts_of(depth)
        cut = len(areas) > 0 and is_cut_at(labels == 1 + areas.argmax())
    if not cut:
        ground = np.median(border(picture))
        depth = ndimage.grey_closing(picture, window, mode="nearest") - picture
        labels, areas = parts_of(depth)
        outer = np.bincount(border(labels), minlength=len(areas) + 1)[1:]
        areas = np.where(outer > np.sqrt(areas), 0, areas)  # a shadow, or a table below the paper
    if not len(areas):
        return Ink()
    digits = digits_among(labels, areas)
    if areas.max() < 8 or len(digits) > MOST or areas[digits].sum() < 0.5 * areas.sum():
        return Ink()  # a texture
    mask = np.isin(labels, 1 + np.flatnonzero(areas >= max(8, SMALLEST * areas.max())))
    soft = np.where(ndimage.binary_dilation(mask), (depth / np.median(depth[mask])).clip(0, 1), 0)
    return Ink(cut, ground - np.median(picture[mask]), soft, len(digits))


def parts_of(depth):
    """The connected parts that are much darker than the ground: a number for each pixel, 0 for the
    ground, and the area of each."""
    mask = depth > max(FAINTEST, INK * np.quantile(depth, 0.999))
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return labels, np.bincount(labels.ravel())[1:]


def is_cut_at(ink):
    """Whether the ink (H, W) reaches opposite sides of a picture, and is no shadow or frame, which
    covers sides."""
    near = max(1, max(ink.shape) // 20)
    strips = ink[:near].T, ink[-near:].T, ink[:, :near], ink[:, -near:]
    top, bottom, left, right = (strip.any(axis=1).mean() for strip in strips)
    if min(top, bottom, left, right) > 0:
        return border(ink).mean() < 0.6
    return max(min(top, bottom), min(left, right)) > 0 and max(top, bottom, left, right) < 0.8


def digits_among(labels, areas):
    """Which parts of the ink may be digits: those about as high and as large as the largest that
    touch no border."""
    main = int(areas.argmax())
    boxes = ndimage.find_objects(labels)
    high, wide = (np.array([box[i].stop - box[i].start for box in boxes]) for i in (0, 1))
    at_border = np.isin(1 + np.arange(len(areas)), border(labels))
    like = (areas > ALIKE * areas[main]) & (abs(np.log2(high / high[main])) < 1)
    like &= ~at_border & (wide < 3 * high)
    like[main] = not at_border[main] or wide[main] < 3 * high[main]  # not the end of a line
    return np.flatnonzero(like)


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
