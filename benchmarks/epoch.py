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


def run(smoke):
    prepare_mxnet()
    import mxnet as mx

    import data
    import models
    import recipe
    import train
    from cluster.workers import Alone
    from datasets.dataset import Dataset
    from learner import Learner
    from runs.plan import Plan
    from runs.record import Record, Surroundings
    from runs.run import Run
    from utils import EVALUATION_BATCH

    # LeNet++ makes a share of the passes only: each costs what the one before did.
    sizes, share, turns = ((256, 128), 2, 1) if smoke else ((60_000, 10_000), 40, 5)
    digits = data.load_dataset("mnist5k", None)
    models.Pixels = lambda *args, **kwargs: models.FeatureNet([], *args, **kwargs)
    recipe.MODELS["pixels"] = "Pixels"

    def repeat(*sizes):
        return Dataset("repeated", *map(repeated, (digits.train, digits.test), sizes))

    def begin(model, dataset, **flags):
        shape = dataset.train.images.shape[1:]
        chosen = recipe.Recipe(model=model, center_loss=True, **flags)
        return Learner(chosen, shape, [mx.cpu()], Alone())

    def passes(model, dataset):
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
        learner = begin("pixels", dataset, **flags)
        run = Run("run", "ckpt", "output")

        def whole():
            began = time.perf_counter()
            with contextlib.redirect_stdout(sys.stderr):
                now = Surroundings.now(learner.contexts, learner.workers)
                record = Record("run", None, learner.recipe, 1, dataset.fingerprint, now)
                plan = Plan(run, learner.recipe, 1, 0, dataset, learner.contexts, record)
                keeper = train.Keeper(plan, learner)
                keeper.begin()
                losses, sizes = train.train_epoch(learner, dataset.train, 0)
                keeper.finish_epoch(losses, sizes, time.perf_counter() - began)

        return whole

    dataset = repeat(*sizes)
    contenders = {
        "LeNet++": passes("lenetplus", repeat(*(size // share for size in sizes))),
        "passes": passes("pixels", dataset),
        "plain": epoch(dataset),
        "plotting": epoch(dataset, plotting=True),
    }
    folder = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            with Run("run", "ckpt", "output").locked():
                seconds = take_turns(contenders, turns)
        finally:
            os.chdir(folder)
    needed = [share * s for s in seconds["LeNet++"]]
    rows = [("LeNet++'s passes", median(needed), "1")]
    for key, name in (("plain", "everything else"), ("plotting", "the same with --plotting")):
        rest = [whole - net for whole, net in zip(seconds[key], seconds["passes"])]
        rows.append((name, median(rest), ratio(rest, needed)))
    note = (
        f"{sizes[0]:,} training and {sizes[1]:,} test images, {turns} turns; LeNet++'s passes are "
        f"{share} times those over a {share}th of the images"
    )
    return f"{note}.\n\n{table(('what', 'seconds', '/ the passes'), rows)}"
