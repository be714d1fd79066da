"""How curved the training loss is where a run stands, and so which learning rates hold there.

`python -m benchmarks.curvature` takes the flags of `main.py --test`, and looks at the best network
of a run. Along a direction of curvature h gradient descent with learning rate lr multiplies its
distance to the bottom by 1 - lr h in every step, so it holds only where h < 2 / lr; with momentum
m where h < 2 (1 + m) / lr. Training tends to rise to that very edge (Cohen et al., "Gradient
Descent on Neural Networks Typically Occurs at the Edge of Stability", ICLR 2021), and a loss that
suddenly jumps has crossed it.
"""

import sys

import numpy as np

import main
from benchmarks.harness import table
from runtime import UserError, prepare_mxnet

BATCHES, ITERATIONS, STEP = 8, 12, 0.01


def largest_curvature(gradient, point, iterations=ITERATIONS, step=STEP):
    """The eigenvalue of largest magnitude of a loss's Hessian, by power iteration.

    Parameters
    ----------
    gradient : function
        From (n,) to (n,) float64.
    point : (n,) float64
        Where.
    iterations : int
    step : float
        How far from `point`, to both sides, gradients are compared.

    Returns
    -------
    float
    """
    direction = np.random.RandomState(0).normal(size=len(point))
    for _ in range(iterations):
        direction /= np.linalg.norm(direction)
        ahead, behind = (gradient(point + sign * step * direction) for sign in (1, -1))
        image = (ahead - behind) / (2 * step)
        curvature, direction = float(direction @ image), image
    return curvature


def measure(argv):
    """A table of one row; raises UserError as main.py --test does."""
    args, given = main.parse(["--test", *argv])
    prepare_mxnet()
    import mxnet as mx

    import data
    import train
    import utils

    args, record, params = utils.open_run(args, given)
    if record is None:
        raise UserError(f"{args.prefix} has no record, which says how it was trained")
    args = utils.adopt_flags(args, set(), record, train.TRAINING_FLAGS)
    args.center_loss = record["flags"].get("center_loss", False)
    (ctx,) = utils.choose_contexts(args.use_gpu, None)
    dataset = data.load_dataset(args.dataset, args.data_dir, args.num_classes)
    second = record["action"] == "second_train"
    learner = train.new_learner(args, dataset, [ctx], second)
    utils.load_params(params, learner.net, learner.center_loss)
    order = train.shuffled(len(dataset.train.labels), args.seed, 0)
    order = order[: BATCHES * args.batch_size]
    batches = list(data.batches(dataset.train, args.batch_size, [ctx], order))
    weights = list(learner.net.collect_params().values())
    for weight in weights:
        weight.grad_req = "add"

    def gradient(point):
        ends = np.cumsum([weight.data().size for weight in weights])
        for weight, part in zip(weights, np.split(point, ends[:-1])):
            weight.set_data(mx.nd.array(part.reshape(weight.shape)))
            weight.zero_grad()
        for slices in batches:
            train.backward(learner, slices)
        return flat([weight.grad() for weight in weights]) / len(order)

    def flat(arrays):
        return np.concatenate([array.asnumpy().ravel() for array in arrays]).astype(np.float64)

    point = flat([weight.data() for weight in weights])
    split = data.Split(*(array[order] for array in dataset.train))
    _, features = utils.predict(learner.net, split, ctx)
    best = record["history"][record["best"]["epoch"]]
    row = (
        args.prefix, best["epoch"], f"{best['lr']:g}",
        f"{2 * (1 + args.momentum) / best['lr']:g}",
        f"{largest_curvature(gradient, point):.3g}",
        f"{np.linalg.norm(gradient(point)):.3g}",
        f"{np.linalg.norm(features, axis=1).mean():.3g}",
    )  # fmt: skip
    header = ("run", "epoch", "lr", "edge", "largest curvature", "gradient", "mean feature norm")
    return table(header, [row])


if __name__ == "__main__":
    try:
        print(measure(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"curvature: error: {error}")
