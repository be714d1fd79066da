"""Epoch overhead: what an epoch costs beside its passes

The passes are: forward, backward and update over the training set, then forward over both sets,
with batches cut before. A whole epoch also shuffles and cuts batches, reads losses, computes
accuracies by both methods, writes history, record and checkpoint and, with --plotting, draws both
sets. None of this knows the network, so it is measured as what a whole epoch of a network that
costs next to nothing takes beyond that network's own passes, and compared with LeNet++'s passes.
"""

import contextlib
import os
import sys
import tempfile
import time

from benchmarks.contenders import bare_epoch, repeated
from benchmarks.harness import median, ratio, take_turns
from process.console import table
from process.startup import prepare_mxnet

ONE_IN = 40  # LeNet++ passes over one image of so many: each costs what the one before did


def run(smoke):
    prepare_mxnet()
    import data
    import models
    import recipe
    from datasets.dataset import Dataset

    models.Pixels = lambda *args, **kwargs: models.FeatureNet([], *args, **kwargs)
    recipe.MODELS["pixels"] = "Pixels"
    digits = data.load_dataset("mnist5k", None)
    sizes, turns = ((512, 256), 1) if smoke else ((60_000, 10_000), 5)
    whole, part = (
        Dataset("repeated", *map(repeated, (digits.train, digits.test), sizes))
        for sizes in (sizes, [size // (2 if smoke else ONE_IN) for size in sizes])
    )
    contenders = {
        "LeNet++": passes("lenetplus", part),
        "passes": passes("pixels", whole),
        "everything else": epoch(whole),
        "the same with --plotting": epoch(whole, plotting=True),
    }
    seconds = take_turns(contenders, turns)
    needed = [ONE_IN * s for s in seconds["LeNet++"]]
    rows = [("LeNet++'s passes", median(needed), "1")]
    for name in list(contenders)[2:]:
        rest = [all_of_it - net for all_of_it, net in zip(seconds[name], seconds["passes"])]
        rows.append((name, median(rest), ratio(rest, needed)))
    note = f"{sizes[0]:,} training and {sizes[1]:,} test images, {turns} turns"
    return f"{note}.\n\n{table(('what', 'seconds', '/ the passes'), rows)}"


def begin(model, dataset, **flags):
    import mxnet as mx

    from cluster.workers import Alone
    from learner import Learner
    from recipe import Recipe

    chosen = Recipe(model=model, center_loss=True, **flags)
    return Learner(chosen, dataset.train.images.shape[1:], [mx.cpu()], Alone())


def passes(model, dataset):
    """A function that makes an epoch's passes and nothing else."""
    import mxnet as mx

    import data
    from utils import EVALUATION_BATCH

    learner = begin(model, dataset)
    train_passes = bare_epoch(learner, dataset.train)
    cut = [
        slices[0][0]
        for split in (dataset.train, dataset.test)
        for slices in data.batches(split, EVALUATION_BATCH, [mx.cpu()])
    ]

    def all_passes():
        train_passes()
        for image in cut:
            learner.net(image)
        mx.nd.waitall()

    return all_passes


def epoch(dataset, **flags):
    """A function that makes a whole epoch, with all files, in a folder that goes."""
    import train
    from runs.plan import Plan
    from runs.record import Record, Surroundings
    from runs.run import Run

    learner = begin("pixels", dataset, **flags)

    def whole():
        with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
            run = Run("run", os.path.join(scratch, "ckpt"), os.path.join(scratch, "output"))
            with run.locked():
                began = time.perf_counter()
                now = Surroundings.now(learner.contexts, learner.workers)
                record = Record("run", None, learner.recipe, 1, dataset.fingerprint, now)
                plan = Plan(run, learner.recipe, 1, 0, dataset, record)
                keeper = train.Keeper(plan, learner)
                keeper.begin()
                losses, sizes = train.train_epoch(learner, dataset.train, 0)
                keeper.finish_epoch(losses, sizes, time.perf_counter() - began)
                return time.perf_counter() - began

    return whole
