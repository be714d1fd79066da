"""How much of the difference between two runs is chance.

`python -m experiments.difference A B` pairs the runs A and B of each seed, as `experiments.seeds`
names them: of one seed, both start from the same weights and see the images in the same order. It
prints by how much B is more accurate than A on the test set, in the last epoch: the mean over the
seeds, and its 95 % confidence interval by Student's t. `--ckpt_dir shipped` takes what is shipped.
"""

import argparse

import numpy as np

from experiments import answer
from experiments.controls import SUFFIXES
from experiments.seeds import prefix_of
from process import arguments
from process.console import table
from process.errors import UserError
from process.startup import prepare_mxnet
from recipe import EVAL_METHODS


def compare(args):
    """The table; raises UserError where a run is not there."""
    prepare_mxnet()
    from runs.run import Run

    def last(prefix, seed):
        suffix = next((end for end in ("-second", *SUFFIXES.values()) if prefix.endswith(end)), "")
        name = prefix_of(prefix[: len(prefix) - len(suffix)], seed) + suffix
        record = Run(name, args.ckpt_dir, "output").read_record()
        if record is None:
            raise UserError(f"{name} is not there: python -m experiments.seeds trains it")
        return record.history[-1]

    rows = []
    for method, words in EVAL_METHODS.items():
        pairs = [
            [last(prefix, seed).accuracy("test", method) for prefix in (args.a, args.b)]
            for seed in range(args.seeds)
        ]
        if not any(None in pair for pair in pairs):
            rows.append((words.column, *interval(np.diff(pairs)[:, 0])))
    return table((f"{args.b} - {args.a}, {args.seeds} seeds", "mean", "from", "to"), rows)


def interval(differences):
    """The mean, and its 95 % confidence interval by Student's t, as text."""
    from scipy.stats import sem, t

    mean = differences.mean()
    reach = t.ppf(0.975, len(differences) - 1) * sem(differences)
    return [f"{value:.4f}" for value in (mean, mean - reach, mean + reach)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.difference", description=__doc__)
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--seeds", type=arguments.whole(2, 1000), default=3)
    parser.add_argument("--ckpt_dir", type=arguments.path, default="ckpt")
    answer("difference", compare, parser.parse_args())
