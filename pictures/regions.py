"""Who answers what: features on top of the regions in which a network answers each class."""

from typing import NamedTuple

import numpy as np

from pictures.feature_maps import SCALES_DIFFER, Dots, class_colors, draw_dots
from pictures.figure import new_figure, own_style, to_bytes
from pictures.gifs import square_around
from utils import nearest_center

INCHES, POINTS = 6.4, 480  # of a panel, and in how many points of it a side is answered
TINT = 0.25  # how much colour a region has
MAX_BORDERS = 50  # of classes
TINTS = "tint: what the classifier answers there; "
CENTERS = "dotted: halfway between centers; circle: mean distance of a class to its center;"
WRONG = f"\nblack edge: wrong by at least one method; {SCALES_DIFFER}"


class Panel(NamedTuple):
    """What is drawn of a run with two features.

    `wrong` (N,) bool says which images are answered wrongly by any method; `weight` (C, 2) and
    `bias` (C,) are those of the classifier.
    """

    dots: Dots
    wrong: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    title: str


@own_style
def who_answers_what(panels, names=None):
    """Draw features of two dimensions on the regions of the classifier.

    A region has a tint of the colour of the class that the classifier answers there. Dotted lines
    lie halfway between centers, where the nearest center changes; a cross is a center, a circle
    around it the mean distance of its features. What is answered wrongly is outlined in black.
    It is a PNG with two panels in a row; `names` are those of the classes.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(INCHES * columns, INCHES * rows)
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(every, panels):
        draw_dots(axes, panel.dots, panel.title, names)
        draw_wrong(axes, panel)
        draw_regions(axes, panel)
        draw_circles(axes, panel.dots)
    for axes in every[len(panels) :]:
        axes.remove()
    have_centers = any(len(panel.dots.centers) for panel in panels)
    figure.supxlabel(TINTS + CENTERS * have_centers + WRONG, fontsize=9)
    return to_bytes(figure)


def draw_wrong(axes, panel):
    """Draw the images that are answered wrongly once more, larger and outlined."""
    points, labels = panel.dots.points[panel.wrong], panel.dots.labels[panel.wrong]
    colors = class_colors(panel.dots.labels.max() + 1)[labels]
    axes.scatter(*points.T, s=14, c=colors, edgecolors="black", linewidths=0.7, zorder=2.2)


def draw_regions(axes, panel):
    """Draw the regions of the classifier, and the borders of those of the centers."""
    low, side = square_around([(panel.dots, panel.title)])
    extent = np.stack([low, low + side], axis=1)
    x, y = (np.linspace(*limits, POINTS) for limits in extent)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    answered = (places @ panel.weight.T + panel.bias).argmax(axis=1)
    tints = 1 - TINT * (1 - class_colors(len(panel.weight)))
    axes.imshow(
        tints[answered].reshape(POINTS, POINTS, 3), extent=extent.ravel(),
        origin="lower", aspect="auto", interpolation="nearest", zorder=0,
    )  # fmt: skip
    centers = panel.dots.centers
    if 1 < len(centers) <= MAX_BORDERS:
        nearest = nearest_center(places, centers).reshape(POINTS, POINTS)
        for j in np.unique(nearest):
            axes.contour(
                x, y, nearest == j, [0.5], colors="0.25", linestyles=":", linewidths=0.8, zorder=1.5
            )
    axes.set_aspect("equal", adjustable="box")
    axes.set(xlim=extent[0], ylim=extent[1])
    axes.grid(False)


def draw_circles(axes, dots):
    """Draw the mean distance of its features around each center."""
    turn = np.linspace(0, 2 * np.pi, 100)
    for j, (x, y) in zip(dots.classes, dots.centers):
        radius = np.linalg.norm(dots.points[dots.labels == j] - (x, y), axis=1).mean()
        axes.plot(x + radius * np.cos(turn), y + radius * np.sin(turn), "k-", linewidth=0.8)
