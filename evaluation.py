"""The actions that evaluate trained runs: test one, or compare several."""

import time
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

import plotting
from data import SPLITS, choose_dataset, load_dataset, refuse_trained_images
from support.console import say
from support.files import make_folder, write_atomically
from support.network import build, build_center_loss, centers_of, choose_contexts, restore
from support.recipe import EVAL_METHODS, Recipe
from support.runs import Run, find_run, open_run
from utils import evaluate, tightness


def test(args):
    """Evaluate the best network of a run on the test set, and print its accuracy.

    Parameters
    ----------
    args : argparse.Namespace
        All flags, as `main.parse` gives them.

    Raises
    ------
    UserError
        Anything that the user can mend.
    """
    method = args.given.get("eval_method", Recipe.eval_method)
    knn = method == "knn"
    run = find_run(args.prefix, args.ckpt_dir, args.out_dir)
    trained = open_run(run, args.given, needs_centers_for="--eval_method knn" if knn else None)
    (ctx, *_) = choose_contexts(args.use_gpu, args.gpus)
    chosen = choose_dataset(args.dataset, args.data_dir, trained.record)
    dataset = load_dataset(chosen, args.data_dir, trained.network)
    refuse_trained_images(trained.record, dataset)
    net, centers = restored(trained, dataset, ctx)
    began = time.time()
    accuracy, features = evaluate(net, centers if knn else None, dataset.test, ctx, trained.classes)
    seconds = time.time() - began
    words = EVAL_METHODS[method]
    say(f"{run.best} on {dataset.name}, by {words}")
    say(f"Test_acc: {accuracy[method]:.4f}, Elapsed_time: {seconds:.6f} s")
    if args.given.get("plotting"):
        picture = plotting.feature_map(
            features, dataset.test.labels, trained.network.num_classes,
            f"{run.prefix}\n{dataset.name}, test set: accuracy {accuracy[method]:.4f} ({words})",
            centers=centers, names=dataset.names,
        )  # fmt: skip
        path = Run(run.prefix, args.ckpt_dir, args.out_dir).picture("test.png")
        make_folder(path.parent)
        write_atomically(path, picture)
        say(f"Feature map: {path}")


def compare(args):
    """Evaluate runs on both sets by both methods, print tables, and draw their feature maps.

    Parameters
    ----------
    args : argparse.Namespace
        All flags; `compare` has the prefixes of the runs.

    Raises
    ------
    UserError
        Anything that the user can mend.
    """
    runs = [find_run(prefix, args.ckpt_dir, args.out_dir) for prefix in args.compare]
    opened = [open_run(run, args.given) for run in runs]
    out_dir = Path(args.out_dir)
    make_folder(out_dir)
    (ctx, *_) = choose_contexts(args.use_gpu, args.gpus)
    smallest = min((trained.network for trained in opened), key=lambda one: one.num_classes)
    records = [trained.record for trained in opened]
    chosen = choose_dataset(args.dataset, args.data_dir, *records)
    dataset = load_dataset(chosen, args.data_dir, smallest)
    rows = {name: [] for name in SPLITS}
    for trained in opened:
        refuse_trained_images(trained.record, dataset)
        net, centers = restored(trained, dataset, ctx)
        for name in SPLITS:
            split = getattr(dataset, name)
            accuracy, features = evaluate(net, centers, split, ctx, trained.classes)
            rows[name].append(Row.of(trained, dataset, name, accuracy, features, centers))
    for name, called in SPLITS.items():
        labels = getattr(dataset, name).labels
        panels = [
            (
                row.features,
                labels,
                row.num_classes,
                f"{row.prefix}: {dataset.name}, {called} set, accuracy {row.softmax:.4f}"
                + f" ({EVAL_METHODS['softmax']})"
                + (f", {row.knn:.4f} ({EVAL_METHODS['knn']})" if row.knn is not None else ""),
            )
            for row in rows[name]
        ]
        path = out_dir / f"{name}_feature_map_with_different_loss.jpg"
        write_atomically(path, plotting.stacked_feature_maps(panels, dataset.names))
        say(f"{dataset.name}, {called} set ({path}):\n\n{markdown(rows[name])}\n")


def restored(trained, dataset, ctx):
    """The network of a run, and its centers if it has any."""
    trained.check_data(dataset)
    net = build(trained.network, dataset.train.images.shape[1:], [ctx])
    center_loss = build_center_loss(trained.network, [ctx]) if trained.centers else None
    restore(trained, net, center_loss)
    return net, centers_of(center_loss)


class Row(NamedTuple):
    """A run on one set: accuracies of its best and of its last epoch, and its best features."""

    prefix: str
    num_classes: int
    softmax: float
    knn: Optional[float]
    best: Optional[int]
    last_softmax: Optional[float]
    last_knn: Optional[float]
    last: Optional[int]
    tightness: Optional[float]
    features: np.ndarray

    @classmethod
    def of(cls, trained, dataset, name, accuracy, features, centers):
        """The row of a run on the set `name` of `dataset`."""
        record, labels = trained.record, getattr(dataset, name).labels
        last = record.history[-1] if record and record.same_data(dataset) else None
        return cls(
            prefix=trained.run.prefix,
            num_classes=trained.network.num_classes,
            softmax=accuracy["softmax"],
            knn=accuracy.get("knn"),
            best=record and record.best["epoch"],
            last_softmax=last and last.accuracy(name, "softmax"),
            last_knn=last and last.accuracy(name, "knn"),
            last=last and last.epoch,
            tightness=None if centers is None else tightness(features, labels, centers),
            features=features,
        )


def markdown(rows):
    """The table of the runs on one set."""
    lines = [
        "| run | class prediction | KNN search | best epoch | class prediction, last epoch "
        "| KNN search, last epoch | last epoch | tightness |",
        "| :--: " * 8 + "|",
    ]
    for row in rows:
        cells = [row.prefix, *map(cell, row[2:-1])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(value):
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
