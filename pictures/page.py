"""Pages of feature maps to explore: the images of a test set, or the epochs of a run."""

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from pictures.feature_maps import COLORS, short_names
from pictures.gifs import FRAME_MS, square_around
from process.errors import check_signals

TEMPLATE = Path(__file__).with_name("explore.html")
STEPS = 2**15 - 1  # into how many an axis is divided: a dot takes 4 bytes
MAX_IMAGES = 10_000  # more would be much for a phone
MAX_BYTES = 4_500_000  # of the dots of all epochs
THUMBNAIL = 28  # pixels, the longer side at the most
DOTS = "A dot is an image, in the colour of its class"
CROSSES = "; a cross is the center of a class"
HINT = "Point at a dot, tap it, or step through the images with the arrow keys. The wheel zooms."


def images_page(dots, images, columns, wrong, names, title, method):
    """Make a page that shows the images of a test set behind the dots of its feature map.

    Of more than `MAX_IMAGES` images it has the wrong ones first, and an even choice of the others.

    Parameters
    ----------
    dots : pictures.feature_maps.Dots
    images : (N, C, H, W) uint8
    columns : dict of str to sequence
        What is known of each of the N images, by what it is in words.
    wrong : dict of str to (N,) bool
        Which images are answered wrongly, by the words of each method.
    names : list of str
        Of all classes.
    title : str
    method : str
        The words of the method whose wrong answers are outlined in black.
    """
    kept = choose(np.any(list(wrong.values()), axis=0), wrong[method])
    shown = {
        **frames_of("test", [(dots, title)], square_around([(dots, title)]), kept),
        "images": [thumbnail(images[i]) for i in kept],
        "rows": {name: [column[i] for i in kept] for name, column in columns.items()},
        "kinds": [
            {"name": f"wrong by {words} ({errors.sum()})", "marked": words == method,
             "wrong": errors[kept].astype(int).tolist()}
            for words, errors in wrong.items()
        ],
    }  # fmt: skip
    said = f". Images that are wrong by {method} have a black edge."
    if len(kept) < len(images):
        said += f" Of {len(images):,} images {len(kept):,} are here, the wrong ones first."
    return fill(title, said, [shown], dots.labels, names)


def epochs_page(parts, title, names=None):
    """Make a page that goes through the feature maps of a run's epochs.

    `parts` has a list of (Dots, title) for each set, by its name; `names` of all classes are by
    default their numbers. Where all dots would take more than `MAX_BYTES`, it has an even choice.
    """
    frames = sum(parts.values(), [])
    every = -(-sum(4 * len(dots.labels) for dots, _ in frames) // MAX_BYTES)
    sets = [
        frames_of(f"{name} set", part, square_around(frames), slice(None, None, every))
        for name, part in parts.items()
    ]
    said = f". One image of {every} is shown." if every > 1 else "."
    labels = np.concatenate([part[0][0].labels for part in parts.values()])
    return fill(title, said, sets, labels, names)


def fill(title, said, sets, labels, names):
    """The page of these sets; in it names are text, never markup."""
    classes = np.unique(labels).tolist()
    names = names or list(map(str, range(classes[-1] + 1)))
    short, crosses = short_names(names), CROSSES if sets[0]["frames"][0]["centers"] else ""
    data = {
        "said": DOTS + crosses + said, "hint": HINT if "images" in sets[0] else "", "sets": sets,
        "classes": [(j, names[j]) for j in classes], "short": {j: short[j] for j in classes},
        "colors": COLORS, "steps": STEPS, "pause": FRAME_MS,
    }  # fmt: skip
    before, between, after = re.split("TITLE|DATA", TEMPLATE.read_text(encoding="utf-8"))
    # In JSON "<" stands in strings only, where it could end the script.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return f"{before}{html.escape(title)}{between}{text}{after}".encode()


def frames_of(name, frames, limits, kept):
    """The chosen dots of a set in each of its epochs, as the page takes them."""
    return {
        "name": name,
        "labels": frames[0][0].labels[kept].tolist(),
        "frames": [
            {"title": title, "dots": packed(dots.points[kept], limits),
             "centers": packed(dots.centers, limits), "named": dots.named()[0].tolist(),
             "names": packed(dots.named()[1], limits)}
            for dots, title in frames
        ],
        "kinds": [],
    }  # fmt: skip


def packed(places, limits):
    """Places (N, 2) as int16 in base64."""
    low, side = limits
    steps = np.round((places - low) / side * STEPS).astype("<i2")
    return base64.b64encode(steps.tobytes()).decode()


def choose(wrong, marked):
    """The indices of the images to show: right ones, and on top of them the wrong ones."""
    right, wrong = np.flatnonzero(~wrong), np.flatnonzero(wrong)
    wrong = evenly(wrong[np.argsort(marked[wrong], kind="stable")], MAX_IMAGES)
    return np.concatenate([evenly(right, MAX_IMAGES - len(wrong)), wrong])


def evenly(indices, most):
    number = min(most, len(indices))
    return indices[np.arange(number) * len(indices) // max(1, number)]


def thumbnail(image):
    """The small PNG, in base64, of an image (C, H, W) uint8."""
    check_signals()
    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
