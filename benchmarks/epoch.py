"""Epoch overhead: what an epoch costs beside its passes

The passes are: forward, backward and update over the training set, then forward over both sets,
with batches cut before. A whole epoch also shuffles and cuts batches, reads losses, computes
accuracies by both methods, writes history, record and checkpoint and, with --plotting, draws both
sets.
"""

import os
import tempfile

from benchmarks.contenders import bare, repeated
from benchmarks.harness import median, ratio, table, take_turns
from runtime import prepare_mxnet


def run(smoke):
    prepare_mxnet()
    import mxnet as mx

    import data
    import main
    import runs
    import train
    from utils import EVALUATION_BATCH

    sizes, turns = ((256, 128), 1) if smoke else ((3840, 640), 3)
    digits = data.read_mnist5k()
    splits = [repeated(split, size) for split, size in zip((digits.train, digits.test), sizes)]
    dataset = data.Dataset("repeated", *splits)
    train_passes = bare(sizes[0])

    def epoch(*flags):
        args, _ = main.parse(["--train", "--center_loss", *flags])
        learner = train.new_learner(args, dataset, [mx.cpu()], False)
        run = runs.Run("run", "ckpt", "output")

        def whole():
            record = train.new_record(args, False, run, dataset, [mx.cpu()], None, None)
            train.finish_epoch(args, run, record, dataset, learner, [mx.cpu()], 0)

        return whole, learner.net

    plain, net = epoch()
    plotting, _ = epoch("--plotting")
    cut = [
        slices[0][0]
        for split in splits
        for slices in data.batches(split, EVALUATION_BATCH, [mx.cpu()])
    ]

    def passes():
        train_passes()
        for image in cut:
            net(image)
        mx.nd.waitall()

    folder = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            with runs.Run("run", "ckpt", "output").locked():
                contenders = {"passes": passes, "plain": plain, "plotting": plotting}
                seconds = take_turns(contenders, turns)
        finally:
            os.chdir(folder)
    rows = [
        (name, median(seconds[key]), ratio(seconds[key], seconds["passes"]))
        for key, name in (
            ("passes", "the passes alone"),
            ("plain", "an epoch"),
            ("plotting", "an epoch with --plotting"),
        )
    ]
    note = f"LeNet++, {sizes[0]} training and {sizes[1]} test images, {turns} turns"
    return f"{note}.\n\n{table(('what', 'seconds', '/ the passes'), rows)}"
