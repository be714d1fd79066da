"""How curved the training loss is where a run stands, and so which learning rates hold there.

`python -m experiments.curvature` takes the flags of `main.py --test`, and looks at the best network
of a run. Along a direction of curvature h gradient descent with learning rate lr multiplies its
distance to the bottom by 1 - lr h in every step, so it holds only where h < 2 / lr; with momentum
m where h < 2 (1 + m) / lr. Training tends to rise to that very edge (Cohen et al., "Gradient
Descent on Neural Networks Typically Occurs at the Edge of Stability", ICLR 2021). The rate, and so
the edge, is that of the best epoch's last step.
"""

import numpy as np

import main
from experiments import answer_flags
from process.console import note, table
from process.errors import UserError
from process.startup import prepare_mxnet

BATCHES, STEP, TOLERANCE = 8, 0.01, 0.01


def largest_curvature(gradient, point, step=STEP):
    """The eigenvalue of largest magnitude of a loss's Hessian, by SciPy's Lanczos iteration.

    Parameters
    ----------
    gradient : function
        From (n,) to (n,) float64.
    point : (n,) float64
        Where.
    step : float
        How far from `point`, to both sides, gradients are compared: half their difference is the
        product of the Hessian and the step.

    Returns
    -------
    float
        Right to about `TOLERANCE` of itself.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    def product(direction):
        length = np.linalg.norm(direction)
        away = direction.ravel() * (step / length)
        return (gradient(point + away) - gradient(point - away)) * (length / (2 * step))

    hessian = LinearOperator((len(point), len(point)), product, dtype=np.float64)
    start = np.random.RandomState(0).normal(size=len(point))
    return float(eigsh(hessian, 1, v0=start, tol=TOLERANCE, return_eigenvectors=False)[0])


def measure(argv):
    """A table of one row; raises UserError as main.py --test does."""
    args = main.parse(["--test", *argv])
    prepare_mxnet()
    from cluster.workers import Alone
    from data import batches
    from learner import Learner, choose_contexts
    from runs.trained import load_data, open_run
    from train import randomize

    trained = open_run(main.run_of(args), args.given)
    if trained.record is None:
        raise UserError(f"{args.prefix} has no record, which says how it was trained")
    recipe = trained.record.recipe
    contexts = choose_contexts(args.use_gpu, None)
    train_set = load_data([trained], args.dataset, args.data_dir).train
    learner = Learner(recipe, train_set.images.shape[1:], contexts, Alone())
    trained.copy_to(learner.net, learner.center_loss)
    order, warps = randomize(train_set, recipe, 0)
    order = order[: BATCHES * recipe.batch_size]
    cut = list(batches(train_set, recipe.batch_size, contexts, order, warps=warps))
    features = [learner.net(image)[1].asnumpy() for slices in cut for image, *_ in slices]
    gradient, point = gradient_of(learner, cut, len(order))
    note(f"about 40 gradients over {len(order)} images are computed")
    best = trained.record.history[trained.record.best.epoch]
    row = (
        args.prefix, str(best.epoch), f"{best.lr:g}",
        f"{2 * (1 + recipe.momentum) / best.lr:g}",
        f"{largest_curvature(gradient, point):.3g}",
        f"{np.linalg.norm(gradient(point)):.3g}",
        f"{np.linalg.norm(np.concatenate(features), axis=1).mean():.3g}",
    )  # fmt: skip
    header = ("run", "epoch", "lr", "edge", "largest curvature", "gradient", "mean feature norm")
    return table(header, [row])


def gradient_of(learner, cut, images):
    """The gradient of the mean loss over the batches `cut`, of so many `images`, as a function of
    the network's parameters, (n,) float64 like the gradient; and what they are now."""
    import mxnet as mx

    weights = list(learner.net.collect_params().values())
    for weight in weights:
        weight.grad_req = "add"

    def flat(arrays):
        return np.concatenate([array.asnumpy().ravel() for array in arrays]).astype(np.float64)

    def gradient(point):
        ends = np.cumsum([weight.data().size for weight in weights])
        for weight, part in zip(weights, np.split(point, ends[:-1])):
            weight.set_data(mx.nd.array(part.reshape(weight.shape)))
            weight.zero_grad()
        for slices in cut:
            learner.backward(slices)
        return flat([weight.grad() for weight in weights]) / images

    return gradient, flat([weight.data() for weight in weights])


if __name__ == "__main__":
    answer_flags("curvature", __doc__, measure)
