"""The actions that evaluate trained runs: test one, or compare several."""

import time
from typing import Dict, NamedTuple, Union

import numpy as np

from datasets.dataset import SPLITS, is_uneven
from inference.confusion import confusion
from inference.unknown import tell_unknown
from pictures.album import side_by_side
from pictures.feature_maps import Dots, stacked_feature_maps
from pictures.regions import Panel, who_answers_what
from pictures.test_set import draw_test_set
from process.console import aligned, as_csv, say, table
from process.files import claim, write_together
from recipe import EVAL_METHODS
from utils import accuracies, shift, spread, tightness

MAX_PRINTED = 21  # lines of a table of classes
TEST_FILES = {  # what --test --plotting writes, in words
    "png": "Feature map", "csv": "Classes", "html": "To explore the test images",
    "features.csv": "Features, answers and distances as numbers",
}  # fmt: skip
STACKED = "{}_feature_map_with_different_loss.jpg"  # what --compare writes
REGIONS, SIDE_BY_SIDE = "who_answers_what.png", "side_by_side.gif"


def test(trained, dataset, ctx, method, plotting=False, unknown=None, reject=None):
    """Evaluate the best network of a run on the test set, and print its accuracy.

    Raises UserError where there is anything that the user can mend.

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
    reject : float, optional
        The fraction of the test images that may be refused with them.
    """
    run, words, labels = trained.run, EVAL_METHODS[method].words, dataset.test.labels
    if plotting:
        run.claim()
    loaded = trained.on(ctx, dataset.shape)
    began = time.perf_counter()
    answers = loaded.answer(dataset.test.images)
    accuracy = accuracies(answers, labels)
    seconds = time.perf_counter() - began
    say(f"{run.best_params} on {dataset.name}, by {words}")
    say(f"Test_acc: {accuracy[method]:.4f}, Elapsed_time: {seconds:.6f} s")
    found = answers.found[method]
    if is_uneven(dataset.train.labels) or is_uneven(labels):
        of_class = [np.mean(found[labels == j] == j) for j in np.unique(labels)]
        say(f"Mean over classes: {np.mean(of_class):.4f}")
    record = trained.record
    picked = record and record.same_data(dataset) and record.chooser == "test"
    if picked and len(record.history) > 1:
        say(
            f"Epoch {record.best.epoch} was picked on these test images, so this is a little high; "
            "a folder val/ would pick it without them"
        )
    rows = confusion(labels, found, dataset.names)
    if len(rows) <= MAX_PRINTED:
        say(f"Classes of the images, and what was found:\n\n{aligned(rows)}\n")
    elif not plotting:
        say(f"{len(rows) - 1} classes: with --plotting a table says which are confused")
    if unknown:
        say(tell_unknown(unknown, trained, loaded, answers, reject))
    if plotting:
        title = f"{dataset.name}, test set: accuracy {accuracy[method]:.4f} ({words})"
        files = draw_test_set(trained, dataset, answers, loaded.centers, title, words)
        files["csv"] = as_csv(rows).encode()
        paths = {kind: run.picture(f"test.{kind}") for kind in files}
        write_together({paths[kind]: content for kind, content in files.items()})
        for kind, path in paths.items():
            say(f"{TEST_FILES[kind]}: {path}")


def compare(trained, dataset, ctx, out_dir):
    """Evaluate each `runs.trained.Trained` on both sets by every method, print tables, and draw
    their feature maps; on the test set also who answers what, for two features, and side by side
    what --plotting kept. The pictures go to the Path `out_dir`.

    Raises UserError where there is anything that the user can mend.
    """
    stacked = [STACKED.format(split) for split in SPLITS]
    claim(out_dir, [*stacked, REGIONS, SIDE_BY_SIDE], older=stacked)
    rows = {split: [] for split in SPLITS}
    for each in trained:
        loaded = each.on(ctx, dataset.shape)
        for split in SPLITS:
            answers = loaded.answer(getattr(dataset, split).images)
            rows[split].append(Row.of(each, dataset, split, answers, loaded.centers))
    pictures, texts = {}, []
    for split, words in SPLITS.items():
        where = f"{dataset.name}, {words} set"
        panels = [(row.dots, row.title(where)) for row in rows[split]]
        path = out_dir / STACKED.format(split)
        pictures[path] = stacked_feature_maps(panels, dataset.names)
        texts.append(f"{where} ({path}):\n\n{markdown(rows[split])}\n")
    more = {
        out_dir / REGIONS: regions(trained, dataset, rows["test"]),
        out_dir / SIDE_BY_SIDE: side_by_side(trained, "train", dataset.names),
    }
    more = {path: content for path, content in more.items() if content is not None}
    write_together({**pictures, **more})
    say("\n".join([*texts, *(f"Picture: {path}" for path in more)]))


def regions(trained, dataset, rows):
    """The picture of who answers what on the test set, by runs with two features; None without."""
    panels, labels = [], dataset.test.labels
    for each, row in zip(trained, rows):
        if each.network.feature_size == 2:
            wrong = {method: found != labels for method, found in row.found.items()}
            said = [f"{w.sum()} by {EVAL_METHODS[method].words}" for method, w in wrong.items()]
            panels.append(Panel(
                row.dots, np.any(list(wrong.values()), axis=0), each.params["output.weight"],
                each.params.get("output.bias", 0),
                f"{row.prefix}: {dataset.name}, {len(labels)} test images,\n"
                f"wrong {' and '.join(said)}",
            ))  # fmt: skip
    return who_answers_what(panels, dataset.names) if panels else None


class Row(NamedTuple):
    """A run on one set: accuracies of its best epoch, by method; its cells of the table, by column,
    None where they are unknown; its feature map, and the classes that each method found."""

    prefix: str
    accuracy: Dict[str, float]
    cells: Dict[str, Union[None, int, float]]
    dots: Dots
    found: Dict[str, np.ndarray]

    @classmethod
    def of(cls, trained, dataset, split, answers, centers):
        """The row of a run on one of `SPLITS`."""
        record, labels = trained.record, getattr(dataset, split).labels
        accuracy, about = accuracies(answers, labels), (answers.features, labels)
        last = record.history[-1] if record and record.same_data(dataset) else None
        columns = {method: each.column for method, each in EVAL_METHODS.items()}
        cells = {
            **{column: accuracy.get(method) for method, column in columns.items()},
            "best epoch": record and record.best.epoch,
            **{f"{column}, last epoch": last and last.accuracy(split, method)
               for method, column in columns.items()},
            "last epoch": last and last.epoch,
            "tightness": None if centers is None else tightness(*about, centers),
            "spread": spread(*about),
            "shift": None if centers is None else shift(*about, centers),
        }  # fmt: skip
        return cls(trained.run.prefix, accuracy, cells, Dots.of(*about, centers), answers.found)

    def title(self, where):
        """The title of the feature map."""
        said = [f"{a:.4f} ({EVAL_METHODS[method].words})" for method, a in self.accuracy.items()]
        return f"{self.prefix}: {where}, accuracy {', '.join(said)}"


def markdown(rows):
    """The table of the runs on one set."""
    cells = [[row.prefix, *map(cell, row.cells.values())] for row in rows]
    return table(["run", *rows[0].cells], cells)


def cell(value):
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
