"""The actions that train: a network from scratch, or a second time with center loss alone."""

import contextlib
import time

import mxnet as mx
import numpy as np

from data import batches, load_dataset, random_warps
from learner import Learner, choose_contexts
from process.console import OutputLost, progress, say
from process.errors import Interrupted, UserError
from recipe import Recipe
from runs.job import Job
from runs.run import Run
from utils import CHANNELS, check_finite

READ_EVERY = 8  # steps between two looks at the losses


def train(args, workers, second=False):
    """Train a run, or train it a second time with center loss alone and fixed centers.

    Parameters
    ----------
    args : argparse.Namespace
        All flags, as `main.parse` gives them.
    workers : cluster.workers.Alone or Workers
        Rank 0 says what is trained, evaluates and writes the files.
    second : bool
        Start from the best network of the run `prefix`, and write the run ``<prefix>-second``.

    Raises
    ------
    UserError
        Anything that the user can mend. What was finished before is kept.
    Interrupted
        A signal came.
    """
    run = Run(f"{args.prefix}-second" if second else args.prefix, args.ckpt_dir, args.out_dir)
    with run.locked() if workers.leads else contextlib.nullcontext():
        job = Job.open(args, run, second) if workers.leads else None
        plan = workers.broadcast(job and job.plan)
        if plan is None:
            return
        recipe, epochs, first = Recipe(**plan["recipe"]), plan["epochs"], plan["first"]
        contexts = choose_contexts(args.use_gpu, args.gpus)
        dataset = load_dataset(plan["dataset"], args.data_dir, recipe)
        digest = dataset.fingerprint["sha256"]
        if workers.broadcast(digest) != digest:
            raise UserError(f"{dataset.name} has other images or labels here than at rank 0")
        check_split(dataset.train, recipe, len(contexts), workers.size)
        learner = Learner(recipe, dataset.shape, contexts, workers)
        if job:
            job.begin(learner, dataset)
        workers.begin(learner)
        for epoch in range(first, epochs):
            with telling_what_is_kept(run, job):
                began = time.time()
                losses, sizes = train_epoch(learner, dataset.train, epoch)
                if job:
                    job.report(learner, dataset, losses, sizes, time.time() - began)
                else:
                    say(f"Epoch [{epoch}]: parameters {learner.digest()}")
        if job:
            job.end()


def train_epoch(learner, split, epoch):
    """Go through the training set once.

    Nothing here waits for the step under way: the losses are looked at some steps later.

    Parameters
    ----------
    learner : Learner
    split : data.Split
        N images.
    epoch : int
        Which one: it decides the learning rates, the order and how images are warped.

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
    order, warps = draw(split, recipe, epoch)
    pending, losses, sizes = [], [], []

    def read(count):
        for sums in pending[:count]:
            losses.append(sum(one.asnumpy().astype(np.float64) for one in sums))
            check_finite(losses[-1], f"Epoch {epoch}, step {len(losses) - 1}: the loss")
        del pending[:count]

    hidden = None if workers.leads else True  # None: where there is no terminal
    with progress(total=len(order), desc=f"Epoch {epoch}", unit=" images", disable=hidden) as bar:
        for slices in batches(
            split, recipe.batch_size, learner.contexts, order, workers.rank, workers.size, warps
        ):
            learner.set_learning_rates(epoch + len(sizes) * recipe.batch_size / len(order))
            pending.append(learner.step(slices))
            sizes.append(len(slices[0][2]))
            bar.update(sizes[-1])
            if len(pending) == 2 * READ_EVERY:
                read(READ_EVERY)
                bar.set_postfix(loss=f"{losses[-1].sum() / recipe.batch_size:.4f}", refresh=False)
        read(len(pending))
    losses = workers.finish_epoch(np.array(losses))
    mx.nd.waitall()
    return losses, np.array(sizes)


def draw(split, recipe, epoch):
    """What chance decides in an epoch: it depends on nothing else, so a resumed run has the same.

    Returns
    -------
    order : (N,) int array
        The rows of `split` in the order in which they are trained.
    warps : (N, 6) float32 or None
        See `data.random_warps`.
    """
    order = np.random.RandomState([recipe.seed, epoch]).permutation(len(split.labels))
    warps = random_warps(split.images.shape, recipe.seed, epoch) if recipe.augment else None
    return order, warps


def check_split(split, recipe, devices, workers=1):
    """Raise UserError unless every batch can be split over all devices, and none is too large."""
    size, pixels = len(split.labels), split.images[0, 0].size
    batch = min(recipe.batch_size, size)
    smallest = size % batch or batch
    if smallest // workers < devices:
        raise UserError(
            f"{size} images in batches of {recipe.batch_size} leave one of {smallest}, too small "
            f"for {devices} devices{' of each worker' * (workers > 1)}: choose another --batch_size"
        )
    part = -(-batch // (devices * workers))
    pairs = batch if "center" in recipe.losses else 0
    if part * max(recipe.num_classes, CHANNELS * pixels, pairs) >= 2**31:
        raise UserError(
            f"a batch of {batch} images of {pixels} pixels with {recipe.num_classes} classes needs "
            "arrays of more than 2^31 numbers, the limit of MXNet: choose a smaller --batch_size"
        )


@contextlib.contextmanager
def telling_what_is_kept(run, job):
    """Add to what ends an epoch early what is left of the run, and whether --resume goes on.

    `job` is None where rank 0 has it.
    """
    replaced = run.record_path.exists()  # a record that is there before the first epoch is not ours
    try:
        yield
    except (Interrupted, UserError, OutputLost) as error:
        if job is None:
            kept, resume = "rank 0 keeps the finished epochs", True
        elif job.finished:
            kept, resume = f"{run.prefix} is kept up to epoch {job.finished - 1}", True
        else:
            kept, resume = "no epoch is finished yet", not replaced
        if isinstance(error, OutputLost):
            error.resume = resume
            raise
        if isinstance(error, Interrupted):
            raise Interrupted(error.signum, kept, resume) from error
        raise UserError(f"{error}; {kept}") from error
