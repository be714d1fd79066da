"""Photos and drawings of digits, prepared as MNIST prepared its own.

Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits": the digits were
scaled to fit a box of 20 x 20 pixels, whatever their shape, and their center of mass was put into
the middle of 28 x 28. MNIST's scans were bilevel, light on dark; a photo is not, so the ink is
found first.
"""

from typing import NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE, BOX = 28, 20  # pixels of the input, and of the digit's longer side in it
WORKING_SIDE = 640  # pixels of the longer side, on which the ink is looked for
WIDEST_STROKE = 0.4  # of the longer side: wider dark areas are shadows
INK = 0.4  # of the strongest contrast with the ground: ruled lines are fainter
FAINTEST = 0.06  # of white: the least contrast that is ink
NOISES = 3  # how many times the noise of a pixel the ink's contrast must be
SMALLEST = 0.04  # of the longer side: less is a speck
WIDEST_CUT = 0.2  # of the borders: what touches more of them is the table below the paper
ALONE = 0.5  # the digit's share of all that is dark: less is a texture
LEAST_SURE = 0.4  # see `candidate`: the least that is ink
UNEVEN = 0.7  # of the contrast: ink varies less within a digit
CUT = 0.15  # of a digit's outline: the most that the picture's borders cut off
THINNEST = 0.075  # of the digit's longer side: MNIST's strokes are not thinner than that


class Prepared(NamedTuple):
    """A picture as a network trained on MNIST takes it.

    Attributes
    ----------
    pixels : (28, 28) uint8
        Light on dark.
    box : (left, top, right, bottom) of int, or None
        Where the ink was found, in pixels of the picture; None where the picture was taken whole.
    dark_on_light : bool
        Whether the picture was that, and was inverted.
    """

    pixels: np.ndarray
    box: Optional[Tuple[int, int, int, int]]
    dark_on_light: bool


def prepare(grey):
    """Find a digit in a picture and bring it to MNIST's place, size and polarity.

    A picture of 28 x 28 pixels is taken as it is; it is inverted where its edges are light.

    Parameters
    ----------
    grey : PIL.Image.Image
        Of mode L, upright.

    Returns
    -------
    Prepared or None
        None where no ink is found.
    """
    if grey.size == (SIDE, SIDE):
        return as_it_is(np.asarray(grey))
    shrink = max(grey.size) / WORKING_SIDE
    small = grey
    if shrink > 1:
        size = tuple(max(1, round(side / shrink)) for side in grey.size)
        small = grey.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    contrast, dark_on_light = ink_contrast(np.asarray(small, np.float32) / 255)
    if contrast is None:
        return None
    rows, columns = bounding_slices(contrast > 0)
    digit = thickened(contrast[rows, columns])
    scales = grey.width / small.width, grey.height / small.height
    box = tuple(
        round(place * scale)
        for place, scale in zip((columns.start, rows.start, columns.stop, rows.stop), scales * 2)
    )
    return Prepared(centered(digit), box, dark_on_light)


def as_it_is(pixels):
    """A picture that has the size already; None where all of it is of one grey."""
    if pixels.min() == pixels.max():
        return None
    light = bool(border(pixels).mean() > 127.5)
    return Prepared(255 - pixels if light else pixels.copy(), None, light)


