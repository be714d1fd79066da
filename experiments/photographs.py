"""Draw digits as people photograph them: strokes on paper in six kinds, and paper without ink.

`python -m experiments.photographs FOLDER` writes 120 pictures as FOLDER/test/<digit>/*.jpg, as many
as `main.py --test` needs beside them in FOLDER/train, and 100 without ink as FOLDER-empty/*.jpg.
FOLDER-examples.png has four of them, and below each what a network gets. It works offline.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datasets.digits import prepare
from experiments import answer
from process.files import make_folder

KINDS = ("scan", "tight", "phone", "ruled", "pencil", "field")
# Ways to write each digit: strokes of points (x, y) in a box one high, smoothed before drawing.
STROKES = {
    0: [[[(3, 0), (1, 2), (0, 5), (1, 8), (3, 10), (5, 8), (6, 5), (5, 2), (3, 0)]]],
    1: [[[(2, 0), (2, 5), (2, 10)]], [[(1, 2), (3, 0), (3, 5), (3, 10)]]],
    2: [[[(0, 2), (2, 0), (5, 1), (5, 4), (3, 7), (0, 10), (0, 10), (3, 10), (6, 10)]]],
    3: [[[(0, 1), (3, 0), (5, 2), (4, 4), (2, 5), (2, 5), (5, 6), (6, 8), (3, 10), (0, 9)]]],
    4: [[[(2, 0), (1, 3), (0, 6), (0, 6), (3, 6), (6, 6)], [(4, 3), (4, 7), (4, 10)]],
        [[(4, 0), (2, 3), (0, 7), (0, 7), (3, 7), (6, 7)], [(4, 1), (4, 5), (4, 10)]]],
    5: [[[(5, 0), (1, 0), (1, 0), (1, 4), (1, 4), (4, 4), (6, 7), (4, 10), (0, 9)]]],
    6: [[[(4, 0), (1, 3), (0, 7), (2, 10), (5, 9), (5, 6), (3, 5), (0, 7)]]],
    7: [[[(0, 0), (6, 0), (6, 0), (4, 5), (2, 10)]],
        [[(0, 0), (6, 0), (6, 0), (4, 5), (2, 10)], [(2, 5), (6, 5)]]],
    8: [[[(3, 5), (1, 3), (1, 1), (3, 0), (5, 1), (5, 3), (3, 5), (0, 7), (1, 9), (3, 10), (5, 9),
          (6, 7), (3, 5)]]],
    9: [[[(5, 3), (3, 5), (0, 4), (0, 1), (3, 0), (5, 1), (5, 3), (5, 6), (4, 10)]]],
}  # fmt: skip


def stroke_mask(digit, random, height, pen):
    """A digit (height + pen rows) of strokes, 1 where the ink is, slanted and turned a little."""
    ways = STROKES[digit]
    turn, slant = random.uniform(-0.15, 0.15), random.uniform(-0.05, 0.3)
    wide = random.uniform(0.85, 1.25)
    lines = []
    for stroke in ways[random.randint(len(ways))]:
        points = np.array(stroke, float) / 10 + random.normal(0, 0.015, (len(stroke), 2))
        for _ in range(4):  # Chaikin's corner cutting; a doubled point stays a corner
            ends = points[:1], points[-1:]
            cut = np.stack([points[:-1] * 0.75 + points[1:] * 0.25,
                            points[:-1] * 0.25 + points[1:] * 0.75], 1)  # fmt: skip
            points = np.concatenate([ends[0], cut.reshape(-1, 2), ends[1]])
        x, y = points.T
        x = (x + slant * (0.5 - y)) * wide
        lines.append(np.stack([x * np.cos(turn) - y * np.sin(turn),
                               x * np.sin(turn) + y * np.cos(turn)], 1))  # fmt: skip
    every = np.concatenate(lines)
    low, high = every.min(0), every.max(0)
    scale = height / (high - low)[1]
    size = np.ceil((high - low) * scale + pen + 2).astype(int)
    image = Image.new("L", tuple(size.tolist()))
    draw, r = ImageDraw.Draw(image), pen / 2
    for line in lines:
        places = ((line - low) * scale + r + 1).tolist()
        draw.line([tuple(p) for p in places], 255, int(pen))
        for x, y in places:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
    return np.asarray(image, np.float32) / 255


def ground(kind, shape, random):
    """Paper as a camera sees it, (H, W) in 0 to 1, without ink."""
    y, x = np.mgrid[: shape[0], : shape[1]] / np.float32(max(shape))
    if kind == "field":
        return np.zeros(shape, np.float32)
    paper = np.full(shape, 0.97, np.float32)
    if kind in ("phone", "pencil", "ruled"):  # light from one side
        angle, depth = random.uniform(0, 6.3), {"phone": 0.5, "pencil": 0.2, "ruled": 0.15}[kind]
        side = x * np.cos(angle) + y * np.sin(angle)
        side = (side - side.min()) / (side.max() - side.min())
        paper = (0.95 - random.uniform(0.3, 1) * depth * side).astype(np.float32)
        paper *= 0.7 if kind == "pencil" else 1
    if kind == "ruled":
        gap = shape[0] / random.randint(14, 26)
        rows = (np.arange(shape[0]) + random.uniform(0, gap)) % gap < max(1, shape[0] / 500)
        paper[rows] -= random.uniform(0.08, 0.2)
    return paper


SIZES = {"scan": (400, 400), "tight": None, "phone": (1200, 900), "ruled": (1200, 900),
         "pencil": (900, 900), "field": (280, 280)}  # fmt: skip
HEIGHTS = {"scan": (0.4, 0.7), "field": (0.4, 0.8), "pencil": (0.3, 0.55)}
NOISE = {"phone": 0.02, "ruled": 0.015, "pencil": 0.03, "scan": 0.01, "tight": 0.015}
INK = {"scan": 0.1, "tight": 0.12, "phone": 0.15, "ruled": 0.25, "field": 1.0}


def photograph(kind, digit, seed, size=None):
    """A picture of a digit, an RGB image of `size` (H, W) or that of its kind; without ink where
    `digit` is None."""
    random = np.random.RandomState([seed, KINDS.index(kind)])
    size = size or SIZES[kind]
    low, high = HEIGHTS.get(kind, (0.16, 0.4))
    height = int(500 if size is None else random.uniform(low, high) * size[0])
    pen = max(2, round(height * random.uniform(0.05, 0.16)))
    mask = np.zeros((0, 0)) if digit is None else stroke_mask(digit, random, height, pen)
    if size is None:
        around = [2 * random.randint(4, 30) for _ in mask.shape] if mask.size else (520, 380)
        size = tuple(np.add(mask.shape, around).tolist())
    picture = ground(kind, size, random)[..., None]
    picture = picture * (np.ones(3) if kind == "field" else np.array([0.97, 0.96, 0.93]))
    if mask.size:
        mask = mask[: size[0] - 2, : size[1] - 2]
        top, left = (random.randint(1, a - b) for a, b in zip(size, mask.shape))
        there = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
        dark = random.uniform(0.5, 0.65) * there.mean() if kind == "pencil" else INK[kind]
        color = np.array([0.15, 0.25, 0.65]) if kind == "ruled" else np.full(3, dark)
        there += mask[..., None] * (color - there)
    picture = picture + random.normal(0, NOISE.get(kind, 0), (*size, 1))
    image = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
    return image if kind == "field" else image.filter(ImageFilter.GaussianBlur(max(size) / 1500))


def examples():
    """Four of the pictures, and below each what a network gets: one image."""
    shown = (("phone", 3), ("ruled", 5), ("pencil", 8), ("tight", 2))
    side, gap = 168, 24
    sheet = Image.new("RGB", ((side + gap) * len(shown) - gap, 2 * side + gap), "white")
    for i, (kind, digit) in enumerate(shown):
        picture = photograph(kind, digit, 5000 + digit)
        pixels = Image.fromarray(prepare(picture.convert("L")).pixels)
        picture.thumbnail((side, side))
        left = i * (side + gap)
        sheet.paste(picture, (left + (side - picture.width) // 2, 0))
        sheet.paste(pixels.resize((side, side), Image.Resampling.NEAREST), (left, side + gap))
    return sheet


def write(folder):
    """Write all pictures; raises UserError where that fails."""
    for part, first, count in (("test", 5000, 2), ("train", 6000, 1)):
        for digit in range(10):
            make_folder(folder / part / f"{digit}")
            for kind in KINDS[: 6 if part == "test" else 1]:
                for i in range(count):
                    picture = photograph(kind, digit, first + 10 * i + digit)
                    picture.save(folder / part / f"{digit}" / f"{kind}-{i}.jpg", quality=88)
    beside = os.path.abspath(folder)
    examples().save(f"{beside}-examples.png")
    empty = Path(f"{beside}-empty")
    make_folder(empty)
    for i in range(100):
        kind = KINDS[i % len(KINDS)]
        photograph(kind, None, 7000 + i).save(empty / f"{kind}-{i}.jpg", quality=88)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.photographs", description=__doc__)
    parser.add_argument("folder", type=Path)
    answer("photographs", write, parser.parse_args().folder)
