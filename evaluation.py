"""The actions that evaluate trained runs: test one, or compare several."""

import csv
import io
import time
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from sklearn.metrics import confusion_matrix

from data import SPLITS, choose_dataset, load_dataset, refuse_trained_images
from inference.predict import tell_unknown
from learner import choose_contexts, restored
from pictures.feature_maps import Dots, feature_map, stacked_feature_maps
from process.console import say, table
from process.files import make_folder, write_atomically
from recipe import EVAL_METHODS, Recipe
from runs.run import Run
from runs.trained import find_run, open_run
from utils import accuracies, predict, tightness

MOST_PRINTED = 21  # lines of a table of classes
MOST_COUNTED = 1000  # classes of which all pairs are counted
TEST_FILES = {"png": "Feature map", "csv": "Classes", "html": "To explore the test images"}


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
    trained.check_data(dataset)
    net, centers = restored(trained, dataset.shape, ctx)
    began = time.time()
    answers = predict(net, centers, dataset.test.images, ctx, trained.classes)
    accuracy = accuracies(answers, dataset.test.labels)
    seconds = time.time() - began
    words = EVAL_METHODS[method]
    say(f"{run.best} on {dataset.name}, by {words}")
    say(f"Test_acc: {accuracy[method]:.4f}, Elapsed_time: {seconds:.6f} s")
    labels = dataset.test.labels
    table = confusion(labels, answers.nearest if knn else answers.predicted, dataset.names)
    if len(table) <= MOST_PRINTED:
        say(f"Classes of the images, and what was found:\n\n{aligned(table)}\n")
    elif not args.given.get("plotting"):
        say(f"{len(table) - 1} classes: with --plotting a table says which are confused")
    if args.unknown:
        say(tell_unknown(args.unknown, trained, net, centers, ctx, answers, args.reject))
    if args.given.get("plotting"):
        title = f"{dataset.name}, test set: accuracy {accuracy[method]:.4f} ({words})"
        files = {**draw(trained, dataset, answers, centers, title), "csv": as_csv(table)}
        make_folder(Path(args.out_dir))
        for kind, content in files.items():
            path = Run(run.prefix, args.ckpt_dir, args.out_dir).picture(f"test.{kind}")
            write_atomically(path, content)
            say(f"{TEST_FILES[kind]}: {path}")


def draw(trained, dataset, answers, centers, title):
    """The feature map of the test set, as a picture and as a page: a dict of bytes."""
    from pictures.page import page  # bokeh takes a second to import

    prefix, (images, labels) = trained.run.prefix, dataset.test
    num_classes, names = trained.network.num_classes, dataset.names
    picture = feature_map(
        answers.features, labels, num_classes, f"{prefix}\n{title}", centers=centers, names=names
    )
    dots, _ = Dots.of(answers.features, labels, centers)
    distances = None
    if centers is not None:
        own = np.linalg.norm(answers.features.astype(np.float64) - centers[labels], axis=1)
        distances = np.stack([answers.distance, own], axis=1)
    to_explore = page(
        dots.points, images, labels, answers.predicted, answers.nearest, distances,
        names or list(map(str, range(num_classes))), f"{prefix}: {title}",
    )  # fmt: skip
    return {"png": picture, "html": to_explore}


def confusion(labels, found, names):
    """How often images of each class were taken for each, and how often rightly.

    Parameters
    ----------
    labels, found : (N,) int
    names : list of str or None
        Of the classes; None where they are numbers.

    Returns
    -------
    list of list of str
        A row for each class that is there, below one that says what the columns are: all classes,
        unless they are too many, and the accuracy.
    """
    classes = np.union1d(labels, found)
    called = [names[j] if names else str(j) for j in classes]
    if len(classes) <= MOST_COUNTED:
        counts = confusion_matrix(labels, found, labels=classes)
        rows = [["class", *called]] + [[name, *map(str, row)] for name, row in zip(called, counts)]
    else:
        rows = [["class"]] + [[name] for name in called]
    images, right = (np.bincount(np.searchsorted(classes, one), minlength=len(classes))
                     for one in (labels, labels[labels == found]))  # fmt: skip
    shares = [f"{a / b:.4f}" if b else "-" for a, b in zip(right, images)]
    return [[*row, last] for row, last in zip(rows, ["accuracy", *shares])]


def aligned(rows):
    """Rows as text, each column as wide as it must be."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(" ".join(map(str.rjust, row, widths)) for row in rows)


def as_csv(rows):
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


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
        trained.check_data(dataset)
        net, centers = restored(trained, dataset.shape, ctx)
        for name in SPLITS:
            split = getattr(dataset, name)
            answers = predict(net, centers, split.images, ctx, trained.classes)
            rows[name].append(Row.of(trained, dataset, name, answers, centers))
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
        write_atomically(path, stacked_feature_maps(panels, dataset.names))
        say(f"{dataset.name}, {called} set ({path}):\n\n{markdown(rows[name])}\n")


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
    def of(cls, trained, dataset, name, answers, centers):
        """The row of a run on the set `name` of `dataset`."""
        record, labels = trained.record, getattr(dataset, name).labels
        features, accuracy = answers.features, accuracies(answers, labels)
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
    header = (
        *("run", "class prediction", "KNN search", "best epoch"),
        *("class prediction, last epoch", "KNN search, last epoch", "last epoch", "tightness"),
    )
    return table(header, [[row.prefix, *map(cell, row[2:-1])] for row in rows])


def cell(value):
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
