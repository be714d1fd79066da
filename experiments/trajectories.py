"""Draw the ways of the centers and of the means of their classes through the epochs of runs.

`python -m experiments.trajectories RUN ...` draws a panel for each run, which `main.py` trained
with --plotting and two features, as `trajectories.png` in --out_dir. A thin line with dots is the
way of a class's mean in the training set, an epoch a dot; a thick line that ends in a cross is that
of its center. The table says how near to the origin a class has come in the end: the smallest
distance of a class's mean from it over the mean of these distances, which is 1 on a perfect ring.
"""

import argparse
from pathlib import Path

from experiments import answer
from process import arguments
from process.console import table
from process.errors import UserError
from process.startup import prepare_mxnet


def draw(args):
    """Draw the runs; returns the table, and where the picture is."""
    prepare_mxnet()
    from process.files import write_atomically
    from runs.run import Run

    panels = {prefix: ways(Run(prefix, args.ckpt_dir, args.out_dir)) for prefix in args.runs}
    path = Path(args.out_dir, "trajectories.png")
    write_atomically(path, picture(panels))
    rows = [(prefix, f"{nearest_to_origin(epochs):.2f}") for prefix, epochs in panels.items()]
    return f"{table(('run', 'smallest / mean distance'), rows)}\nPicture: {path}"


def nearest_to_origin(epochs):
    """The smallest distance of a class's last mean from the origin over the mean distance."""
    import numpy as np

    distances = np.linalg.norm(epochs[-1, 1], axis=1)
    return distances.min() / distances.mean()


def ways(run):
    """The centers and the class means of a run, (epochs, 2, classes, 2) float."""
    import numpy as np

    from pictures.drawn import read_drawn

    record = run.read_record()
    if record is None or "center" not in record.recipe.losses or record.recipe.feature_size != 2:
        raise UserError(f"{run.prefix} is no run with centers and two features")
    drawn = [parts["train"] for parts in read_drawn(run, record).values()]
    if not drawn:
        raise UserError(f"{run.folder} has nothing of {run.prefix}: train with --plotting")
    return np.array([(dots.centers, dots.means) for dots in drawn])


def picture(panels):
    """A PNG of the `ways` of runs by their prefixes."""
    from pictures.feature_maps import class_colors
    from pictures.figure import new_figure, own_style, to_bytes

    def drawn():
        figure = new_figure(6.4 * len(panels), 6.4)
        for axes, (prefix, epochs) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items()
        ):
            for label, color in enumerate(class_colors(epochs.shape[2])):
                centers, means = epochs[:, 0, label].T, epochs[:, 1, label].T
                axes.plot(*means, ".-", color=color, linewidth=0.7, markersize=4)
                axes.plot(*centers, color=color, linewidth=3, alpha=0.6)
                axes.plot(*centers[:, -1:], "X", color=color, markersize=9, markeredgecolor="black")
                axes.annotate(str(label), means[:, -1], (6, 6), textcoords="offset points")
            axes.set_aspect("equal", adjustable="datalim")
            axes.set(title=prefix, xlabel="first feature", ylabel="second feature")
            axes.grid(color="0.9", linewidth=0.5)
        return to_bytes(figure)

    return own_style(drawn)()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.trajectories", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--ckpt_dir", type=arguments.path, default="ckpt")
    parser.add_argument("--out_dir", type=arguments.path, default="output")
    answer("trajectories", draw, parser.parse_args())
