"""Draw what the weight of the center loss does to the features, as Figure 3 of Wen et al., "A
Discriminative Feature Learning Approach for Deep Face Recognition" (ECCV 2016), does.

`python -m experiments.lambdas` takes flags of a training by `main.py`, and trains a LeNet by
softmax loss and the paper's center loss, whose weight lambda is 0.001, 0.01, 0.1 and 1. The runs
are called `<prefix>-lmbd-0.001` and so on; what is finished already is not trained again, and what
was interrupted goes on. `<prefix>-lmbd.png` in --out_dir has the training set's features in the
last epoch of each, 10,000 at most. In the table stands how tight these are, beside the accuracies
on the test set.
"""

import main
from experiments import answer_flags, read_alike, run_main
from process.console import table
from process.errors import UserError
from process.startup import prepare_mxnet

LAMBDAS = (0.001, 0.01, 0.1, 1)
FLAGS = ("--train", "--center_loss", "--formulation", "paper", "--model", "lenet", "--plotting")


def draw(flags):
    """Train what is not trained yet, and draw it; returns the table."""
    args = main.parse([*FLAGS, *flags])
    if "lmbd" in args.given:
        raise UserError("the weights are chosen here: leave --lmbd out")
    if args.given.get("feature_size", 2) != 2:
        raise UserError("the picture is of two features: leave --feature_size out")
    prefixes = [prefix_of(args.prefix, lmbd) for lmbd in LAMBDAS]
    for lmbd, prefix in zip(LAMBDAS, prefixes):
        run_main(*FLAGS, *flags, "--lmbd", lmbd, f"--prefix={prefix}", "--resume")
    prepare_mxnet()
    import numpy as np

    from pictures.drawn import read_drawn
    from process.files import write_atomically
    from runs.run import Run
    from utils import tightness

    runs = [Run(prefix, args.ckpt_dir, args.out_dir) for prefix in prefixes]
    rows, panels = [], []
    for lmbd, run, record in zip(LAMBDAS, runs, read_alike(runs, "lmbd")):
        last = record.history[-1]
        drawn = read_drawn(run, record)
        if last.epoch not in drawn:
            advice = f"remove {run.picture('history.csv')}, and the same command draws it again"
            raise UserError(f"{run.folder} has nothing of epoch {last.epoch}: {advice}")
        dots = drawn[last.epoch]["train"]
        tight = tightness(dots.points, np.searchsorted(dots.classes, dots.labels), dots.centers)
        panels.append((dots, f"λ = {lmbd}"))
        rows.append((lmbd, f"{last.test_softmax:.4f}", f"{last.test_knn:.4f}", f"{tight:.4f}"))
    path = Run(args.prefix, args.ckpt_dir, args.out_dir).picture("lmbd.png")
    write_atomically(path, grid(panels))
    header = ("lmbd", "class prediction", "KNN search", "tightness")
    return f"{table(header, rows)}\nPicture: {path}"


def grid(panels):
    """Draw feature maps, each Dots with a title, two in a row, on scales of their own: a PNG."""
    from pictures.feature_maps import FRAME_INCHES, draw_dots
    from pictures.figure import new_figure, own_style, to_bytes

    def drawn():
        rows = -(-len(panels) // 2)
        figure = new_figure(FRAME_INCHES * 2, FRAME_INCHES * rows)
        for axes, (dots, title) in zip(figure.subplots(rows, 2).ravel(), panels):
            draw_dots(axes, dots, title)
        return to_bytes(figure)

    return own_style(drawn)()


def prefix_of(prefix, lmbd):
    """The prefix of the run with a weight."""
    return f"{prefix}-lmbd-{lmbd}"


if __name__ == "__main__":
    answer_flags("lambdas", __doc__, draw)
