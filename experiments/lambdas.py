"""Draw what the weight of the center loss does to the features, as Figure 3 of Wen et al., "A
Discriminative Feature Learning Approach for Deep Face Recognition" (ECCV 2016), does.

`python -m experiments.lambdas` takes flags of a training by `main.py`, and trains a LeNet by
softmax loss and the paper's center loss, whose weight lambda is 0.001, 0.01, 0.1 and 1. The runs
are called `<prefix>-lmbd-0.001` and so on; what is finished already is not trained again, and what
was interrupted goes on. `<prefix>-lmbd.png` in --out_dir has the training set's features in the
last epoch of each. In the table stands how tight they are, beside the accuracies on the test set.
"""

import sys

import main
from experiments import answer, run_main
from support.errors import UserError
from support.startup import prepare_matplotlib, prepare_mxnet

LAMBDAS = (0.001, 0.01, 0.1, 1)
FLAGS = ("--train", "--center_loss", "--formulation", "paper", "--model", "lenet", "--plotting")


def draw(flags):
    """Train what is not trained yet, and draw it; returns the table."""
    args = main.parse([*FLAGS, *flags])
    if "lmbd" in args.given:
        raise UserError("the weights are chosen here: leave --lmbd away")
    prefixes = [f"{args.prefix}-lmbd-{lmbd}" for lmbd in LAMBDAS]
    for lmbd, prefix in zip(LAMBDAS, prefixes):
        run_main(*FLAGS, *flags, "--lmbd", lmbd, "--prefix", prefix, "--resume")
    prepare_mxnet()
    prepare_matplotlib()
    import numpy as np

    import plotting
    from support.files import write_atomically
    from support.runs import Run
    from utils import tightness

    lines = ["| lmbd | class prediction | KNN search | tightness |", "| --- " * 4 + "|"]
    panels = []
    for lmbd, prefix in zip(LAMBDAS, prefixes):
        run = Run(prefix, args.ckpt_dir, args.out_dir)
        record = run.read_record()
        last = record.history[-1]
        picture = run.picture(f"train-epoch-{last.epoch}.png")
        try:
            dots = plotting.read_dots(picture)
        except (OSError, ValueError) as error:
            raise UserError(f"{picture} cannot be read ({error}): train {prefix} again") from error
        places = np.searchsorted(record.dataset["classes"], dots.labels)
        tight = tightness(dots.points, places, dots.centers)
        panels.append((dots, record.recipe.num_classes, f"λ = {lmbd}"))
        cells = (lmbd, f"{last.test_softmax:.4f}", f"{last.test_knn:.4f}", f"{tight:.4f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    path = Run(args.prefix, args.ckpt_dir, args.out_dir).picture("lmbd.png")
    write_atomically(path, plotting.grid(panels))
    return "\n".join([*lines, f"Picture: {path}"])


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(print(__doc__))
    answer("lambdas", draw, sys.argv[1:])