def border(pixels):
    """The outermost pixels of an image (H, W), in a row."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def ink_contrast(grey):
    """How much each pixel differs from the ground, for the pixels of the digit alone.

    Parameters
    ----------
    grey : (H, W) float32
        Of 0 to 1.

    Returns
    -------
    contrast : (H, W) float32 or None
        Of 0 to 1, where 1 is full ink; None where there is no ink.
    dark_on_light : bool
    """
    smooth = ndimage.gaussian_filter(grey, max(grey.shape) / WORKING_SIDE)
    noise = np.median(np.abs(grey - smooth))
    flat = smooth - lighting(smooth)
    flat -= np.median(border(flat))
    best = None
    for dark in (True, False):
        found = candidate(
            *(smooth, flat) if dark else (-smooth, -flat), max(FAINTEST, NOISES * noise)
        )
        if found is not None and (best is None or found[1] > best[1]):
            best = (*found, dark)
    return (None, False) if best is None else (best[0], best[2])


def lighting(grey):
    """The light on the ground of a picture (H, W): a surface of second order, which most pixels
    are near; least absolute deviations, by reweighted least squares."""
    every = -(-max(grey.shape) // 64)
    sample = grey[::every, ::every]
    # A digit that fills the picture has more ink than ground, but not along the borders.
    trusted = np.full(sample.shape, 20.0)
    trusted[tuple(slice(side // 20, side - side // 20) for side in sample.shape)] = 1
    trusted = weight = trusted.ravel()
    terms = surface_terms(sample.shape, every)
    for _ in range(15):
        root = np.sqrt(weight)
        solution, *_ = np.linalg.lstsq(terms * root[:, None], sample.ravel() * root, rcond=None)
        weight = trusted / np.maximum(np.abs(sample.ravel() - terms @ solution), 0.01)
    return (surface_terms(grey.shape) @ solution).reshape(grey.shape).astype(np.float32)


def surface_terms(shape, every=1):
    """1, x, y, x^2, xy and y^2 of each pixel, (H * W, 6)."""
    y, x = (axis.ravel() * every / 1000 for axis in np.indices(shape))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def candidate(smooth, flat, least):
    """Dark ink of at least this contrast, as `ink_contrast` gives it, in a picture (H, W) that is
    also given without its lighting; and how sure it is ink: far from the usual grey of the
    picture, not along its borders. None where there is none."""
    window = max(3, int(WIDEST_STROKE * max(smooth.shape)) | 1)
    # Grey closing fills what is dark and narrower than the window. A shadow's edge is filled in
    # one of the two pictures only, ink in both.
    depth = np.minimum(*(ndimage.grey_closing(one, window, mode="nearest") - one
                         for one in (smooth, flat)))  # fmt: skip
    peak = np.quantile(depth, 0.999)
    if peak < least:
        return None
    mask = digit_of(depth > INK * peak)
    if mask is None:
        return None
    full = np.median(depth[mask])
    outline = mask & ~ndimage.binary_erosion(mask)
    sure = -np.median(flat[mask]) / full - border(mask).mean()
    low, high = np.quantile(depth[mask], [0.1, 0.9])
    if sure < LEAST_SURE or high - low > UNEVEN * full or border(mask).sum() > CUT * outline.sum():
        return None  # a shadow
    spread = ndimage.binary_dilation(mask, iterations=2)  # the strokes' soft edges
    contrast = np.where(spread, np.clip(depth / full, 0, 1), 0)
    contrast[contrast < INK / 2] = 0
    return contrast.astype(np.float32), sure


def digit_of(mask):
    """The parts of a mask that are a digit; None where none is."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return None
    longer, edge = max(mask.shape), border(labels)
    boxes = ndimage.find_objects(labels)
    areas = np.bincount(labels.ravel())[1:]
    sides = np.array([[part.stop - part.start for part in box] for box in boxes])
    lines = (sides >= 0.9 * np.array(mask.shape)).any(axis=1) & (sides.min(axis=1) < 0.02 * longer)
    lines |= sides[:, 1] > 5 * sides[:, 0]  # wider than any stroke of a digit alone
    lines |= np.bincount(edge, minlength=count + 1)[1:] > WIDEST_CUT * len(edge)
    good = ~lines & (sides.max(axis=1) >= SMALLEST * longer)
    if not good.any():
        return None
    main = np.argmax(np.where(good, areas, 0))
    kept = good & (areas >= 0.02 * areas[main]) & near(boxes, main)
    if areas[kept].sum() < ALONE * areas[~lines].sum():
        return None
    return np.isin(labels, 1 + np.flatnonzero(kept))


def near(boxes, main):
    """Which boxes lie no further from the main one than half of its longer side."""
    rows, columns = boxes[main]
    reach = max(rows.stop - rows.start, columns.stop - columns.start) / 2
    return np.array(
        [
            all(
                one.start <= whole.stop + reach and one.stop >= whole.start - reach
                for one, whole in zip(box, (rows, columns))
            )
            for box in boxes
        ]
    )


def bounding_slices(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def thickened(digit):
    """A digit (h, w) whose strokes are as thick as MNIST's thinnest: a fine pen's would vanish."""
    inside = ndimage.distance_transform_edt(np.pad(digit > 0.5, 1))
    ridge = inside[(inside > 0) & (inside == ndimage.maximum_filter(inside, 3))]
    missing = THINNEST * max(digit.shape) - 2 * np.median(ridge) if ridge.size else 0
    if missing < 1:
        return digit
    r = int(np.ceil(missing / 2))
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    return ndimage.grey_dilation(np.pad(digit, r), footprint=x**2 + y**2 <= r**2)


def centered(digit):
    """A digit (h, w) of 0 to 1, scaled into 20 x 20, with its mass in the middle of 28 x 28."""
    scale = BOX / max(digit.shape)
    size = tuple(max(1, round(side * scale)) for side in digit.shape[::-1])
    image = Image.fromarray(digit.astype(np.float32))
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    pixels = np.asarray(image.resize(size, way))
    pixels = np.clip(pixels / max(pixels.max(), 1e-6), 0, 1)
    # In MNIST the mean of the row's and the column's index is 14 (13.5 to 14.5), not 13.5.
    center = ndimage.center_of_mass(pixels)
    top, left = (
        int(np.clip(round(SIDE / 2 - middle), 0, SIDE - side))
        for middle, side in zip(center, pixels.shape)
    )
    placed = np.zeros((SIDE, SIDE), np.uint8)
    placed[top : top + pixels.shape[0], left : left + pixels.shape[1]] = np.round(255 * pixels)
    return placed
