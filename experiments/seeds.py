"""Train a run with several seeds, to see how much of its accuracy is chance.

`python -m experiments.seeds SEEDS` takes the flags of a training by `main.py`, and trains with the
seeds 0 to SEEDS - 1, one after the other. The first run has the very prefix, and is what `main.py`
trains; the others have `-seed-1` and so on after it. What is finished already is not trained again,
and what was interrupted goes on. The table has the mean and the standard deviation (that of a
sample, divided by SEEDS - 1) of the accuracies, first in the last epoch of each seed, then in its
best one. `--control`, which comes before SEEDS, names one of `experiments.controls`.
"""

import argparse
import statistics

import main
from datasets.dataset import SPLITS
from experiments import answer, read_alike, run_main
from experiments.controls import CHANGES, SUFFIXES
from process.arguments import whole
from process.console import table
from process.errors import UserError
from process.startup import prepare_mxnet
from recipe import EVAL_METHODS

HEAD = ("run", "seeds", "epoch")
ACCURACIES = {
    f"{method.column}, {SPLITS[split]} set": (split, name)
    for split in ("test", "train")
    for name, method in EVAL_METHODS.items()
}


def prefix_of(prefix, seed):
    """The prefix of the run with a seed."""
    return f"{prefix}-seed-{seed}" if seed else prefix


def train(seeds, flags, control=None):
    """Train what is not trained yet; returns the table."""
    args = main.parse(flags)
    if not (args.train or args.second_train):
        raise UserError("a run can only be trained by --train or --second_train")
    if "seed" in args.given:
        raise UserError("the seeds are chosen here: leave --seed out")
    prefixes = [prefix_of(args.prefix, seed) for seed in range(seeds)]
    for seed, prefix in enumerate(prefixes):
        run_main(*flags, f"--prefix={prefix}", "--seed", seed, "--resume", control=control)
    prepare_mxnet()
    from runs.run import Run

    rows = []
    for asked, suffix in ((args.train, ""), (args.second_train, SUFFIXES.get(control, "-second"))):
        if asked:
            runs = [Run(f"{prefix}{suffix}", args.ckpt_dir, args.out_dir) for prefix in prefixes]
            rows.extend(rows_of(read_alike(runs, "seed")))
    return table((*HEAD, *ACCURACIES), rows)


def rows_of(records):
    """The rows of a run with several seeds: of its last epoch, and of the best one of each seed."""
    last = [record.history[-1] for record in records]
    best = [record.history[record.best.epoch] for record in records]
    for numbers, epochs in (
        (str(last[0].epoch), last),
        (", ".join(str(epoch.epoch) for epoch in best), best),
    ):
        spreads = (
            spread_of([epoch.accuracy(*which) for epoch in epochs]) for which in ACCURACIES.values()
        )
        yield [records[0].prefix, len(records), numbers, *spreads]


def spread_of(values):
    """The mean and, of several values, the standard deviation, as text."""
    if None in values:
        return "-"
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.seeds", description=__doc__)
    parser.add_argument("seeds", type=whole(1, 1000))
    parser.add_argument("--control", choices=CHANGES)
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="those of main.py")
    args = parser.parse_args()
    answer("seeds", train, args.seeds, args.flags, args.control)
