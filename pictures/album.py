"""The pictures of a run's epochs: which are drawn when, and what is made of them at the end."""

from datasets.dataset import SPLITS
from pictures import curves, feature_maps, gifs, page
from pictures.drawn import path_of, read_drawn, write_drawn
from process.console import say, warn
from process.errors import Interrupted, UserError
from process.files import make_folder, write_atomically
from recipe import EVAL_METHODS

MAX_FRAMES, MAX_BESIDE = 100, 4


class Album:
    """The pictures of a `runs.run.Run`, to whose record epochs are added while it is trained."""

    def __init__(self, run, record):
        self.run, self.record = run, record

    def clear(self):
        """Remove all pictures of this run, and the model that was exported from it."""
        for path in [*self.run.outputs(), *self.frames_there(), path_of(self.run)]:
            remove(path)

    def remove_model(self):
        """Remove the model that was exported from an earlier network of this run, and say so."""
        ours = {self.run.onnx, self.run.onnx_facts} & set(self.run.outputs())
        if ours:
            say(f"{self.run.onnx} was of an earlier network, and is removed: --export it again")
        for path in ours:
            remove(path)

    def worth_opening(self):
        """The files that show most of a finished run."""
        names = ("epochs.html", "train.gif") if self.record.recipe.plotting else ("curves.png",)
        return [self.run.picture(name) for name in names]

    def draw(self, dataset, answers, centers, last):
        """Draw the newest epoch, then write the table; no trouble of matplotlib costs the epoch.

        `answers` has `utils.Answers` to each of `SPLITS`, `centers` (num_classes, feature_size) are
        None for softmax loss alone. After the last epoch come curves, GIFs and the page of all.
        """
        epoch, plotting = self.record.history[-1].epoch, self.record.recipe.plotting
        if len(self.record.history) == 1:  # what is there belongs to a run that is no more
            self.clear()
        try:
            if plotting and (last or epoch % self.step() == 0):
                drawn = self.draw_feature_maps(dataset, answers, centers)
            if last:
                title = f"{self.run.prefix}, {dataset.name}"
                picture = curves.curves(self.record.history, title)
                write_atomically(self.run.picture("curves.png"), picture)
            if last and plotting:
                self.draw_epochs(drawn, dataset.names, title)
        except (UserError, Interrupted):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            warn(f"pictures of epoch {epoch} could not be drawn ({reason})")
        write_atomically(self.run.picture("history.csv"), self.record.history_csv())

    def step(self):
        """How many epochs go on from one that is drawn to the next: one, unless they are many."""
        return -(-self.record.epochs // MAX_FRAMES)

    def draw_feature_maps(self, dataset, answers, centers):
        """Draw a frame of each set; returns what is drawn of all epochs, as the file keeps it."""
        epoch, drawn = self.record.history[-1], read_drawn(self.run, self.record)
        make_folder(self.run.folder)
        parts = {}
        for split in SPLITS:
            labels = getattr(dataset, split).labels
            dots = feature_maps.Dots.of(answers[split].features, labels, centers)
            title = title_of(self.run, self.record, split, epoch)
            picture = feature_maps.feature_map(dots, title, dataset.names)
            write_atomically(self.frame(split, epoch), picture)
            parts[split] = dots.thinned()
        drawn = {each: drawn[each] for each in drawn if each % self.step() == 0}
        drawn[epoch.epoch] = parts
        write_drawn(self.run, self.record, drawn)
        return drawn

    def draw_epochs(self, drawn, names, title):
        """Draw the GIFs and the page of all epochs; remove frames that do not belong to them."""
        epochs, sets = [epoch for epoch in self.record.history if epoch.epoch in drawn], {}
        for split, words in SPLITS.items():
            sets[words] = frames = [
                (drawn[epoch.epoch][split], title_of(self.run, self.record, split, epoch))
                for epoch in epochs
            ]
            write_atomically(self.run.picture(f"{split}.gif"), gifs.gif([frames], names))
        write_atomically(self.run.picture("epochs.html"), page.epochs_page(sets, title, names))
        ours = {self.frame(split, epoch) for split in SPLITS for epoch in epochs}
        for path in set(self.frames_there()) - ours:
            remove(path)

    def frame(self, split, epoch):
        """Where the feature map of an `Epoch` goes."""
        return self.run.folder / f"{split}-epoch-{epoch.epoch}.png"

    def frames_there(self):
        """The frames that lie in the folder of the run."""
        return [path for split in SPLITS for path in self.run.folder.glob(f"{split}-epoch-*.png")]


def title_of(run, record, split, epoch):
    """The title of the feature map of an `Epoch`."""
    method = record.recipe.eval_method
    return (
        f"{run.prefix}\n{epoch.dataset}, {SPLITS[split]} set, epoch {epoch.epoch}: "
        f"accuracy {epoch.accuracy(split, method):.4f} ({EVAL_METHODS[method].words})"
    )


def side_by_side(trained, split, names=None):
    """Draw what each `runs.trained.Trained` kept of its epochs side by side, as a GIF.

    It has the first `MAX_BESIDE` runs that were trained with --plotting, and is None of one alone.
    Where a run has fewer epochs, its last one stays.
    """
    plotted = [(each.run, each.record, read_drawn(each.run, each.record))
               for each in trained if each.record]  # fmt: skip
    plotted = [each for each in plotted if each[2]][:MAX_BESIDE]
    if len(plotted) < 2:
        return None
    rows = []
    for number in sorted({number for *_, drawn in plotted for number in drawn}):
        rows.append([])
        for run, record, drawn in plotted:
            before = [each for each in drawn if each <= number]
            epoch = record.history[max(before, default=min(drawn))]
            title = title_of(run, record, split, epoch).replace(": accuracy", "\naccuracy")
            rows[-1].append((drawn[epoch.epoch][split], title))
    return gifs.gif(list(zip(*rows)), names)


def remove(path):
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        warn(f"{path} cannot be removed ({error.strerror})")
