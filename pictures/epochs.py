"""A run's feature maps to go through: a page of HTML with a slider over the epochs, offline too."""

import html

import numpy as np
from bokeh.embed import file_html
from bokeh.models import (
    Button,
    ColumnDataSource,
    CustomJS,
    Div,
    RadioGroup,
    Row,
    Slider,
)
from bokeh.resources import Resources
from bokeh.transform import linear_cmap

from pictures.feature_maps import COLORS, MAX_NAMED_CLASSES
from pictures.gifs import FRAME_MS
from pictures.sides import SIDES, control_style, draw_centers, keep_in_place, new_map, renumbered

MAX_BYTES = 4_500_000  # of the dots: with Bokeh's own code the page stays below 8 MB
STEPS = 2**15 - 1  # into how many an axis is divided: a dot takes 4 bytes in an epoch
HOW = "A dot is an image, in the colour of its class; a cross is the center of a class."

# Shows an epoch of a set: its dots, its centers, and its title.
SHOW = """
const name = names[which.active];
const k = slider.value;
const along = (steps, low, high) => Float32Array.from(steps, (q) => low + q / count * (high - low));
const place = (kind) => {
  const {data} = packed[name + kind];
  return {x: along(data["x" + k], left, right), y: along(data["y" + k], bottom, top)};
};
dots.data = {...place(" dots"), label: packed[name + " dots"].data.label};
centers.data = place(" centers");
title.text = titles[name][k];
"""
PLAY = """
if (window.playing) {
  clearInterval(window.playing);
  window.playing = null;
} else {
  if (slider.value === slider.end) slider.value = slider.start;
  window.playing = setInterval(() => {
    if (slider.value < slider.end) slider.value += 1;
    if (slider.value === slider.end) {
      clearInterval(window.playing);
      window.playing = null;
      button.label = "play";
    }
  }, pause);
}
button.label = window.playing ? "stop" : "play";
"""
STEP = "slider.value = Math.min(slider.end, Math.max(slider.start, slider.value + by));"


