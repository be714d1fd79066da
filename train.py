"""Training: the loop over the epochs, and what an epoch reports and saves."""

import contextlib
import math
import time

import mxnet as mx
import numpy as np

from data import batches
from datasets.dataset import SPLITS
from datasets.warps import random_warps
from learner import Learner, centers_of
from pictures.album import Album
from process.console import progress, say, say_when_it_ends
from process.errors import Ended
from recipe import EVAL_METHODS
from runs.record import Epoch
from runs.report import say_epoch, say_how_it_begins, say_how_it_ended
from utils import accuracies, check_finite, classify, shift, spread

MANY_CLASSES = 5000  # beyond them the pairs of class means are too many for every epoch
# When the losses are looked at: a look wakes threads up, which slows short steps down.
LOOK_EVERY, MOST_PENDING = 0.3, 64  # seconds, steps


def train(plan, contexts, workers):
    """Train a run: from scratch, a second time, or from where it was interrupted.

    Parameters
    ----------
    plan : runs.plan.Plan
        What is to be trained.
    contexts : list of mxnet.Context
        Each batch is split over these devices.
    workers : cluster.workers.Alone or Workers
        Rank 0 evaluates and writes the files.

    Raises
    ------
    UserError
        Anything that the user can mend. What was finished before is kept.
    Interrupted
        A signal came.
    """
    learner = Learner(plan.recipe, plan.dataset.shape, contexts, workers)
    keeper = Keeper(plan, learner) if workers.leads else None
    if keeper:
        keeper.begin()
    workers.begin(learner)
    for epoch in range(plan.first_epoch, plan.epochs):
        with telling_what_is_kept(plan.run, keeper):
            began = time.perf_counter()
            losses, sizes = train_epoch(learner, plan.dataset.train, epoch)
            if keeper:
                keeper.finish_epoch(losses, sizes, time.perf_counter() - began)
                if epoch == plan.first_epoch:
                    say_when_it_ends((plan.epochs - epoch - 1) * (time.perf_counter() - began))
            else:
                say(f"Epoch [{epoch}]: parameters {learner.digest()}")
    if keeper:
        say_how_it_ended(plan.run, plan.record, keeper.album.worth_opening())


class Keeper:
    """What rank 0 keeps of a training: its record, its parameters and its pictures.

    Parameters
    ----------
    plan : runs.plan.Plan
    learner : Learner

    Attributes
    ----------
    finished : int
        How many epochs are kept.
    """

    def __init__(self, plan, learner):
        self.plan, self.learner = plan, learner
        self.run, self.record, self.dataset = plan.run, plan.record, plan.dataset
        self.album = Album(plan.run, plan.record)
        self.finished = plan.first_epoch

    def begin(self):
        """Give the learner what it starts from, and say what is begun."""
        run, record, learner = self.run, self.record, self.learner
        if self.finished:
            learner.load_state(run.read_params(run.resume_params, record), run.resume_params)
        elif self.plan.source:
            self.plan.source.copy_to(learner.net, learner.center_loss)
        replaces = not self.finished and (run.exists() or self.run.outputs())
        say_how_it_begins(self.plan, learner.contexts, replaces)
        if self.finished and not run.has_history(record):  # it was killed while it drew
            self.draw(self.evaluate())

    def evaluate(self):
        """The `Answers` of the network, by part of the data set."""
        centers, ctx = centers_of(self.learner.center_loss), self.learner.contexts[0]
        return {
            name: classify(self.learner.net, centers, part.images, ctx, self.dataset.classes)
            for name, part in self.dataset.parts.items()
        }

    def finish_epoch(self, losses, sizes, seconds):
        """Evaluate an epoch, commit it, which makes it count, and then draw it.

        It took so many seconds, and had the losses and sizes that `train_epoch` gave.
        """
        record, recipe = self.record, self.record.recipe
        means = dict(zip(recipe.losses, losses.sum(axis=0) / sizes.sum()))
        answers = self.evaluate()
        accuracy = {
            name: accuracies(answers[name], part.labels)
            for name, part in self.dataset.parts.items()
        }
        epoch = Epoch(
            epoch=len(record.history),
            dataset=self.dataset.name,
            lr=self.learner.trainers[0][0].learning_rate,
            softmax_loss=means.get("softmax"),
            center_loss=means.get("center"),
            seconds=round(seconds, 6),
            **{f"{name}_{m}": by.get(m) for name, by in accuracy.items() for m in EVAL_METHODS},
            **self.clusters(answers),
        )
        self.save(best=record.append(epoch, answers[epoch.chooser].distance))
        self.draw(answers)
        say_epoch(record)

    def clusters(self, answers):
        """The spread and the shift of each set, as an `Epoch` has them, where they are finite."""
        centers, known = centers_of(self.learner.center_loss), {}
        for name in SPLITS if len(self.dataset.classes) <= MANY_CLASSES else ():
            about = answers[name].features, getattr(self.dataset, name).labels
            known[f"{name}_spread"] = spread(*about)
            if centers is not None:
                known[f"{name}_shift"] = shift(*about, centers)
        return {name: value for name, value in known.items() if math.isfinite(value)}

    def save(self, best):
        """Commit a finished epoch; a better network than all before becomes the best one."""
        files = {self.run.resume_params: self.learner.state()}
        if best:
            network, centers = self.learner.parameters()
            files[self.run.best_params] = network
            if centers:
                files[self.run.feature_matrix] = centers
        self.run.commit(self.record, files)
        if best:
            self.album.remove_model()
        self.finished = len(self.record.history)

    def draw(self, answers):
        centers = centers_of(self.learner.center_loss)
        self.album.draw(self.dataset, answers, centers, last=self.finished >= self.plan.epochs)


