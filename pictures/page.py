"""A feature map to explore: a page of HTML that shows the image behind every dot, offline too."""

import base64
import html
import io

import numpy as np
from bokeh.embed import file_html
from bokeh.models import (
    Button,
    CDSView,
    CheckboxGroup,
    ColumnDataSource,
    CustomJS,
    Div,
    HoverTool,
    IndexFilter,
    InlineStyleSheet,
    MultiSelect,
    RadioGroup,
    Spinner,
)
from bokeh.resources import Resources
from bokeh.transform import linear_cmap
from PIL import Image

from pictures.feature_maps import COLORS, MAX_NAMED_CLASSES
from pictures.sides import SIDES, control_style, draw_centers, keep_in_place, new_map, renumbered
from process.console import printable
from process.errors import check_signals

MAX_IMAGES = 10_000  # more would be much for a phone
THUMBNAIL = 28  # pixels, the longer side at the most
HOW = (
    "A dot is an image of the test set, in the colour of its class; those that are wrong by {} "
    "have a black edge."
)
HINT = "Point at a dot, tap it, or step through the images with the arrow keys in the field above."

# What a tooltip and the panel show of an image.
SHOWN = """
<section>
  <img src="data:image/png;base64,@{image}{safe}" alt="">
  <table>%s</table>
</section>
<style>
  section { display: flex; flex-wrap: wrap; gap: 8px; font-size: 14px; }
  img { height: 84px; image-rendering: pixelated; }
  th { font-weight: normal; text-align: left; white-space: nowrap; color: #666; }
  td { overflow-wrap: anywhere; }
</style>
"""
# Bokeh puts the tooltips of all dots below the pointer into one box, the uppermost last.
ONE_TOOLTIP = "<style>div > div:not(:last-child) { display: none; }</style>"

# Shows other dots; the chosen image stays chosen if it is one of them.
SHOW = """
const chosen = shown.indices[chooser.value - 1];
const on = new Set(classes[switched].map((k) => present[k]));
const {label} = source.data;
const wrong = source.data[errors[which.active - 1]];  // undefined for all images
const indices = [];
for (let i = 0; i < label.length; i++) {
  if (on.has(label[i]) && (!wrong || wrong[i])) indices.push(i);
}
shown.indices = indices;
source.change.emit();  // Bokeh 3.1 does not watch the filter
chooser.title = `Image number, of ${indices.length} shown`;
chooser.high = Math.max(1, indices.length);
chooser.value = indices.indexOf(chosen) + 1 || null;
"""

CHOOSE = """
const i = shown.indices[chooser.value - 1];
const {data} = source;
chosen.data = i == null ? {x: [], y: []} : {x: [data.x[i]], y: [data.y[i]]};
panel.text = i == null ? hint : template.replace(/@{(.+?)}{safe}/g, (_, name) => data[name][i]);
"""

# The nearest dot counts, if it is not further away than a finger is thick.
TAP = """
const {x, y} = source.data;
const across = map.inner_width / (map.x_range.end - map.x_range.start);
const up = map.inner_height / (map.y_range.end - map.y_range.start);
let least = 20, value = chooser.value;
shown.indices.forEach((i, k) => {
  const distance = Math.hypot((x[i] - cb_obj.x) * across, (y[i] - cb_obj.y) * up);
  if (distance <= least) [least, value] = [distance, k + 1];
});
chooser.value = value;
"""


def page(dots, images, found, distances, names, title, method=None, files=None):
    """Make a page that shows the images of a test set behind the dots of its feature map.

    Parameters
    ----------
    dots : pictures.feature_maps.Dots
        Where the N images and the centers of the classes lie.
    images : (N, C, H, W) uint8
        Of one channel or three.
    found : dict of str to (N,) int
        The classes that each method, named in words, found.
    distances : (N, 2) float, or None
        From each feature to the nearest center, and to that of its own class; None for a network
        without centers.
    names : list of str
        Of all classes.
    title : str
    method : str, optional
        The key of `found` by which images are marked as wrong; by default the first.
    files : list of str, optional
        Those of the images.

    Returns
    -------
    bytes
        HTML that needs no other file. Of more than `MAX_IMAGES` images it has the wrong ones
        first, as many as there is room for, and an even choice of the others.
    """
    labels = dots.labels
    wrong = {f"wrong by {words}": answer != labels for words, answer in found.items()}
    method = method or next(iter(found))
    marked = f"wrong by {method}"
    if len(wrong) > 1:
        wrong["wrong by either"] = np.any(list(wrong.values()), axis=0)
    kept = choose(list(wrong.values())[-1], wrong[marked])
    rows = {"test image": map(str, kept), "class": [names[j] for j in labels[kept]]}
    if files is not None:
        rows["file"] = [printable(files[i]) for i in kept]
    for words, answer in found.items():
        marks = np.where(answer[kept] == labels[kept], "✓", "✗")
        rows[words] = [f"{names[j]} {mark}" for j, mark in zip(answer[kept], marks)]
    if distances is not None:
        for column, where in enumerate(("it", "own center")):
            rows[f"distance to {where}"] = [f"{distances[i, column]:.4g}" for i in kept]
    source = ColumnDataSource(
        {
            "x": dots.points[kept, 0].astype(np.float32),
            "y": dots.points[kept, 1].astype(np.float32),
            "label": labels[kept].astype(np.int32),
            "color": (labels[kept] % len(COLORS)).astype(np.int32),
            "image": [thumbnail(images[i]) for i in kept],
            **{column: errors[kept].astype(np.uint8) for column, errors in wrong.items()},
            **{row: [html.escape(text) for text in texts] for row, texts in rows.items()},
        }
    )
    said = HOW.format(method)
    if len(dots.centers):
        said += " A cross is the center of a class."
    if len(kept) < len(labels):
        said += f" Of {len(labels):,} images {len(kept):,} are here: wrong ones first, and an even"
        said += " choice of the others."
    text = file_html(
        models(source, dots.centers, names, list(rows), list(wrong), marked),
        Resources(mode="inline"),
        title,
        template=SIDES,
        template_variables={
            "said": said,
            "side": ["chooser", "panel", "which", "classes", "button"],
        },
    )
    return renumbered(text).encode("utf-8", "replace")


