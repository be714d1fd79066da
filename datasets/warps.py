"""How images are augmented: chosen at random here, applied in data.py."""

import numpy as np


def random_warps(shape, seed, epoch):
    """How the images of an epoch are augmented: turned by up to 15 degrees either way, slanted by
    up to a fifth of their height, both sides scaled by up to 15 % and shifted by up to 1/14 (2
    pixels of MNIST's 28).

    Shape (N, C, H, W), seed and epoch alone determine them. They are affine maps, (N, 6) float32,
    from the pixels of the warped image to those of the original, whose coordinates go from -1 to 1:
    the two rows of each, as MXNet's GridGenerator takes them.
    """
    count, _, height, width = shape
    random = np.random.RandomState([seed, epoch, 1])
    angle = np.radians(random.uniform(-15, 15, count))
    x_scale, y_scale = random.uniform(0.85, 1.15, (2, count))
    slant = random.uniform(-0.2, 0.2, count)
    right, down = random.uniform(-1 / 7, 1 / 7, (2, count))
    cos, sin = np.cos(angle), np.sin(angle)
    rows = (
        cos / x_scale,
        (cos * slant - sin) / y_scale * height / width,
        right,
        sin / x_scale * width / height,
        (sin * slant + cos) / y_scale,
        down,
    )
    return np.stack(rows, axis=1).astype(np.float32)
