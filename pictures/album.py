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
    """The pictures of a run.

    Parameters
    ----------
    run : runs.run.Run
    record : runs.record.Record
        To which epochs are added while the run is trained.
    """

    def __init__(self, run, record):
        self.run, self.record = run, record
        self.drawn = None  # not read yet

    def clear(self):
        """Remove all pictures of this run, and the model that was exported from it."""
        folder = [*self.frames_there(), path_of(self.run)]
        for path in [*self.run.outputs(), *filter(lambda path: path.exists(), folder)]:
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

        Parameters
        ----------
        dataset : datasets.dataset.Dataset
        answers : dict of str to utils.Answers
            Those to ``train`` and ``test``.
        centers : (num_classes, feature_size) float32, or None
        last : bool
            Whether it is the run's last epoch, after which curves, GIFs and the page of all
            epochs are drawn.
        """
        if len(self.record.history) == 1:  # what is there belongs to a run that is no more
            self.clear()
        try:
            if self.record.recipe.plotting and self.is_drawn(self.record.history[-1].epoch):
                self.draw_feature_maps(dataset, answers, centers)
            if last:
                title = f"{self.run.prefix}, {dataset.name}"
                drawn = curves.curves(self.record.history, title)
                write_atomically(self.run.picture("curves.png"), drawn)
            if last and self.record.recipe.plotting:
                self.draw_epochs(dataset.names, title)
        except (UserError, Interrupted):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            epoch = self.record.history[-1].epoch
            warn(f"pictures of epoch {epoch} could not be drawn ({reason})")
        write_atomically(self.run.picture("history.csv"), self.record.history_csv())

    def is_drawn(self, epoch):
        """Whether the pictures have this epoch: every one of few, and always the last."""
        epochs = self.record.epochs
        return epoch % -(-epochs // MAX_FRAMES) == 0 or epoch == epochs - 1

    def draw_feature_maps(self, dataset, answers, centers):
        """Draw a frame of each set, and keep what is drawn."""
        epoch = self.record.history[-1]
        if self.drawn is None:
            self.drawn = read_drawn(self.run, self.record)
        make_folder(self.run.folder)
        parts = {}
        for split in SPLITS:
            dots = feature_maps.Dots.of(
                answers[split].features, getattr(dataset, split).labels, centers
            )
            picture = feature_maps.feature_map(dots, self.title(split, epoch), dataset.names)
            write_atomically(self.frame(split, epoch), picture)
            parts[split] = dots.thinned()
        self.drawn = {each: self.drawn[each] for each in self.drawn if self.is_drawn(each)}
        self.drawn[epoch.epoch] = parts
        write_drawn(self.run, self.record, self.drawn)

    def draw_epochs(self, names, title):
        """Draw the GIFs and the page of all epochs; remove frames that do not belong to them."""
        if not self.drawn:
            return
        sets = {}
        for split, words in SPLITS.items():
            epochs = [epoch for epoch in self.record.history if epoch.epoch in self.drawn]
            sets[words] = frames = [
                (self.drawn[epoch.epoch][split], self.title(split, epoch)) for epoch in epochs
            ]
            write_atomically(self.run.picture(f"{split}.gif"), gifs.gif([frames], names))
        write_atomically(self.run.picture("epochs.html"), page.epochs_page(sets, title, names))
        ours = {self.frame(split, epoch) for split in SPLITS for epoch in epochs}
        for path in set(self.frames_there()) - ours:
            remove(path)

    def title(self, split, epoch):
        return title_of(self.run, self.record, split, epoch)

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
    """Draw what runs drew of their epochs side by side.

    Parameters
    ----------
    trained : list of runs.trained.Trained
    split : str
    names : list of str, optional
        Of the classes.

    Returns
    -------
    bytes or None
        A GIF of the first `MAX_BESIDE` runs that were trained with --plotting; None of one alone.
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
        path.unlink()
    except OSError as error:
        warn(f"{path} cannot be removed ({error.strerror})")