def choose(wrong, marked):
    """The indices of the images to show: right ones, and on top of them wrong ones.

    Parameters
    ----------
    wrong, marked : (N,) bool
        By any method, and by that whose wrong ones are marked, which lie uppermost.
    """
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


def models(source, centers, names, rows, errors, marked):
    """The map and its controls, each with the name by which the page places it.

    Parameters
    ----------
    source : ColumnDataSource
        Of the images.
    centers : (K, 2) float
    names : list of str
    rows : list of str
        The columns to show of an image.
    errors : list of str
        The columns that are 1 for wrong ones; the last has them all.
    marked : str
        The column of those that have a black edge.

    Returns
    -------
    list of bokeh.models.Model
    """
    cells = "".join(f"<tr><th>{row}</th><td>@{{{row}}}{{safe}}</td></tr>" for row in rows)
    template = SHOWN % cells
    count = len(source.data["label"])
    shown = IndexFilter(indices=list(range(count)))
    chosen = ColumnDataSource({"x": [], "y": []})
    plot = feature_map(source, centers, shown, chosen, marked, template)
    draw_centers(plot, ColumnDataSource(dict(zip("xy", centers.T.astype(np.float32)))))

    style = control_style()
    chooser = Spinner(
        name="chooser", title=f"Image number, of {count} shown", low=1, high=count, **style
    )
    panel = Div(name="panel", text=HINT, disable_math=True, **style)
    kinds = [f"{column} ({source.data[column].sum()})" for column in errors]
    which = RadioGroup(name="which", labels=["all images", *kinds], active=0, **style)
    present = np.unique(source.data["label"]).tolist()
    classes, switched = class_switches(present, names, {"name": "classes", **style})
    button = Button(name="button", label="all classes or none", **style)

    known = {"source": source, "shown": shown, "chooser": chooser}
    show = CustomJS(
        args={
            **known, "classes": classes, "switched": switched, "present": present,
            "which": which, "errors": errors,
        },
        code=SHOW,
    )  # fmt: skip
    classes.js_on_change(switched, show)
    which.js_on_change("active", show)
    everything = getattr(classes, switched)
    toggle = "classes[switched] = classes[switched].length ? [] : everything;"
    args = {"classes": classes, "switched": switched, "everything": everything}
    button.js_on_click(CustomJS(args=args, code=toggle))
    args = {**known, "chosen": chosen, "panel": panel, "template": template, "hint": HINT}
    chooser.js_on_change("value", CustomJS(args=args, code=CHOOSE))
    plot.js_on_event("tap", CustomJS(args={**known, "map": plot}, code=TAP))
    return [plot, chooser, panel, which, classes, button]


def class_switches(present, names, style):
    """What switches the classes that are there, and the property that says which are on."""
    labels = [names[j] for j in present]
    if len(present) > MAX_NAMED_CLASSES:
        options = [(str(k), label) for k, label in enumerate(labels)]
        value = [key for key, _ in options]
        return MultiSelect(options=options, value=value, size=8, **style), "value"
    css = "span::before { content: '\\25cf'; margin-right: 3px; }\n"  # a dot
    for k, j in enumerate(present, 1):
        css += f"label:nth-child({k}) span::before {{ color: {COLORS[j % len(COLORS)]}; }}\n"
    style = {**style, "stylesheets": [*style["stylesheets"], InlineStyleSheet(css=css)]}
    boxes = CheckboxGroup(labels=labels, active=list(range(len(present))), inline=True, **style)
    return boxes, "active"


def feature_map(source, centers, shown, chosen, wrong, template):
    """The map: a dot an image of those `shown`, and a ring around the one `chosen`.

    Parameters
    ----------
    source, chosen : ColumnDataSource
    centers : (K, 2) float
        For which there is room.
    shown : IndexFilter
    wrong : str
        The column that is 1 where the dot is to have an edge.
    template : str
        Of the tooltip.

    Returns
    -------
    bokeh.plotting.figure
    """
    places = np.stack([source.data["x"], source.data["y"]], axis=1)
    places = np.concatenate([places, centers.astype(np.float32)])
    ranges = np.stack([places.min(axis=0), places.max(axis=0)], axis=1).tolist()
    plot = new_map(ranges)
    dots = plot.scatter(
        "x", "y", source=source, view=CDSView(filter=shown),
        size=float(np.clip(80 / len(shown.indices) ** 0.3, 5, 10)),
        line_color="black", line_alpha=wrong,
        fill_color=linear_cmap("color", COLORS, -0.5, len(COLORS) - 0.5),
    )  # fmt: skip
    plot.add_tools(HoverTool(renderers=[dots], tooltips=template + ONE_TOOLTIP))
    for color, width in (("white", 5), ("black", 2)):
        plot.scatter(
            "x", "y", source=chosen, size=18, fill_color=None, line_color=color, line_width=width
        )
    keep_in_place(plot, ranges)
    return plot
