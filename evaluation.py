"""The actions that evaluate trained runs: test one, or compare several."""

import time
from typing import Dict, NamedTuple, Optional

import numpy as np

from datasets.dataset import SPLITS
from inference.confusion import confusion
from inference.unknown import tell_unknown
from pictures.feature_maps import stacked_feature_maps
from pictures.test_set import draw_test_set
from process.console import aligned, as_csv, say, table
from process.files import make_folder, write_together
from recipe import EVAL_METHODS
from utils import accuracies, tightness

MAX_PRINTED = 21  # lines of a table of classes
TEST_FILES = {"png": "Feature map", "csv": "Classes", "html": "To explore the test images"}


def test(trained, dataset, ctx, method, plotting=False, unknown=None, share=None):
    """Evaluate the best network of a run on the test set, and print its accuracy.

    Parameters
    ----------
    trained : runs.trained.Trained
    dataset : datasets.dataset.Dataset
    ctx : mxnet.Context
    method : str
        One of `recipe.EVAL_METHODS`.
    plotting : bool
        Whether to draw the features, as a picture and as a page to explore.
    unknown : str, optional
        Images that belong to no class, to be told from the test images.
    share : float, optional
        The share of the test images that may be refused with them.

    Raises
    ------
    UserError
        Anything that the user can mend.
    """
    run, words = trained.run, EVAL_METHODS[method].words
    loaded = trained.on(ctx, dataset.shape)
    began = time.perf_counter()
    answers = loaded.answer(dataset.test.images)
    accuracy = accuracies(answers, dataset.test.labels)
    seconds = time.perf_counter() - began
    say(f"{run.best} on {dataset.name}, by {words}")
    say(f"Test_acc: {accuracy[method]:.4f}, Elapsed_time: {seconds:.6f} s")
    rows = confusion(dataset.test.labels, answers.found[method], dataset.names)
    if len(rows) <= MAX_PRINTED:
        say(f"Classes of the images, and what was found:\n\n{aligned(rows)}\n")
    elif not plotting:
        say(f"{len(rows) - 1} classes: with --plotting a table says which are confused")
    if unknown:
        say(tell_unknown(unknown, trained, loaded, answers, share))
    if plotting:
        title = f"{dataset.name}, test set: accuracy {accuracy[method]:.4f} ({words})"
        files = draw_test_set(trained, dataset, answers, loaded.centers, title, words)
        files["csv"] = as_csv(rows).encode()
        make_folder(run.out_dir)
        paths = {kind: run.picture(f"test.{kind}") for kind in files}
        write_together({paths[kind]: content for kind, content in files.items()})
        for kind, path in paths.items():
            say(f"{TEST_FILES[kind]}: {path}")


def compare(trained, dataset, ctx, out_dir):
    """Evaluate runs on both sets by every method, print tables, and draw their feature maps.

    Parameters
    ----------
    trained : list of runs.trained.Trained
    dataset : datasets.dataset.Dataset
    ctx : mxnet.Context
    out_dir : Path
        Where the pictures go.

    Raises
    ------
    UserError
        Anything that the user can mend.
    """
    rows = {split: [] for split in SPLITS}
    for each in trained:
        loaded = each.on(ctx, dataset.shape)
        for split in SPLITS:
            answers = loaded.answer(getattr(dataset, split).images)
            rows[split].append(Row.of(each, dataset, split, answers, loaded.centers))
    pictures, texts = {}, []
    for split, words in SPLITS.items():
        labels = getattr(dataset, split).labels
        panels = [
            (row.features, labels, row.num_classes, row.title(f"{dataset.name}, {words} set"))
            for row in rows[split]
        ]
        path = out_dir / f"{split}_feature_map_with_different_loss.jpg"
        pictures[path] = stacked_feature_maps(panels, dataset.names)
        texts.append(f"{dataset.name}, {words} set ({path}):\n\n{markdown(rows[split])}\n")
    write_together(pictures)
    say("\n".join(texts))


class Row(NamedTuple):
    """A run on one set: accuracies, by method, of its best and of its last epoch, None where they
    are unknown; and its best features."""

    prefix: str
    num_classes: int
    best: Dict[str, Optional[float]]
    best_epoch: Optional[int]
    last: Dict[str, Optional[float]]
    last_epoch: Optional[int]
    tightness: Optional[float]
    features: np.ndarray

    @classmethod
    def of(cls, trained, dataset, split, answers, centers):
        """The row of a run on one of `SPLITS`."""
        record, labels = trained.record, getattr(dataset, split).labels
        accuracy = accuracies(answers, labels)
        last = record.history[-1] if record and record.same_data(dataset) else None
        return cls(
            prefix=trained.run.prefix,
            num_classes=trained.network.num_classes,
            best={method: accuracy.get(method) for method in EVAL_METHODS},
            best_epoch=record and record.best.epoch,
            last={method: last and last.accuracy(split, method) for method in EVAL_METHODS},
            last_epoch=last and last.epoch,
            tightness=None if centers is None else tightness(answers.features, labels, centers),
            features=answers.features,
        )

    def title(self, where):
        """The title of the feature map."""
        known = {method: share for method, share in self.best.items() if share is not None}
        shares = [f"{share:.4f} ({EVAL_METHODS[method].words})" for method, share in known.items()]
        return f"{self.prefix}: {where}, accuracy {', '.join(shares)}"


def markdown(rows):
    """The table of the runs on one set."""
    columns = [method.column for method in EVAL_METHODS.values()]
    last = [f"{column}, last epoch" for column in columns]
    header = ("run", *columns, "best epoch", *last, "last epoch", "tightness")
    cells = [
        (*row.best.values(), row.best_epoch, *row.last.values(), row.last_epoch, row.tightness)
        for row in rows
    ]
    return table(header, [[row.prefix, *map(cell, each)] for row, each in zip(rows, cells)])


def cell(value):
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
