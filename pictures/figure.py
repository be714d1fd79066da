"""Figures of matplotlib as the bytes of their files, in a style that is the same everywhere."""

import functools
import io
import warnings

import matplotlib.style
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "SimHei", "Microsoft YaHei",
)  # fmt: skip


def own_style(draw):
    """Let a function draw in matplotlib's default style, whatever the user's is, and without
    warnings about characters that no font has: a prefix or a class may be named in any script."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs):
        style = matplotlib.style.context(["default", {"font.family": fonts()}])
        with style, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")
            return draw(*args, **kwargs)

    return drawn


@functools.lru_cache(maxsize=1)
def fonts():
    """matplotlib's own font, and those of this machine that have what it lacks."""
    there = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in there)]


def new_figure(width, height, dpi=100):
    """A figure of so many inches that needs no display and leaves no global state behind."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_bytes(figure, form="png"):
    """The bytes of a figure's file."""
    file = io.BytesIO()
    figure.savefig(file, format=form)
    return file.getvalue()
