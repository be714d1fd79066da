"""What the pages have in common: a map on one side, its controls on the other."""

import re

from bokeh.models import DataRange1d, InlineStyleSheet
from bokeh.plotting import figure
from bokeh.settings import settings

settings.simple_ids = False  # "p1001" might also be the name of a class

ELONGATED = 10  # times longer than wide, a map on equal scales would be a line

# A page with a map, and with controls beside it, or below it on a narrow screen.
SIDES = """
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  main { box-sizing: border-box; max-width: 1300px; margin: auto; padding: 8px 12px;
    font: 15px/1.4 system-ui, sans-serif; color: #222; }
  h1 { font-size: 20px; margin: 0; white-space: pre-line; overflow-wrap: anywhere; }
  p { margin: 4px 0 8px; }
  .map { height: calc(100vw - 24px); max-height: 75vh; }
  @media (min-width: 800px) {
    .sides { display: grid; grid-template-columns: minmax(0, 1fr) 330px; gap: 16px; }
    .map { height: calc(100vh - 130px); min-height: 400px; max-height: none; }
  }
</style>
{% endblock %}
{% block contents %}
<main>
  <h1>{{ title | e }}</h1>
  <p>{{ said | e }}</p>
  <div class="sides">
    <div class="map">{{ embed(roots["map"]) }}</div>
    <div>
      {% for name in side %}
      <div{% if name == "panel" %} aria-live="polite"{% endif %}>{{ embed(roots[name]) }}</div>
      {% endfor %}
    </div>
  </div>
</main>
{% endblock %}
"""

# Bokeh's controls do not take the style of the page.
STYLE = """
:host { font: 15px/1.4 system-ui, sans-serif; }
.bk-inline { flex-wrap: wrap !important; }
.bk-inline > label { margin: 0 8px 0 0 !important; }
label { min-height: 28px; }
label > span { min-width: 0; white-space: normal; overflow-wrap: anywhere; }
input[type=checkbox], input[type=radio] { width: 18px; height: 18px; flex: none; }
:focus-visible { outline: 2px solid #0060df !important; outline-offset: 1px; }
"""


def control_style():
    """What the controls of a page have in common; sheets belong to one page."""
    return {"stylesheets": [InlineStyleSheet(css=STYLE)], "sizing_mode": "stretch_width"}


def new_map(ranges):
    """An empty map, on equal scales unless that would make a line of it.

    Parameters
    ----------
    ranges : (2, 2) float
        For x and for y, the smallest and the largest place.
    """
    sides = sorted(high - low for low, high in ranges)
    plot = figure(
        name="map", sizing_mode="stretch_both", match_aspect=bool(sides[1] < ELONGATED * sides[0]),
        x_range=DataRange1d(), y_range=DataRange1d(),
        tools="pan,wheel_zoom,box_zoom,reset,save", active_scroll="wheel_zoom",
    )  # fmt: skip
    plot.toolbar.logo = None
    return plot


def keep_in_place(plot, ranges):
    """Let a map stay where it is, whatever it shows."""
    fixed = plot.scatter(*ranges, alpha=0)
    for side in (plot.x_range, plot.y_range):
        side.renderers = [fixed]


def draw_centers(plot, centers):
    """Draw the centers of classes, a ColumnDataSource, as crosses on a map."""
    plot.scatter("x", "y", source=centers, marker="x", size=14, line_color="white", line_width=5)
    plot.scatter("x", "y", source=centers, marker="x", size=12, line_color="black", line_width=2)


def renumbered(text):
    """A page whose ids, which Bokeh draws at random, are counted: the same page has the same bytes.

    Text that looks like an id but is none, as a class's name may, stays as it is.
    """
    uuid = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    given = dict.fromkeys(re.findall(rf'id(?:"\s*:\s*|=)"({uuid})"', text))
    numbers = {name: f"p{k}" for k, name in enumerate(given)}
    return re.sub(uuid, lambda match: numbers.get(match[0], match[0]), text)
