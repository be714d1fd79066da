"""Center loss alone: forward, backward and update, batch 128

Three ways to write it, all with the same loss: this program's (row-sparse gradients; n_j from the
labels of the batch), the Parameter of `ParameterCenterLoss`, and the matrix of the distances to
all centers.
"""

import functools
import time

from benchmarks.harness import median, ratio, take_turns
from process.console import table
from process.startup import prepare_mxnet

BATCH = 128


def run(smoke):
    prepare_mxnet()
    classes = (10, 1000) if smoke else (10, 1000, 100_000, 1_000_000)
    turns = 2 if smoke else 5
    rows, ours = [], {}
    for feature_size in (2, 128):
        for num_classes in classes:
            contenders = {}
            for name, make in kinds().items():
                slow = name != "ours" and num_classes * BATCH >= 10**7
                contenders[name] = stepper(make, num_classes, feature_size, 1 if slow else 20)
            seconds = take_turns(contenders, turns)
            ours[num_classes, feature_size] = seconds["ours"]
            others = [ratio(seconds[name], seconds["ours"]) for name in contenders][1:]
            milliseconds = median([1000 * s for s in seconds["ours"]])
            rows.append((f"{num_classes:,} x {feature_size}", milliseconds, *others))
    header = ("centers", "this program, ms", "Parameter / this", "matrix / this")
    most = classes[-1]
    growth = ratio(ours[most, 128], ours[10, 128])
    return (
        f"{turns} turns of 20 steps (fewer where a step is slow).\n\n{table(header, rows)}\n\n"
        f"A step at {most:,} x 128 costs {growth} times the step at 10 x 128."
    )


def kinds():
    """The ways to write it, by name."""
    from mxnet import gluon

    from center_loss import CenterLoss, ParameterCenterLoss

    class MatrixCenterLoss(gluon.HybridBlock):
        def __init__(self, num_classes, feature_size):
            super().__init__()
            self.num_classes = num_classes
            self.centers = self.params.get("centers", shape=(num_classes, feature_size))

        def hybrid_forward(self, F, feature, label, centers):
            own = F.one_hot(label, self.num_classes)
            count = F.take(F.sum(own, axis=0), label)
            square = F.sum(F.square(feature), axis=1, keepdims=True)
            distance = F.broadcast_add(square, F.sum(F.square(centers), axis=1).expand_dims(0))
            distance = distance - 2 * F.dot(feature, centers, transpose_b=True)
            return F.sum(distance * own, axis=1) / 2 / count

    return {
        "ours": functools.partial(CenterLoss, sparse_grad=True),  # as the learner has it
        "parameter": ParameterCenterLoss,
        "matrix": MatrixCenterLoss,
    }


def stepper(make, num_classes, feature_size, steps=20):
    """A function that makes some steps and returns the seconds of one."""
    import mxnet as mx
    from mxnet import autograd, gluon

    loss = make(num_classes, feature_size)
    loss.initialize(mx.init.Uniform())
    loss.hybridize(static_alloc=True)
    trainer = gluon.Trainer(
        loss.collect_params(), "sgd", {"learning_rate": 0.5}, update_on_kvstore=False
    )
    feature = mx.nd.random.normal(shape=(BATCH, feature_size))
    feature.attach_grad()
    label = mx.nd.random.randint(0, num_classes, shape=(BATCH,), dtype="int32")

    def some_steps():
        mx.nd.waitall()
        began = time.perf_counter()
        for _ in range(steps):
            with autograd.record():
                value = loss(feature, label)
            value.backward()
            trainer.step(BATCH)
        mx.nd.waitall()
        return (time.perf_counter() - began) / steps

    return some_steps