@contextlib.contextmanager
def telling_what_is_kept(run, keeper):
    """Note on the exception that ends an epoch early what is kept of the run, and whether --resume
    goes on.

    `keeper` is None where rank 0 has it.
    """
    replaced = run.record_path.exists()  # a record that is there before the first epoch is not ours
    try:
        yield
    except Ended as error:
        if keeper is None:
            error.kept, error.resume = "rank 0 keeps the finished epochs", True
        elif not keeper.finished:
            error.kept, error.resume = "no epoch is finished yet", not replaced
        else:
            error.kept = f"{run.prefix} is kept up to epoch {keeper.finished - 1}"
            error.resume = True
        raise


def train_epoch(learner, split, epoch):
    """Go through the training set, a `datasets.dataset.Split`, once.

    Nothing here waits for the step under way: the losses are looked at some steps later. The number
    of the epoch decides the learning rates, the order and how images are warped.

    Returns
    -------
    losses : (steps, len(learner.recipe.losses)) float64
        The losses of each step, summed over its batch.
    sizes : (steps,) int64
        The number of images of each step.

    Raises
    ------
    UserError
        A loss is not finite.
    """
    recipe, workers = learner.recipe, learner.workers
    order, warps = randomize(split, recipe, epoch)
    pending, losses, sizes, looked = [], [], [], time.perf_counter()

    def read(count):
        for sums in pending[:count]:
            losses.append(sum(part.asnumpy().astype(np.float64) for part in sums))
            check_finite(losses[-1], f"Epoch {epoch}, step {len(losses) - 1}: the loss")
        del pending[:count]

    hidden = not workers.leads
    with progress(total=len(order), desc=f"Epoch {epoch}", unit=" images", disable=hidden) as bar:
        for slices in batches(
            split, recipe.batch_size, learner.contexts, order, workers.rank, workers.size, warps
        ):
            learner.set_learning_rates(epoch + len(sizes) * recipe.batch_size / len(order))
            pending.append(learner.step(slices))
            sizes.append(len(slices[0][2]))
            bar.update(sizes[-1])
            due = len(pending) == MOST_PENDING or time.perf_counter() > looked + LOOK_EVERY
            if due and len(pending) > 1:
                looked = time.perf_counter()
                read(len(pending) // 2)
                loss = losses[-1].sum() * workers.size / recipe.batch_size
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        read(len(pending))
    losses = workers.finish_epoch(np.array(losses))
    mx.nd.waitall()
    return losses, np.array(sizes)


def randomize(split, recipe, epoch):
    """Make the random choices of an epoch: they depend on nothing else, so a resumed run has the
    same.

    Returns
    -------
    order : (N,) int array
        The rows of `split` in the order in which they are trained.
    warps : (N, 6) float32 or None
        See `datasets.warps.random_warps`.
    """
    order = np.random.RandomState([recipe.seed, epoch]).permutation(len(split.labels))
    warps = random_warps(split.images.shape, recipe.seed, epoch) if recipe.augment else None
    return order, warps
