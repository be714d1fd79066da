"""Feature maps: one dot an image, in the colour of its class."""

import collections
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from pictures.figure import new_figure, own_style, to_bytes
from utils import class_means

FRAME_INCHES = 6.4
MAX_KEPT = 10_000  # dots that are kept for the GIF
# Ten that people with any colour vision tell apart: M. A. Petroff, "Accessible Color Sequences for
# Data Visualization", arXiv:2107.02270 (2021), Table 1.
COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70",
    "#717581", "#92dadd",
)  # fmt: skip
MARKERS = "o^sDvP<X>"  # of the first ten classes, the next ten, and so on
MAX_NAMED_CLASSES = 50  # more names than that would hide the dots
MAX_LETTERS = 12  # of a class's name that are drawn
AXES = {1: ("feature", "class"), 2: ("first feature", "second feature")}
COMPONENTS = ("first principal component", "second principal component")
SCALES_DIFFER = "each panel has a scale of its own"


class Dots(NamedTuple):
    """What a feature map shows of features of any size, brought into the plane.

    Attributes
    ----------
    points : (N, 2) float
        Of two features these themselves. One feature is drawn over its class, more than two are
        projected on their two principal components.
    labels : (N,) int
    classes : (K,) int
        Those that are there, ascending.
    means : (K, 2) float
        Of the points of each class.
    centers : (K, 2) float, or (0, 2)
    feature_size : int
    note : str
        What was done to the features, for the title; empty for one and two.
    """

    points: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    means: np.ndarray
    centers: np.ndarray
    feature_size: int
    note: str = ""

    @classmethod
    def of(cls, features, labels, centers=None):
        """Those of features (N, d), labels (N,) int, and of centers (num_classes, d), if any."""
        classes, size = np.unique(labels), features.shape[1]
        there = np.empty((0, size)) if centers is None else centers[classes]
        ours = np.concatenate([labels, classes[: len(there)]])
        points, note = to_plane(np.concatenate([features, there]), ours)
        points, there = points[: len(labels)], points[len(labels) :]
        return cls(points, labels, classes, class_means(points, labels)[0], there, size, note)

    def thinned(self):
        """The same with an even choice of at most `MAX_KEPT` dots."""
        every = -(-len(self.labels) // MAX_KEPT)
        return self._replace(points=self.points[::every], labels=self.labels[::every])

    def named(self):
        """The classes whose names are drawn, and where: the medians of their dots, (n, 2)."""
        classes = np.unique(self.labels)
        if len(self.classes) > MAX_NAMED_CLASSES:
            classes = classes[:0]
        places = [np.median(self.points[self.labels == j], axis=0) for j in classes]
        return classes, np.reshape(places, (-1, 2))


@own_style
def feature_map(dots, title, names=None):
    """Draw `Dots` as a PNG of 640 x 640 pixels; `names`, of all classes, are by default their
    numbers."""
    figure = new_figure(FRAME_INCHES, FRAME_INCHES)
    draw_dots(figure.add_subplot(), dots, title, names)
    return to_bytes(figure)


@own_style
def stacked_feature_maps(panels, names=None):
    """Draw several feature maps, (Dots, title), one under the other, as a JPEG that is 1600 pixels
    wide."""
    figure = new_figure(8, 6 * len(panels), dpi=200)
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for one, (dots, title) in zip(axes, panels):
        draw_dots(one, dots, title, names)
    if len(panels) > 1:
        figure.supxlabel(SCALES_DIFFER, fontsize=9)
    return to_bytes(figure, "jpg")


def draw_dots(axes, dots, title, names=None):
    """Draw a feature map into `axes`."""
    points, labels, centers = dots.points, dots.labels, dots.centers
    if len(centers):
        axes.plot(
            *centers.T, "X", color="black", markeredgecolor="white", zorder=2.5, label="center"
        )
        axes.legend(loc="upper right", fontsize=8)
    size = np.clip(40 / len(points) ** 0.3, 1.5, 4)  # many dots are small ones
    colors = class_colors(labels.max() + 1)
    turns = labels // len(COLORS) % len(MARKERS)
    for turn in np.unique(turns):
        rows = np.flatnonzero(turns == turn)
        rows = rows[np.argsort(labels[rows], kind="stable")]
        axes.scatter(
            *points[rows].T, s=(size * (1.5 if turn else 1)) ** 2, c=colors[labels[rows]],
            marker=MARKERS[turn], linewidths=0, alpha=0.6 if len(points) > 2000 else None,
        )  # fmt: skip
    name_classes(axes, dots, names)
    xlabel, ylabel = AXES.get(int(dots.feature_size), COMPONENTS)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if dots.feature_size > 1:
        axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(title + f"\n{dots.note}" * bool(dots.note), fontsize=10, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)


def name_classes(axes, dots, names):
    """Write the name of each class where its dots are."""
    short = short_names(names or list(map(str, range(dots.labels.max() + 1))))
    for j, place in zip(*dots.named()):
        axes.annotate(
            short[j], place,
            (0, 12 if len(dots.centers) else 0), textcoords="offset points",  # above the center
            color="black", fontsize=10 if names else 14, weight="bold", ha="center", va="center",
            path_effects=[withStroke(linewidth=3, foreground="white")], annotation_clip=True,
            parse_math=False,
        )  # fmt: skip


def short_names(names):
    """The names with at most `MAX_LETTERS` letters: cut in the middle, and where that makes two
    equal, with their numbers."""
    half = MAX_LETTERS // 2
    cut = [n if len(n) <= MAX_LETTERS else f"{n[: half - 1]}…{n[-half:]}" for n in names]
    often = collections.Counter(cut)
    return [
        one if often[one] == 1 else f"{name[: half - 1]}… {j}"
        for j, (one, name) in enumerate(zip(cut, names))
    ]


def to_plane(features, labels):
    """Bring features (N, d) into the plane: (N, 2), and the note of `Dots`."""
    size = features.shape[1]
    if size == 1:
        spread = np.random.RandomState(0).uniform(-0.3, 0.3, len(labels))
        return np.column_stack([features[:, 0], labels + spread]), ""
    if size == 2:
        return features, ""
    if len(features) == 1:  # has no variance
        return np.zeros((1, 2)), ""
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="randomized", random_state=0)
    with np.errstate(invalid="ignore"):  # all features may be equal
        points = pca.fit_transform(features)
    explained = np.nan_to_num(pca.explained_variance_ratio_.sum())
    return points, f"PCA of {size} features: {explained:.0%} of the variance"


def class_colors(num_classes):
    """One colour a class, (num_classes, 3); with more than ten classes they repeat."""
    return np.array([to_rgb(color) for color in COLORS])[np.arange(num_classes) % len(COLORS)]