def page(parts, title, names=None):
    """Make a page that goes through the feature maps of a run's epochs.

    Parameters
    ----------
    parts : dict of str to list of (Dots, str)
        The epochs' feature maps and their titles, by the name of the set; each set has the same
        epochs, and in each epoch the same images.
    title : str
    names : list of str, optional
        Of the classes; by default their numbers.

    Returns
    -------
    bytes
        HTML that needs no other file. Where all dots would take more than `MAX_BYTES`, it has an
        even choice of the images, and says so.
    """
    total = sum(4 * len(dots.labels) for frames in parts.values() for dots, _ in frames)
    every = -(-total // MAX_BYTES)
    corners = corners_of(parts)
    packed = {}
    for name, frames in parts.items():
        labels = (frames[0][0].labels[::every] % len(COLORS)).astype(np.int32)
        packed[f"{name} dots"] = pack([dots.points[::every] for dots, _ in frames], corners)
        packed[f"{name} dots"].data["label"] = labels
        packed[f"{name} centers"] = pack([dots.centers for dots, _ in frames], corners)
    present = np.unique(np.concatenate([frames[0][0].labels for frames in parts.values()]))
    titles = {
        name: [said.replace("\n", ", ") for _, said in frames] for name, frames in parts.items()
    }
    said = HOW
    if every > 1:
        said += f" One image of {every} is shown."
    text = file_html(
        models(packed, titles, corners, present, names),
        Resources(mode="inline"),
        title,
        template=SIDES,
        template_variables={
            "said": said,
            "side": ["title", "which", "epoch", "play", "steps", "key"],
        },
    )
    return renumbered(text).encode("utf-8", "replace")


def corners_of(parts):
    """The smallest and the largest place of all dots and centers, (2, 2), never the same."""
    every = [places for frames in parts.values() for dots, _ in frames
             for places in (dots.points, dots.centers) if len(places)]  # fmt: skip
    low = np.min([places.min(axis=0) for places in every], axis=0)
    high = np.max([places.max(axis=0) for places in every], axis=0)
    return np.array([low, np.where(high > low, high, low + 1)])


def pack(places, corners):
    """Places (N, 2) of each epoch as a source with columns x0, y0, x1, ... of int16."""
    low, high = corners
    source = ColumnDataSource()
    for k, points in enumerate(places):
        steps = np.round((points - low) / (high - low) * STEPS).astype(np.int16)
        source.data[f"x{k}"], source.data[f"y{k}"] = steps.reshape(-1, 2).T.copy()
    return source


def unpacked(source, k, corners):
    """The places of an epoch as a source with columns x and y."""
    steps = np.stack([source.data[f"x{k}"], source.data[f"y{k}"]], axis=1)
    places = corners[0] + steps / STEPS * (corners[1] - corners[0])
    return ColumnDataSource(dict(zip("xy", places.T.astype(np.float32))))


def models(packed, titles, corners, present, classes):
    """The map and its controls, each with the name by which the page places it.

    Parameters
    ----------
    packed : dict of str to ColumnDataSource
        The dots and the centers of each set in all epochs.
    titles : dict of str to list of str
        Those of the epochs, by the name of the set.
    corners : (2, 2) float
    present : (K,) int
        The classes that are there.
    classes : list of str or None
        The names of all classes.

    Returns
    -------
    list of bokeh.models.Model
    """
    names = list(titles)
    last = len(titles[names[0]]) - 1
    style = control_style()
    dots, centers = (unpacked(packed[f"{names[0]} {kind}"], last, corners)
                     for kind in ("dots", "centers"))  # fmt: skip
    dots.data["label"] = packed[f"{names[0]} dots"].data["label"]
    title = Div(name="title", text=titles[names[0]][last], disable_math=True, **style)
    which = RadioGroup(name="which", labels=[f"{name} set" for name in names], active=0, **style)
    slider = Slider(
        name="epoch", title="epoch", start=0, end=max(1, last), value=last, step=1,
        disabled=last == 0, **style,
    )  # fmt: skip
    (left, bottom), (right, top) = corners.tolist()
    show = CustomJS(
        args={
            "packed": packed, "titles": titles, "names": names, "dots": dots, "centers": centers,
            "slider": slider, "which": which, "title": title, "count": STEPS,
            "left": left, "right": right, "bottom": bottom, "top": top,
        },
        code=SHOW,
    )  # fmt: skip
    slider.js_on_change("value", show)
    which.js_on_change("active", show)
    key = Div(name="key", text=key_of(present, classes), disable_math=True, **style)
    plot = feature_map(dots, centers, corners)
    return [plot, title, which, slider, *buttons(slider, style), key]


def buttons(slider, style):
    """The button that plays the epochs, and those that go one back and one on."""
    play = Button(name="play", label="play", disabled=slider.disabled, **style)
    play.js_on_click(
        CustomJS(args={"slider": slider, "button": play, "pause": FRAME_MS}, code=PLAY)
    )
    steps = []
    for label, by in (("one back", -1), ("one on", 1)):
        steps.append(Button(label=label, disabled=slider.disabled, **style))
        steps[-1].js_on_click(CustomJS(args={"slider": slider, "by": by}, code=STEP))
    return play, Row(children=steps, name="steps", sizing_mode="stretch_width")


def key_of(labels, names):
    """Which colour is which class, as HTML."""
    shown = [
        f'<span style="color: {COLORS[j % len(COLORS)]}">\u25cf</span> '
        f"{html.escape(names[j] if names else str(j))}"
        for j in labels[:MAX_NAMED_CLASSES]
    ]
    return " &ensp; ".join(shown) + " ..." * (len(labels) > len(shown))


def feature_map(dots, centers, corners):
    """The map, on one scale for all epochs."""
    ranges = np.transpose(corners).tolist()
    plot = new_map(ranges)
    plot.scatter(
        "x", "y", source=dots, size=4, line_color=None,
        fill_color=linear_cmap("label", COLORS, -0.5, len(COLORS) - 0.5),
    )  # fmt: skip
    draw_centers(plot, centers)
    keep_in_place(plot, ranges)
    return plot
