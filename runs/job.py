"""A training as rank 0 has it: what it starts from, and what is told and kept of each epoch."""

import re

from data import SPLITS, choose_dataset, count_classes, refuse_trained_images
from learner import centers_of, restore
from pictures import curves, feature_maps, figure, gifs
from process.console import say, warn
from process.errors import Interrupted, UserError
from process.files import new_name, read_file, write_atomically
from recipe import EPOCHS, EVAL_METHODS, Recipe
from runs.record import Epoch, Record, surroundings
from runs.run import SHIPPED, Run
from runs.trained import find_run, open_run
from utils import accuracies, predict


class Job:
    """A training and its run.

    Parameters
    ----------
    run : runs.run.Run
    recipe : Recipe
    epochs : int
        How many the run is to have.
    record : Record, optional
        Of the run that is resumed; a new run gets one in `begin`.
    source : runs.trained.Trained, optional
        What a second training starts from.

    Attributes
    ----------
    plan : dict
        What every worker needs to know.
    finished : int
        How many epochs are kept.
    """

    def __init__(self, run, recipe, epochs, record=None, source=None):
        self.run, self.recipe, self.epochs = run, recipe, epochs
        self.record, self.source = record, source
        self.finished = len(record.history) if record else 0
        self.plan = {"recipe": vars(recipe), "epochs": epochs, "first": self.finished}

    @classmethod
    def open(cls, args, run, second):
        """Find out what is to be trained; None where all is finished already."""
        try:
            run.recover(run.read_record())
        except UserError:
            if args.resume:  # without it a new run will take the place of what is damaged
                raise
        record = resumable(args, run, second) if args.resume else None
        if record:
            recipe = Recipe.merge(args.given, record.recipe.flags(), run.prefix, second=second)
            epochs = record.epochs if args.epochs is None else args.epochs
            job = cls(run, recipe, epochs, record=record)
            if job.finished >= epochs and not job.missing_pictures():
                say(f"{run.prefix}: all {job.finished} epochs are finished")
                job = None
            elif not any(path.exists() for path in (run.resume, new_name(run.resume))):
                raise UserError(
                    f"{run.resume} is missing, without which {run.prefix} cannot be resumed: "
                    "shipped runs cannot"
                )
        else:
            source, given = None, args.given
            if second:
                first = find_run(args.prefix, args.ckpt_dir, args.out_dir)
                source = open_run(first, args.given, needs_centers_for="--second_train")
            else:
                given = {**count_classes(args.data_dir), **given}
            network = source and vars(source.network)
            recipe = Recipe.merge(given, network, args.prefix, second=second)
            job = cls(run, recipe, EPOCHS if args.epochs is None else args.epochs, source=source)
        if "center" not in recipe.losses and recipe.eval_method == "knn":
            raise UserError("--eval_method knn needs centers: train with --center_loss")
        if "center" not in recipe.losses and args.second_train:
            raise UserError("--second_train needs centers: train with --center_loss")
        if job:
            known = record or (job.source and job.source.record)
            job.plan["dataset"] = choose_dataset(args.dataset, args.data_dir, known)
        return job

    def begin(self, learner, dataset):
        """Give the learner what it starts from, and say what is begun."""
        run, record, source = self.run, self.record, self.source
        now = surroundings(learner.contexts, learner.workers)
        if record:
            record.check(dataset, now)
            learner.load_state(run.read_params(run.resume, record), run.resume)
            record.epochs = self.epochs
            self.remove_pictures(lambda path: figure.run_of(path) in (None, record.identity))
        else:
            if source:
                refuse_trained_images(source.record, dataset)
                restore(source, learner.net, learner.center_loss)
                source.check_data(dataset)
            origin = source and source.record and source.run.origin(source.record)
            self.record = Record(
                run.prefix, origin, self.recipe, self.epochs, dataset.fingerprint, now
            )
            if run.record_path.exists():
                say(
                    f"{run.prefix}: a new run replaces the old one when its first epoch is finished"
                )
        say(
            f"{run.prefix}: {' + '.join(self.recipe.losses)} loss, {self.recipe.model} on "
            f"{dataset.name} ({len(dataset.train.labels)} images) with "
            f"{', '.join(map(str, learner.contexts))}"
        )
        if record and self.missing_pictures():  # it was killed when they were to be drawn
            self.draw(learner, dataset, self.evaluate(learner, dataset)[1])

    def evaluate(self, learner, dataset):
        """Accuracies, by the names of an `Epoch`, and the answers for `draw`, by split."""
        accuracy, answers, centers = {}, {}, centers_of(learner.center_loss)
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            answers[name] = predict(
                learner.net, centers, split.images, learner.contexts[0], dataset.classes
            )
            by_method = accuracies(answers[name], split.labels)
            accuracy.update((f"{name}_{method}", value) for method, value in by_method.items())
        return accuracy, answers

    def report(self, learner, dataset, losses, sizes, seconds):
        """Evaluate an epoch, commit it, which makes it count, and then draw it.

        Parameters
        ----------
        learner : Learner
        dataset : data.Dataset
        losses, sizes
            As `train.train_epoch` gives them.
        seconds : float
            That it took.
        """
        record, recipe = self.record, self.recipe
        for loss in losses.sum(axis=1) / sizes:
            record.observe(loss)
        means = dict(zip(recipe.losses, losses.sum(axis=0) / sizes.sum()))
        accuracy, answers = self.evaluate(learner, dataset)
        epoch = Epoch(
            epoch=len(record.history),
            dataset=dataset.name,
            lr=learner.trainers[0][0].learning_rate,
            loss=record.moving_loss,
            softmax_loss=means.get("softmax"),
            center_loss=means.get("center"),
            train_softmax=accuracy["train_softmax"],
            test_softmax=accuracy["test_softmax"],
            train_knn=accuracy.get("train_knn"),
            test_knn=accuracy.get("test_knn"),
            seconds=round(seconds, 6),
        )
        self.save(learner, best=record.append(epoch, answers["test"].distance))
        self.draw(learner, dataset, answers)
        say(
            f"Epoch [{epoch.epoch}]: Loss={epoch.loss:.6f}, "
            f"Train-Acc={epoch.accuracy('train', recipe.eval_method):.6f}, "
            f"Test-Acc={epoch.accuracy('test', recipe.eval_method):.6f}, "
            f"Epoch-time={epoch.seconds:.6f}"
        )

    def save(self, learner, best):
        """Commit a finished epoch; a better network than all before becomes the best one."""
        files = {self.run.resume: learner.state()}
        if best:
            network, centers = learner.parameters()
            files[self.run.best] = network
            if centers:
                files[self.run.feature_matrix] = centers
        self.run.commit(self.record, files)
        self.finished = len(self.record.history)
        if self.finished == 1:  # what is there is of a run that is no more
            self.remove_pictures(lambda path: False)

    # --- pictures ------------------------------------------------------------------------------

    def missing_pictures(self):
        """Whether the last finished epoch was not drawn to its end, which is the table."""
        try:
            table = read_file(self.run.picture("history.csv"))
        except OSError:
            return True
        return table != self.record.history_csv()

    def remove_pictures(self, keep):
        """Remove the pictures under this run's name, but for those of which `keep` is true."""
        picture = r"-((train|test)(-epoch-\d+\.png|\.gif)|test\.(png|csv|html)|curves\.png)"
        name = re.escape(self.run.prefix) + picture
        for path in self.run.out_dir.iterdir():
            if re.fullmatch(name, path.name) and not keep(path):
                try:
                    path.unlink()
                except OSError as error:
                    warn(f"{path} cannot be removed ({error.strerror})")

    def draw(self, learner, dataset, answers):
        """Draw the last epoch, then write the table; no trouble of matplotlib costs the epoch.

        Parameters
        ----------
        learner : Learner
        dataset : data.Dataset
        answers : dict of str to utils.Answers
            Those to ``train`` and ``test``.
        """
        try:
            self.draw_all(learner, dataset, answers)
        except (UserError, Interrupted):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            warn(f"pictures of epoch {self.finished - 1} could not be drawn ({reason})")
        write_atomically(self.run.picture("history.csv"), self.record.history_csv())

    def draw_all(self, learner, dataset, answers):
        """Feature maps and, of the run's last epoch, curves and GIFs."""
        run, record, recipe = self.run, self.record, self.recipe
        epoch, splits = record.history[-1], SPLITS if recipe.plotting else ()
        for split in splits:
            picture = feature_maps.feature_map(
                answers[split].features, getattr(dataset, split).labels, recipe.num_classes,
                self.title(split, epoch), record.identity, centers_of(learner.center_loss),
                dataset.names,
            )  # fmt: skip
            write_atomically(run.picture(f"{split}-epoch-{epoch.epoch}.png"), picture)
        if self.finished >= self.epochs:
            title = f"{run.prefix}, {dataset.name}"
            drawn = curves.curves(record.history, title, record.identity)
            write_atomically(run.picture("curves.png"), drawn)
            for split in splits:
                frames = self.frames(split)
                if frames:
                    sizes = recipe.num_classes, recipe.feature_size
                    joined = gifs.gif(frames, *sizes, record.identity, dataset.names)
                    write_atomically(run.picture(f"{split}.gif"), joined)

    def title(self, split, epoch):
        """Of the feature map of an epoch, an `Epoch`."""
        method = self.recipe.eval_method
        return (
            f"{self.run.prefix}\n{epoch.dataset}, {SPLITS[split]} set, epoch {epoch.epoch}: "
            f"accuracy {epoch.accuracy(split, method):.4f} ({EVAL_METHODS[method]})"
        )

    def frames(self, split):
        """The feature maps of all epochs that are there, each with its title."""
        frames, others = [], []
        for epoch in self.record.history:
            path = self.run.picture(f"{split}-epoch-{epoch.epoch}.png")
            if path.is_file():
                try:
                    frames.append((feature_maps.read_dots(path), self.title(split, epoch)))
                except ValueError as error:
                    others.append(f"{path} is left out of the GIF: {error}")
        if others:
            warn(f"{others[0]}{f'; and {len(others) - 1} more' * (len(others) > 1)}")
        return frames

    def end(self):
        """Say how it went."""
        record, method = self.record, self.recipe.eval_method
        say(
            f"Best test accuracy by {EVAL_METHODS[method]}: {record.best['accuracy']:.4f} "
            f"in epoch {record.best['epoch']}, kept in {self.run.best}; "
            f"last: {record.history[-1].accuracy('test', method):.4f}\n"
            f"History{' and pictures' * self.recipe.plotting}: {self.run.picture('*')}"
        )


def resumable(args, run, second):
    """The record of the run that --resume goes on with; None where a new one is to be begun."""
    record = run.read_record()
    if record is None:
        if Run(run.prefix, SHIPPED, args.out_dir).exists():
            say(f"{run.prefix}: shipped runs cannot be resumed, so a new one of this name is begun")
        return None
    if record.recipe.second != second:
        raise UserError(
            f"{run.prefix} is a run of --{record.recipe.action}, which --"
            f"{'second_train' if second else 'train'} cannot go on with: choose another --prefix"
        )
    if second and not is_origin(Run(args.prefix, args.ckpt_dir, args.out_dir), record.started_from):
        if not args.train:
            raise UserError(
                f"{run.prefix} was started from another {args.prefix} than there is now: "
                "begin anew without --resume, or choose another --prefix"
            )
        say(f"{run.prefix} was started from another {args.prefix}, so a new one is begun")
        return None
    return record


def is_origin(run, started_from):
    """Whether a second training may have been started from what this run is now."""
    try:
        record = run.read_record()
    except UserError:
        record = None  # it is not needed to go on
    return not (record and started_from) or started_from.items() <= run.origin(record).items()
