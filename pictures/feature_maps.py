"""Feature maps: one dot an image, coloured by its class."""

import base64
import io
import zipfile
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke
from PIL import Image

from pictures.figure import new_figure, opened, own_style, to_bytes

FRAME_INCHES = 6.4
MAX_KEPT = 10_000  # dots that a picture carries for the GIF
# Ten that people with any colour vision tell apart: M. A. Petroff, "Accessible Color Sequences for
# Data Visualization", arXiv:2107.02270 (2021), Table 1.
COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70",
    "#717581", "#92dadd",
)  # fmt: skip
MAX_NAMED_CLASSES = 50  # more digits than that would hide the dots
MAX_LETTERS = 12  # of a class's name that are drawn


class Dots(NamedTuple):
    """What a feature map shows: `points` (N, 2) and `labels` (N,) of the images, `centers` (K, 2)
    of the classes that are there, or (0, 2)."""

    points: np.ndarray
    labels: np.ndarray
    centers: np.ndarray

    @classmethod
    def of(cls, features, labels, centers=None):
        """Bring features and centers into the plane; also gives a note for the title."""
        if centers is None:
            points, note = to_plane(features, labels)
            return cls(points, labels, np.empty((0, 2))), note
        classes = np.unique(labels)
        whole = np.concatenate([features, centers[classes]])
        points, note = to_plane(whole, np.concatenate([labels, classes]))
        return cls(points[: len(labels)], labels, points[len(labels) :]), note

    def to_text(self):
        """At most `MAX_KEPT` of the dots, as text that a picture can carry."""
        every, file = -(-len(self.labels) // MAX_KEPT), io.BytesIO()
        kept = self._replace(points=self.points[::every], labels=self.labels[::every])
        np.savez(file, **{name: array.astype(np.float32) for name, array in kept._asdict().items()})
        return base64.b64encode(file.getvalue()).decode()

    @classmethod
    def from_text(cls, text):
        """The opposite of `to_text`; raises ValueError where it is something else."""
        try:
            with np.load(io.BytesIO(base64.b64decode(text))) as arrays:
                dots = cls(**arrays)
        except (TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError("no dots") from error
        return dots._replace(labels=dots.labels.astype(int))


@own_style
def feature_map(features, labels, num_classes, title, identity=None, centers=None, names=None):
    """Draw one dot an image, coloured by its class.

    Parameters
    ----------
    features : (N, d) float
    labels : (N,) int
    num_classes : int
    title : str
    identity : str, optional
        Of the run, which the picture is to say to `identity_of`.
    centers : (num_classes, d) float, optional
        Where to draw crosses, for the classes that are there.
    names : list of str, optional
        Of the classes; by default their numbers.

    Returns
    -------
    bytes
        A PNG of 640 x 640 pixels, from which `read_dots` gets the dots again.
    """
    dots, note = Dots.of(features, labels, centers)
    figure = new_figure(FRAME_INCHES, FRAME_INCHES)
    draw_dots(figure.add_subplot(), dots, num_classes, title + note, features.shape[1], names)
    return to_bytes(figure, Run=identity, Dots=dots.to_text())


@own_style
def stacked_feature_maps(panels, names=None):
    """Draw several feature maps, one under the other.

    Parameters
    ----------
    panels : list of (features, labels, num_classes, title)
        As for `feature_map`.
    names : list of str, optional

    Returns
    -------
    bytes
        A JPEG, 1600 pixels wide; fewer where it would be higher than a JPEG can be.
    """
    height = 6 * len(panels)
    figure = new_figure(8, height, dpi=min(200, 65_000 // height))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for one, (features, labels, num_classes, title) in zip(axes, panels):
        dots, note = Dots.of(features, labels)
        draw_dots(one, dots, num_classes, title + note, features.shape[1], names)
    return to_bytes(figure, "jpg")


@own_style
def grid(panels):
    """Draw feature maps of two features, two in a row, each on a scale of its own.

    Parameters
    ----------
    panels : list of (Dots, int, str)
        Each with the number of classes and its title.

    Returns
    -------
    bytes
        A PNG.
    """
    rows = -(-len(panels) // 2)
    figure = new_figure(FRAME_INCHES * 2, FRAME_INCHES * rows)
    axes = figure.subplots(rows, 2).ravel()
    for one, (dots, num_classes, title) in zip(axes, panels):
        draw_dots(one, dots, num_classes, title, feature_size=2)
    return to_bytes(figure)


def draw_dots(axes, dots, num_classes, title, feature_size, names=None):
    """Draw a feature map into `axes`."""
    points, labels, centers = dots
    classes = np.unique(labels)  # those that are there
    if len(centers):
        axes.plot(
            *centers.T, "X", color="black", markeredgecolor="white", zorder=2.5, label="center"
        )
        axes.legend(loc="upper right", fontsize=8)
    colors = class_colors(num_classes)
    dot = np.clip(40 / len(points) ** 0.3, 1.5, 4)  # many dots are small ones
    if len(classes) > MAX_NAMED_CLASSES:
        order = np.argsort(labels, kind="stable")
        axes.scatter(*points[order].T, s=dot**2, c=colors[labels[order]], linewidths=0)
        classes = ()
    for j in classes:
        members = points[labels == j]
        axes.plot(*members.T, "o", color=colors[j], markersize=dot, markeredgewidth=0)
    for j in classes if num_classes <= MAX_NAMED_CLASSES else ():
        outline = withStroke(linewidth=3, foreground="white")
        axes.annotate(
            names[j][:MAX_LETTERS] if names else str(j), np.median(points[labels == j], axis=0),
            (0, 12 if len(centers) else 0), textcoords="offset points",  # above the center
            color="black", fontsize=10 if names else 14, weight="bold", ha="center", va="center",
            path_effects=[outline], annotation_clip=True, parse_math=False,
        )  # fmt: skip
    if feature_size == 1:
        axes.set(xlabel="feature", ylabel="class")
    else:
        axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)


def to_plane(features, labels):
    """Bring features of any size into the plane.

    One feature is drawn over its class, more than two are projected on their two principal
    components.

    Parameters
    ----------
    features : (N, d) float
    labels : (N,) int

    Returns
    -------
    points : (N, 2) float
    note : str
        What was done, for the title; empty for two features.
    """
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
    share = np.nan_to_num(pca.explained_variance_ratio_.sum())
    return points, f"\nPCA of {size} features: {share:.0%} of the variance"


def class_colors(num_classes):
    """One colour a class, (num_classes, 3); with more than ten classes they repeat."""
    return np.array([to_rgb(color) for color in COLORS])[np.arange(num_classes) % len(COLORS)]


def read_dots(path):
    """Read what a feature map shows.

    Raises
    ------
    ValueError
        It is no feature map of this program, or damaged.
    """
    try:
        with opened(path, ["PNG"]) as image:
            return Dots.from_text(image.text.get("Dots", ""))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("it is damaged") from error
    except ValueError as error:
        raise ValueError("it is no feature map that this version drew") from error
