"""The actions that evaluate trained runs: test one, or compare several."""

import argparse
import time
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

import plotting
from data import SPLITS, load_dataset
from runs import make_folder, write_atomically
from utils import (
    build,
    centers_of,
    choose_contexts,
    evaluate,
    load_params,
    open_run,
    same_data,
    warn_of_other_data,
)


def test(args, given):
    """Evaluate the best network of a run on the test set, and print its accuracy.

    Parameters
    ----------
    args : argparse.Namespace
        All flags.
    given : set of str
        Those that the user gave.

    Raises
    ------
    UserError
        Anything that the user can mend.
    """
    knn = args.eval_method == "knn"
    needed = "--eval_method knn" if knn else None
    args, record, params = open_run(args, given, needs_centers_for=needed)
    contexts = choose_contexts(args.use_gpu, args.gpus)
    dataset = load_dataset(args.dataset, args.data_dir, args.num_classes)
    net, centers = restore(args, record, params, dataset, contexts[0])
    began = time.time()
    accuracy, _ = evaluate(net, centers if knn else None, dataset.test, contexts[0])
    seconds = time.time() - began
    print(f"{next(iter(params))} on {dataset.name}, by {args.eval_method}")
    print(f"Test_acc: {accuracy[args.eval_method]:.4f}, Elapsed_time: {seconds:.6f} s")


def compare(args, given):
    """Evaluate runs on both sets by both methods, print tables, and draw their feature maps.

    Parameters
    ----------
    args : argparse.Namespace
        All flags; `compare` has the prefixes of the runs.
    given : set of str
        Those that the user gave.

    Raises
    ------
    UserError
        Anything that the user can mend.
    """
    opened = [
        open_run(argparse.Namespace(**{**vars(args), "prefix": prefix}), given)
        for prefix in args.compare
    ]
    out_dir = Path(args.out_dir)
    make_folder(out_dir)
    contexts = choose_contexts(args.use_gpu, args.gpus)
    num_classes = min(run_args.num_classes for run_args, _, _ in opened)
    dataset = load_dataset(args.dataset, args.data_dir, num_classes)
    rows = {name: [] for name in SPLITS}
    for run_args, record, params in opened:
        net, centers = restore(run_args, record, params, dataset, contexts[0])
        for name in SPLITS:
            split = getattr(dataset, name)
            accuracy, features = evaluate(net, centers, split, contexts[0])
            last = record["history"][-1] if same_data(record, dataset) else {}
            rows[name].append(
                Row(
                    run_args,
                    record["best"]["epoch"] if record else None,
                    accuracy["softmax"],
                    accuracy.get("knn"),
                    last.get("epoch"),
                    last.get(f"{name}_softmax"),
                    last.get(f"{name}_knn"),
                    None if centers is None else tightness(features, split.labels, centers),
                    features,
                )
            )
    for name, called in SPLITS.items():
        labels = getattr(dataset, name).labels
        panels = [
            (
                row.features,
                labels,
                row.args.num_classes,
                f"{row.args.prefix}: {dataset.name}, {called} set, accuracy {row.softmax:.4f}"
                + (f" (softmax), {row.knn:.4f} (knn)" if row.knn is not None else " (softmax)"),
            )
            for row in rows[name]
        ]
        path = out_dir / f"{name}_feature_map_with_different_loss.jpg"
        write_atomically(path, plotting.stacked_feature_maps(panels))
        print(f"{dataset.name}, {called} set ({path}):\n\n{markdown(rows[name])}\n")


def restore(args, record, params, dataset, ctx):
    """Make the network and the centers, if any, of what `open_run` read."""
    warn_of_other_data(record, dataset)
    net, center_loss = build(args, dataset, [ctx], centered=len(params) > 1)
    load_params(params, net, center_loss)
    return net, centers_of(center_loss)


class Row(NamedTuple):
    """A run on one set: accuracies of its best and of its last epoch, and its best features."""

    args: argparse.Namespace
    best: Optional[int]
    softmax: float
    knn: Optional[float]
    last: Optional[int]
    last_softmax: Optional[float]
    last_knn: Optional[float]
    tightness: Optional[float]
    features: np.ndarray


def markdown(rows):
    """The table of the runs on one set."""
    lines = [
        "| run | class prediction | KNN search | best epoch | class prediction, last epoch "
        "| KNN search, last epoch | last epoch | tightness |",
        "| :--: " * 8 + "|",
    ]
    for row in rows:
        numbers = (row.softmax, row.knn, row.best, row.last_softmax, row.last_knn, row.last)
        cells = [row.args.prefix, *map(cell, numbers), cell(row.tightness)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(value):
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def tightness(features, labels, centers):
    """How tight the clusters are: below 1/2 a typical feature is nearest to its own center.

    Parameters
    ----------
    features : (N, d) float
    labels : (N,) int
    centers : (C, d) float

    Returns
    -------
    float
        The mean distance to the own center over the smallest distance between two centers, of
        the classes that `labels` has.
    """
    features, centers = features.astype(np.float64), centers.astype(np.float64)
    own = np.linalg.norm(features - centers[labels], axis=1).mean()
    present = centers[np.unique(labels)]
    gaps = [
        np.linalg.norm(present[i + 1 :] - center, axis=1).min()
        for i, center in enumerate(present[:-1])
    ]
    smallest = min(gaps, default=0.0)
    return float(own / smallest) if smallest else float("inf")
