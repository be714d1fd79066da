"""GIFs of the feature maps of a run's epochs."""

import imageio.v3 as iio
import numpy as np
from PIL import Image

from pictures.feature_maps import FRAME_INCHES, draw_dots
from pictures.figure import glyphs_may_miss, new_figure, own_style
from process.errors import check_signals

FRAME_MS, LAST_FRAME_MS = 300, 2000


@own_style
def gif(frames, num_classes, feature_size, identity=None, names=None):
    """Draw feature maps on one scale, and join them into a GIF that runs for ever.

    Parameters
    ----------
    frames : list of (Dots, str)
        Each with its title.
    num_classes, feature_size : int
    identity, names
        As for `feature_map`.

    Returns
    -------
    bytes
        Of 640 x 640 pixels.
    """
    places = np.concatenate([part for dots, _ in frames for part in (dots.points, dots.centers)])
    (left, bottom), (right, top) = places.min(axis=0), places.max(axis=0)
    images = []
    for dots, title in frames:
        check_signals()
        figure = new_figure(FRAME_INCHES, FRAME_INCHES)
        axes = figure.add_subplot()
        draw_dots(axes, dots, num_classes, title, feature_size, names)
        axes.update_datalim([(left, bottom), (right, top)])
        axes.autoscale_view()
        with glyphs_may_miss():
            figure.canvas.draw()
        image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
        # 32 colours look the same, and save two fifths of a GIF.
        few = image.quantize(32, method=Image.Quantize.FASTOCTREE)
        images.append(np.asarray(few.convert("RGB")))
    duration = [FRAME_MS] * (len(images) - 1) + [LAST_FRAME_MS]
    if len(images) == 1:
        duration = LAST_FRAME_MS  # Pillow takes no list for a single frame
    return iio.imwrite(
        "<bytes>", images, extension=".gif", plugin="pillow", duration=duration, loop=0,
        comment=(identity or "").encode(),
    )  # fmt: skip
