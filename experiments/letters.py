"""Draw letters, which are no digits, to see what a network makes of what it was never shown.

`python -m experiments.letters FOLDER` writes PNGs of 28 x 28 pixels for `main.py --test --unknown
FOLDER`: the letters A to Z and a to z but for those that look like a digit, light on dark as
MNIST's digits are, in fonts that come with matplotlib, upright and turned. It works offline.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from experiments import answer
from process.files import make_folder

FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono",
         "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "cmtt10", "cmss10")  # fmt: skip
LETTERS = "ABCDEFGHJKLMNPQRTUVWXYabcdefhijkmnprtuvwxy"  # without I l, O o, S s, Z z, g, q
ANGLES = (-10, 0, 10)  # degrees
SIDE, BOX, FONT_SIZE = 28, 20, 100  # MNIST's digits fit a box of 20 x 20 in 28 x 28 pixels


def draw(letter, font, angle):
    """A letter about as MNIST has its digits, a PIL image of 28 x 28 pixels."""
    large = Image.new("L", (3 * FONT_SIZE, 3 * FONT_SIZE))
    ImageDraw.Draw(large).text((FONT_SIZE, FONT_SIZE), letter, fill=255, font=font)
    large = large.rotate(angle, Image.Resampling.BILINEAR)
    large = large.crop(large.getbbox())
    large.thumbnail((BOX, BOX), Image.Resampling.BOX)
    # Its center of mass goes to the middle, 13.5; that of MNIST's digits lies at 14.
    pixels = np.asarray(large, float)
    (y, x), whole = np.indices(pixels.shape), pixels.sum()
    image = Image.new("L", (SIDE, SIDE))
    image.paste(large, tuple(round(SIDE / 2 - (a * pixels).sum() / whole - 0.5) for a in (x, y)))
    return image


def write(folder):
    """Write all letters; raises UserError where that fails."""
    fonts = Path(get_data_path(), "fonts", "ttf")
    make_folder(folder)
    for name in FONTS:
        font = ImageFont.truetype(str(fonts / f"{name}.ttf"), FONT_SIZE)
        for letter, angle in itertools.product(LETTERS, ANGLES):
            kind = "upper" if letter.isupper() else "lower"
            draw(letter, font, angle).save(folder / f"{name}-{kind}-{letter}-{angle}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.letters", description=__doc__)
    parser.add_argument("folder", type=Path)
    answer("letters", write, parser.parse_args().folder)
