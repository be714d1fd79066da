"""GIFs of the feature maps of epochs: of one run, or of several side by side."""

import imageio.v3 as iio
import numpy as np
from PIL import Image

from pictures.feature_maps import FRAME_INCHES, SCALES_DIFFER, draw_dots
from pictures.figure import new_figure, own_style
from process.errors import check_signals

FRAME_MS, LAST_FRAME_MS = 300, 2000


@own_style
def gif(runs, names=None):
    """Draw feature maps, each run's on one scale, and join them into a GIF that runs for ever.

    Each run is a list of frames, (Dots, title), equally many in all; `names` are those of the
    classes. One run has 640 x 640 pixels, each of several has 480 x 520.
    """
    corners = [corners_of(frames) for frames in runs]
    images = []
    for row in zip(*runs):
        check_signals()
        alone = len(row) == 1
        figure = new_figure(*((FRAME_INCHES, FRAME_INCHES) if alone else (4.8 * len(row), 5.2)))
        panels = figure.subplots(1, len(row), squeeze=False)[0]
        for axes, (dots, title), limits in zip(panels, row, corners):
            draw_dots(axes, dots, title, names)
            axes.update_datalim(limits)
            axes.autoscale_view()
        if not alone:
            figure.supxlabel(SCALES_DIFFER, fontsize=9)
        figure.canvas.draw()
        image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
        # 64 colours look the same, and save a third of a GIF.
        few = image.quantize(64, method=Image.Quantize.FASTOCTREE)
        images.append(np.asarray(few.convert("RGB")))
    duration = [FRAME_MS] * (len(images) - 1) + [LAST_FRAME_MS]
    if len(images) == 1:
        duration = LAST_FRAME_MS  # Pillow takes no list for a single frame
    return iio.imwrite(
        "<bytes>", images, extension=".gif", plugin="pillow", duration=duration, loop=0
    )


def corners_of(frames):
    """The lowest and the highest place of all dots and centers, (2, 2)."""
    places = np.concatenate([part for dots, _ in frames for part in (dots.points, dots.centers)])
    return np.stack([places.min(axis=0), places.max(axis=0)])


def square_around(frames):
    """The lower left corner and the side of a square that has room for all dots and centers."""
    low, high = corners_of(frames)
    side = max(1.06 * (high - low).max(), 1e-9)
    return (low + high - side) / 2, side
