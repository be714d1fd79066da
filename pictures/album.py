"""The pictures of a run's epochs: which are drawn when, which are missing, which are in the way."""

import re

from datasets.dataset import SPLITS
from pictures import curves, feature_maps, figure, gifs, page
from process.console import say, warn
from process.errors import Interrupted, UserError
from process.files import write_atomically
from recipe import EVAL_METHODS


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

    def clear(self):
        """Remove all pictures under this run's name, and the model that was exported from it."""
        self.remove(lambda path: True)

    def remove_strangers(self):
        """Remove the pictures under this run's name that say they belong to another run."""
        ours = (None, self.record.identity)
        self.remove(lambda path: figure.identity_of(path) not in ours)

    def remove_model(self):
        """Remove the model that was exported from an earlier network of this run, and say so."""
        if self.run.model.exists():
            self.remove(lambda path: path in (self.run.model, self.run.model_facts))
            say(f"{self.run.model} was of an earlier network, and is removed: --export it again")

    def files(self):
        """All pictures under this run's name, and its exported model."""
        picture = r"-((train|test)(-epoch-\d+\.png|\.gif)|test\.(png|csv|html)"
        picture += r"|curves\.png|epochs\.html)"
        name = rf"{re.escape(self.run.prefix)}({picture}|\.onnx(\.json)?)"
        return [path for path in self.run.out_dir.iterdir() if re.fullmatch(name, path.name)]

    def worth_opening(self):
        """The files that show most of a finished run."""
        names = ("epochs.html", "train.gif") if self.record.recipe.plotting else ("curves.png",)
        return [self.run.picture(name) for name in names]

    def remove(self, unwanted):
        for path in self.files():
            if unwanted(path):
                try:
                    path.unlink()
                except OSError as error:
                    warn(f"{path} cannot be removed ({error.strerror})")

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
        try:
            if self.record.recipe.plotting:
                self.draw_feature_maps(dataset, answers, centers)
            if last:
                self.draw_curves(dataset)
            if last and self.record.recipe.plotting:
                self.draw_gifs(dataset)
        except (UserError, Interrupted):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            epoch = self.record.history[-1].epoch
            warn(f"pictures of epoch {epoch} could not be drawn ({reason})")
        write_atomically(self.run.picture("history.csv"), self.record.history_csv())

    def draw_feature_maps(self, dataset, answers, centers):
        epoch = self.record.history[-1]
        for split in SPLITS:
            picture = feature_maps.feature_map(
                answers[split].features, getattr(dataset, split).labels,
                self.record.recipe.num_classes, self.title(split, epoch), self.record.identity,
                centers, dataset.names,
            )  # fmt: skip
            write_atomically(self.run.picture(f"{split}-epoch-{epoch.epoch}.png"), picture)

    def draw_curves(self, dataset):
        title = f"{self.run.prefix}, {dataset.name}"
        drawn = curves.curves(self.record.history, title, self.record.identity)
        write_atomically(self.run.picture("curves.png"), drawn)

    def draw_gifs(self, dataset):
        recipe, parts = self.record.recipe, {}
        for split in SPLITS:
            frames = self.frames(split)
            if frames:
                parts[SPLITS[split]] = frames
                sizes = recipe.num_classes, recipe.feature_size
                gif = gifs.gif(list(frames.values()), *sizes, self.record.identity, dataset.names)
                write_atomically(self.run.picture(f"{split}.gif"), gif)
        common = sorted(set.intersection(*map(set, parts.values()))) if parts else ()
        if common:
            title = f"{self.run.prefix}, {dataset.name}"
            both = {name: [frames[epoch] for epoch in common] for name, frames in parts.items()}
            content = page.epochs_page(both, title, dataset.names)
            write_atomically(self.run.picture("epochs.html"), content)

    def title(self, split, epoch):
        """The title of the feature map of an `Epoch`."""
        method = self.record.recipe.eval_method
        return (
            f"{self.run.prefix}\n{epoch.dataset}, {SPLITS[split]} set, epoch {epoch.epoch}: "
            f"accuracy {epoch.accuracy(split, method):.4f} ({EVAL_METHODS[method].words})"
        )

    def frames(self, split):
        """The feature maps of the epochs that have one, each with its title, by the epoch."""
        frames, unusable = {}, []
        for epoch in self.record.history:
            path = self.run.picture(f"{split}-epoch-{epoch.epoch}.png")
            if path.is_file():
                try:
                    dots = feature_maps.read_dots(path)
                    frames[epoch.epoch] = dots, self.title(split, epoch)
                except ValueError as error:
                    unusable.append(f"{path} is left out of the GIF: {error}")
        if unusable:
            warn(f"{unusable[0]}{f'; and {len(unusable) - 1} more' * (len(unusable) > 1)}")
        return frames
