"""Draw what the weight of the center loss does to the features, as Figure 3 of Wen et al., "A
Discriminative Feature Learning Approach for Deep Face Recognition" (ECCV 2016), does.

`python -m experiments.lambdas` takes flags of a training by `main.py`, and trains it with each
weight lambda of 0, 0.04, 0.4 and 1, and with the seeds 0 to 2. The runs are called
`<prefix>-lmbd-0`, `<prefix>-lmbd-0-seed-1` and so on; the weight that the flags have is `<prefix>`
itself. What is finished already is not trained again, and what was interrupted goes on.
`<prefix>-lmbd.png` in --out_dir has the training set's features in the last epoch of seed 0, 10,000
at most, and below them the accuracies and the spread on the test set, with the standard deviation
over the seeds.
"""

import statistics

import main
from experiments import answer_flags, read_alike, run_main, seeds
from process.console import table
from process.errors import UserError
from process.startup import prepare_mxnet
from recipe import Recipe

LAMBDAS = (0, 0.04, 0.4, 1)
SEEDS = 3
FLAGS = ("--train", "--center_loss", "--plotting")
COLUMNS = {  # fields of an `Epoch`
    "test_softmax": "class prediction",
    "test_knn": "KNN search",
    "test_spread": "spread",
}


def draw(flags):
    """Train what is not trained yet, and draw it; returns the table."""
    args = main.parse([*FLAGS, *flags])
    if args.given.get("feature_size", 2) != 2:
        raise UserError("the picture is of two features: leave --feature_size out")
    if "seed" in args.given:
        raise UserError("the seeds are chosen here: leave --seed out")
    for lmbd, prefixes in prefixes_of(args).items():
        for seed, prefix in enumerate(prefixes):
            own = ("--lmbd", lmbd, f"--prefix={prefix}", "--seed", seed)
            run_main(*FLAGS, *flags, *own, "--resume")
    prepare_mxnet()
    from pictures.drawn import read_drawn
    from process.files import write_atomically
    from runs.run import Run

    panels, values = [], []
    for lmbd, prefixes in prefixes_of(args).items():
        runs = [Run(prefix, args.ckpt_dir, args.out_dir) for prefix in prefixes]
        records = read_alike(runs, "seed")
        last = [record.history[-1] for record in records]
        drawn = read_drawn(runs[0], records[0])
        if last[0].epoch not in drawn:
            advice = f"remove {runs[0].picture('history.csv')}, and the same command draws it again"
            raise UserError(f"{runs[0].folder} has nothing of epoch {last[0].epoch}: {advice}")
        panels.append((drawn[last[0].epoch]["train"], f"λ = {lmbd}"))
        values.append({name: [getattr(epoch, name) for epoch in last] for name in COLUMNS})
    path = Run(args.prefix, args.ckpt_dir, args.out_dir).picture("lmbd.png")
    write_atomically(path, strip(panels, values))
    rows = [(lmbd, *map(seeds.spread_of, each.values())) for lmbd, each in zip(LAMBDAS, values)]
    return f"{table(('lmbd', *COLUMNS.values()), rows)}\nPicture: {path}"


def prefixes_of(args):
    """The runs of each weight, a list with one a seed."""
    own = args.given.get("lmbd", Recipe.lmbd)
    names = {lmbd: args.prefix + f"-lmbd-{lmbd}" * (lmbd != own) for lmbd in LAMBDAS}
    return {
        lmbd: [seeds.prefix_of(name, seed) for seed in range(SEEDS)] for lmbd, name in names.items()
    }


def strip(panels, values):
    """Draw feature maps, each Dots with a title, on scales of their own and on one scale, and below
    them what `values` has of each: lists by the names of `COLUMNS`. It is a PNG."""
    import numpy as np

    from pictures.feature_maps import class_colors, draw_dots
    from pictures.figure import new_figure, own_style, to_bytes

    def drawn():
        figure = new_figure(4 * len(panels), 11)
        maps, plots = figure.subfigures(2, 1, height_ratios=(8, 3))
        above, below = maps.subplots(2, len(panels))
        reach = 1.05 * max(np.abs(dots.points).max() for dots, _ in panels)
        for own, alike, (dots, title) in zip(above, below, panels):
            draw_dots(own, dots, title)
            alike.scatter(*dots.points.T, s=1, c=class_colors(10)[dots.labels])
            alike.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            alike.set_xlabel("the same, all on one scale")
        titles = [title for _, title in panels]
        left, right = plots.subplots(1, 2)
        lines = zip(COLUMNS.items(), (left, left, right), ("k-o", "k--s", "k-o"))
        for (name, column), axes, line in lines:
            means, deviations = (
                [of(each[name]) for each in values] for of in (statistics.mean, statistics.stdev)
            )
            axes.errorbar(
                titles, means, deviations, fmt=line, markersize=4, capsize=3, label=column
            )
            axes.grid(color="0.9", linewidth=0.5)
        left.set(ylabel="accuracy on the test set")
        left.legend(fontsize=8)
        right.set(ylabel="spread on the test set", ylim=(0, None))
        return to_bytes(figure)

    return own_style(drawn)()


if __name__ == "__main__":
    answer_flags("lambdas", __doc__, draw)
