"""Feature maps, learning curves and GIFs, as the bytes of their files.

A picture says of itself which run it belongs to, so that those of two are never mixed.
"""

import contextlib
import functools
import io
import warnings

import imageio.v3 as iio
import matplotlib.style
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from support.records import COLUMNS
from support.runs import read_file

FRAME_INCHES = 6.4
FRAME_PIXELS = 640
MOST_NAMED_CLASSES = 50  # more digits than that would hide the dots
MOST_FEATURES = 2000  # of which all products are taken
LOSSES = [column for column in COLUMNS if column.endswith("loss")]
ACCURACIES = [column for column in COLUMNS if column.startswith(("train_", "test_"))]
FRAME_MS, LAST_FRAME_MS = 300, 2000


def own_style(draw):
    """Let a function draw in matplotlib's default style, whatever the user's is."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs):
        with matplotlib.style.context("default"):
            return draw(*args, **kwargs)

    return drawn


@own_style
def feature_map(features, labels, num_classes, title, run=None, centers=None):
    """Draw one dot an image, coloured by its class.

    Parameters
    ----------
    features : (N, d) float
    labels : (N,) int
    num_classes : int
    title : str
    run : str, optional
        What the picture is to say of itself to `run_of`.
    centers : (num_classes, d) float, optional
        Where to draw crosses, for the classes that are there.

    Returns
    -------
    bytes
        A PNG of 640 x 640 pixels.
    """
    figure = new_figure(FRAME_INCHES, FRAME_INCHES)
    draw_features(figure.add_subplot(), features, labels, num_classes, title, centers)
    return to_bytes(figure, run=run)


@own_style
def stacked_feature_maps(panels):
    """Draw several feature maps, one under the other.

    Parameters
    ----------
    panels : list of (features, labels, num_classes, title)
        As for `feature_map`.

    Returns
    -------
    bytes
        A JPEG, 1600 pixels wide.
    """
    figure = new_figure(8, 6 * len(panels), dpi=200)
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for one, panel in zip(axes, panels):
        draw_features(one, *panel)
    return to_bytes(figure, "jpg")


def draw_features(axes, features, labels, num_classes, title, centers=None):
    """Draw a feature map into `axes`; parameters as in `feature_map`."""
    classes = np.unique(labels)  # those that are there
    if centers is None:
        points, note = to_plane(features, labels)
    else:
        whole = np.concatenate([features, centers[classes]])
        points, note = to_plane(whole, np.concatenate([labels, classes]))
        points, crosses = points[: len(labels)], points[len(labels) :]
        axes.plot(
            *crosses.T, "X", color="black", markeredgecolor="white", zorder=2.5, label="center"
        )
        axes.legend(loc="upper right", fontsize=8)
    colors = class_colors(num_classes)
    dot = np.clip(40 / len(points) ** 0.3, 1.5, 4)  # many dots are small ones
    if len(classes) > MOST_NAMED_CLASSES:
        order = np.argsort(labels, kind="stable")
        axes.scatter(*points[order].T, s=dot**2, c=colors[labels[order]], linewidths=0)
        classes = ()
    for j in classes:
        members = points[labels == j]
        axes.plot(*members.T, "o", color=colors[j], markersize=dot, markeredgewidth=0)
    for j in classes if num_classes <= MOST_NAMED_CLASSES else ():
        outline = withStroke(linewidth=3, foreground="white")
        axes.text(
            *np.median(points[labels == j], axis=0), str(j), color="black", fontsize=14,
            weight="bold", ha="center", va="center", path_effects=[outline], clip_on=True,
        )  # fmt: skip
    if features.shape[1] == 1:
        axes.set(xlabel="feature", ylabel="class")
    else:
        axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(f"{title}{note}", fontsize=10, parse_math=False)
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
    if size > MOST_FEATURES:  # a matrix of all products would be too large
        from sklearn.decomposition import PCA

        pca = PCA(2, svd_solver="randomized", random_state=0)
        points = pca.fit_transform(features)
        return points, pca_note(size, pca.explained_variance_ratio_.sum())
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    variance, components = np.linalg.eigh(centered.T @ centered)  # ascending
    components = components[:, :-3:-1]
    components *= np.sign(components[np.abs(components).argmax(axis=0), [0, 1]])
    share = variance[-2:].sum() / max(variance.sum(), np.finfo(float).tiny)
    return centered @ components, pca_note(size, share)


def pca_note(size, share):
    return f"\nPCA of {size} features: {share:.0%} of the variance"


def class_colors(num_classes):
    """One colour a class, (num_classes, 4)."""
    if num_classes <= 10:
        return colormaps["tab10"](np.arange(num_classes))
    return colormaps["nipy_spectral"](np.linspace(0.05, 0.95, num_classes))


@own_style
def curves(history, title, run=None):
    """Draw losses and error rates over the epochs, on logarithmic scales where none is zero.

    Parameters
    ----------
    history : list of support.records.Epoch
    title : str
    run : str, optional
        As for `feature_map`.

    Returns
    -------
    bytes
        A PNG.
    """
    figure = new_figure(10, 4.2)
    losses, errors = figure.subplots(1, 2)
    epochs = [epoch.epoch for epoch in history]
    for axes, keys, shown in ((losses, LOSSES, float), (errors, ACCURACIES, lambda a: 1 - a)):
        there = [key for key in keys if getattr(history[0], key) is not None]
        drawn = {key: [shown(getattr(epoch, key)) for epoch in history] for key in there}
        for key, values in drawn.items():
            line = "--" if key.startswith("train") else "-"
            marker = "s" if key.endswith("knn") or key.startswith("center") else "o"
            axes.plot(epochs, values, line + marker, markersize=4, label=key)
        if min(map(min, drawn.values())) > 0:
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="0.9", linewidth=0.5)
        axes.legend(fontsize=8)
    losses.set(title="moving average of the loss, and means of its parts")
    errors.set(title="error rate: 1 - accuracy")
    figure.suptitle(title, fontsize=10, parse_math=False)
    return to_bytes(figure, run=run)


def gif(frames, run=None):
    """Join frames into a GIF that runs for ever.

    Parameters
    ----------
    frames : list of (640, 640, 3) uint8
        As `read_frame` gives them.
    run : str, optional
        As for `feature_map`.

    Returns
    -------
    bytes
    """
    duration = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    if len(frames) == 1:
        duration = LAST_FRAME_MS  # Pillow takes no list for a single frame
    return iio.imwrite(
        "<bytes>", frames, extension=".gif", plugin="pillow", duration=duration, loop=0,
        comment=(run or "").encode(),
    )  # fmt: skip


def read_frame(path):
    """Read a picture and keep 32 colours, which look the same and save two fifths of a GIF.

    Raises
    ------
    ValueError
        It is no feature map of this program, or damaged.
    """
    try:
        with opened(path, ["PNG"]) as image:
            if image.size != (FRAME_PIXELS, FRAME_PIXELS):
                raise ValueError(f"it has {image.size[0]} x {image.size[1]} pixels")
            few = image.convert("RGB").quantize(32, method=Image.Quantize.FASTOCTREE)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("it is damaged") from error
    return np.asarray(few.convert("RGB"))


@contextlib.contextmanager
def opened(path, formats):
    """An image file of one of these formats; its size is for the caller to judge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(read_file(path)), formats=formats) as image:
            yield image


def run_of(path):
    """What a PNG or GIF says of the run it belongs to; None if nothing, or if it is damaged."""
    try:
        with opened(path, ["PNG", "GIF"]) as image:
            said = image.info.get("Run", image.info.get("comment"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return said.decode("ascii", "replace") if isinstance(said, bytes) else said


def new_figure(width, height, dpi=100):
    """A figure of so many inches that needs no display and leaves no global state behind."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_bytes(figure, form="png", run=None):
    file = io.BytesIO()
    metadata = {"metadata": {"Run": run}} if run else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a prefix may be in any script
        figure.savefig(file, format=form, **metadata)
    return file.getvalue()
