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
MANY_PIXELS = 2**24  # images of more are decoded one at a time, however many threads there are
LARGE = 4096  # pixels of a side, above which an image is reduced before its mode is changed
FAINT = 40  # differences of brightness below it are not seen
ONE_AT_A_TIME = threading.Lock()


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
                shrink = min(side // (4 * least) for side, least in zip(image.size, size))
                if max(image.size) > LARGE and shrink > 1:
                    image = reduced(image, shrink)
                turned = ImageOps.exif_transpose(image)
                if (turned.width > turned.height) != (image.width > image.height):
                    full = full[::-1]
                return shown(turned, mode), full
    except Exception as error:  # decoders fail in many ways
        raise ValueError(f"{path} cannot be read as an image") from error


def reduced(image, factor):
    """A smaller image that still knows how it is turned, and what is transparent in it."""
    if image.mode in ("P", "1"):  # whose colours cannot be mixed
        return image.resize([side // factor for side in image.size], Image.Resampling.NEAREST)
    deep = image.mode.startswith("I;")  # which Pillow does not reduce
    smaller = (image.convert("I") if deep else image).reduce(factor)
    smaller.info, smaller._exif = dict(image.info), image.getexif()
    return smaller


def shown(image, mode):
    """An image of any mode as one of mode L or RGB, without its transparency."""
    if image.mode.startswith("I"):
        image = of_eight_bits(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        whole = over(image, "white").convert(mode)
        if np.ptp(np.asarray(whole)) >= FAINT:
            return whole
        other = over(image, "black").convert(mode)
        return other if np.ptp(np.asarray(other)) >= FAINT else whole
    return image.convert(mode)


def over(image, color):
    return Image.alpha_composite(Image.new("RGBA", image.size, color), image)


def of_eight_bits(image):
    """An image of 16 bits, of which cameras and scanners may use 10 or 12, as one of 8."""
    values = np.asarray(image).clip(0, 2**16 - 1)
    bits = next(bits for bits in (8, 10, 12, 16) if values.max() < 2**bits)
    grey = (values.astype(np.int64) >> (bits - 8)).astype(np.uint8)
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return Image.fromarray(grey)
    alpha = np.where(values == clear, 0, 255).astype(np.uint8)
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])


def read_image(path, shape):
    """An image file as `shape` (C, H, W) uint8; raises ValueError where it cannot be read."""
    channels, height, width = shape
    image, _ = open_image(path, "RGB" if channels == 3 else "L", (width, height))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
