"""Image files of any format, mode and depth, read as people see them."""

import contextlib
import io
import threading

import numpy as np
from PIL import Image, ImageOps

from process.files import read_file

Image.init()
# By the ends of names, where this Pillow reads them.
ENDS = ".png .jpg .jpeg .jpe .jfif .bmp .webp .tif .tiff .gif .avif"
KNOWN = {end: Image.EXTENSION.get(end) for end in ENDS.split()}
FORMATS = {end: form for end, form in KNOWN.items() if form in Image.OPEN}
MANY_PIXELS = 2**24  # a small file may hold many more: such are decoded one at a time
ONE_AT_A_TIME = threading.Lock()
FAINT = 40  # differences of brightness below it are not seen


def open_image(path, mode, size):
    """Read an image file as people see it: upright, and whole where it is transparent, which is
    white, or black where all strokes are white.

    Gives a PIL.Image.Image of the mode, L or RGB, and the (W, H) that it has in the file; it may be
    decoded smaller than that, but not below `size`. Raises ValueError where it cannot be read, or
    has more pixels than Pillow takes (179 million).
    """
    try:
        content = io.BytesIO(read_file(path))
        with Image.open(content, formats=sorted(set(FORMATS.values()))) as image:
            full = image.size
            image.draft(mode, size)  # a JPEG need not be decoded whole
            many = image.width * image.height > MANY_PIXELS
            with ONE_AT_A_TIME if many else contextlib.nullcontext():
                upright = ImageOps.exif_transpose(image)
                if (upright.width > upright.height) != (image.width > image.height):
                    full = full[::-1]
                return shown(upright, mode), full
    except Exception as error:  # decoders fail in many ways
        raise ValueError(f"{path} cannot be read as an image") from error


def shown(image, mode):
    """An image of any mode as one of mode L or RGB, without its transparency."""
    if image.mode.startswith("I"):
        image = of_eight_bits(image)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert(mode)
    image = image.convert("RGBA")
    on_white, on_black = (
        Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert(mode)
        for ground in ("white", "black")
    )
    is_white = np.ptp(np.asarray(on_white)) < FAINT <= np.ptp(np.asarray(on_black))
    return on_black if is_white else on_white


def of_eight_bits(image):
    """An image of 16 bits, of which cameras and scanners may use 10 or 12, as one of 8."""
    values = np.asarray(image).clip(0, 2**16 - 1)
    bits = next(bits for bits in (8, 10, 12, 16) if values.max() < 2**bits)
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def read_image(path, shape):
    """An image file as `shape` (C, H, W) uint8; raises ValueError where it cannot be read."""
    channels, height, width = shape
    image, _ = open_image(path, "RGB" if channels == 3 else "L", (width, height))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
