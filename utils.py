"""What training and evaluation share: devices, networks, trained runs, and accuracies."""

import argparse
import sys

import mxnet as mx
import numpy as np

from center_loss import CenterLoss
from data import batches
from models import MODELS
from runs import Run
from runtime import UserError

MODEL_FLAGS = ("model", "no_bias", "num_classes", "feature_size")
EVALUATION_BATCH = 500

# --- devices and networks ----------------------------------------------------------------------


def choose_contexts(use_gpu, gpus):
    """The devices that the flags ask for."""
    for i in gpus or ():
        if not usable(mx.gpu(i)):
            raise UserError(f"--gpus {i}: there is no GPU {i} that this MXNet can use")
    if gpus:
        return [mx.gpu(i) for i in gpus]
    if use_gpu and usable(mx.gpu(0)):
        return [mx.gpu(0)]
    if use_gpu:
        print("WARNING: there is no GPU that this MXNet can use: using the CPU", file=sys.stderr)
    return [mx.cpu()]


def usable(gpu):
    try:
        if gpu.device_id >= mx.context.num_gpus():
            return False
        mx.nd.ones(1, gpu).asnumpy()  # fails where this MXNet has no machine code for the GPU
    except mx.MXNetError:
        return False
    return True


def build(args, dataset, contexts, centered):
    """Make network and, if `centered`, center loss, initialized from the seed."""
    mx.random.seed(args.seed)
    initializer = mx.init.Xavier(magnitude=2.24)
    net = MODELS[args.model](args.num_classes, args.feature_size, use_bias=not args.no_bias)
    net.initialize(initializer, ctx=contexts)
    for ctx in contexts:  # now, so that shapes are known and the order of random numbers is fixed
        net(mx.nd.zeros((1, *dataset.train.images.shape[1:]), ctx))
    net.hybridize(static_alloc=True)
    if not centered:
        return net, None
    center_loss = CenterLoss(args.num_classes, args.feature_size, args.lmbd, args.formulation)
    center_loss.initialize(initializer, ctx=contexts)
    center_loss.hybridize(static_alloc=True)
    return net, center_loss


def centers_of(center_loss):
    """The centers, (num_classes, feature_size) float32; None of no center loss."""
    return None if center_loss is None else get_params(center_loss)["embedding.weight"]


def get_params(block):
    """Copy a block's parameters, by structural name, to float32 arrays."""
    params = block._collect_params_with_prefix()
    return {name: param.data(param.list_ctx()[0]).asnumpy() for name, param in params.items()}


def set_params(block, arrays, source):
    """Set all of a block's parameters.

    Parameters
    ----------
    block : gluon.Block
        Initialized, with known shapes.
    arrays : dict of str to float32 array
        By structural name.
    source : str
        Where they come from, for the message.

    Raises
    ------
    UserError
        Names or shapes differ from the block's, or a value is not finite.
    """
    params = block._collect_params_with_prefix()
    different = sorted(set(params) ^ set(arrays))
    if different:
        where = "has no" if different[0] in params else "has"
        raise UserError(
            f"{source} {where} {different[0]}: it was trained with another --model or --no_bias"
        )
    for name, param in params.items():
        if param.shape != arrays[name].shape:
            raise UserError(
                f"{source}: {name} is {arrays[name].shape}, but {param.shape} is wanted: it was "
                "trained with another --num_classes, --feature_size or size of images"
            )
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{source}: {name} holds values that are not finite")
    for name, param in params.items():
        param.set_data(mx.nd.array(arrays[name]))


# --- trained runs ------------------------------------------------------------------------------


def adopt_flags(args, given, record, names):
    """Take flags from a run's record; refuse those that the user gave otherwise."""
    recorded = {name: record["flags"][name] for name in names}
    for name in names:
        if name in given and getattr(args, name) != recorded[name]:
            raise UserError(
                f"--{name} {getattr(args, name)} contradicts the run {record['prefix']}, "
                f"which has {recorded[name]}: leave the flag away, or choose another --prefix"
            )
    return argparse.Namespace(**{**vars(args), **recorded})


def open_run(args, given, needs_centers_for=None):
    """Read the best network of a run.

    Parameters
    ----------
    args : argparse.Namespace
    given : set of str
        As for `train`.
    needs_centers_for : str, optional
        A flag that a run without centers is refused for.

    Returns
    -------
    args : argparse.Namespace
        With the network's flags as the run has them.
    record : dict or None
    params : dict of Path to dict
        What stands in the files of the network and, if there are any, of the centers.
    """
    run = Run(args.prefix, args.ckpt_dir, args.out_dir)
    while True:
        record = run.read_record()
        if record:
            args = adopt_flags(args, given, record, MODEL_FLAGS)
            centered = run.feature_matrix.name in record["sha256"]
        else:  # perhaps a run of the program of 2019
            centered = run.feature_matrix.exists()
        if needs_centers_for and not centered and (record or run.best.exists()):
            raise UserError(
                f"{run.prefix} was trained with softmax loss alone and has no feature matrix, "
                f"whose centers {needs_centers_for} needs: train with --center_loss"
            )
        paths = [run.best, run.feature_matrix] if centered else [run.best]
        try:
            return args, record, {path: run.read_params(path, record) for path in paths}
        except UserError:
            if record == run.read_record():
                raise
        # Otherwise the run is being trained, and has just finished an epoch: read it again.


def load_params(params, *blocks):
    """Put what `open_run` read into network and center loss."""
    for (path, arrays), block in zip(params.items(), blocks):
        set_params(block, arrays, path)


def same_data(record, dataset):
    """Whether a run is known to have been trained on this very data set."""
    return bool(record) and record["dataset"]["sha256"] == dataset.record()["sha256"]


def warn_of_other_data(record, dataset):
    """Say so where a run was trained on other data than it is used on."""
    if record and not same_data(record, dataset):
        print(
            f"WARNING: {record['prefix']} was trained on {record['dataset']['name']}, and is now "
            f"used on other data: {dataset.name}",
            file=sys.stderr,
        )


# --- evaluate ----------------------------------------------------------------------------------


def predict(net, split, ctx):
    """Run the network over a whole split.

    Parameters
    ----------
    net : FeatureNet
    split : data.Split
        N images.
    ctx : mxnet.Context

    Returns
    -------
    predicted : (N,) int64
        The class of the largest logit.
    features : (N, feature_size) float32

    Raises
    ------
    UserError
        A feature is not finite.
    """
    predicted, features = [], []
    for ((image, _, _),) in batches(split, EVALUATION_BATCH, [ctx]):
        output, feature = net(image)
        predicted.append(output.argmax(axis=1).asnumpy())
        features.append(feature.asnumpy())
    features = np.concatenate(features)
    check_finite(features, "a feature")
    return np.concatenate(predicted).astype(np.int64), features


def check_finite(values, what):
    """Raise UserError unless all values are finite."""
    if not np.isfinite(values).all():
        raise UserError(f"{what} became NaN or infinite: try a lower --lr, --lmbd or --alpha")


def nearest_center(features, centers, columns=2048, block=2**21):
    """Find the center nearest to each feature, by Euclidean distance.

    Memory beside input and output is that of a block of distances, in double precision: in single
    precision ||c||^2 - 2 x.c loses what tells near centers apart.

    Parameters
    ----------
    features : (N, d) float
    centers : (C, d) float
    columns, block : int
        How many centers a block has at the most, and how many distances.

    Returns
    -------
    (N,) int64
        The index of the center; of equally near ones the lowest.
    """
    nearest = np.zeros(len(features), np.int64)
    smallest = np.full(len(features), np.inf)
    rows = max(1, block // min(columns, len(centers)))
    for column in range(0, len(centers), columns):
        center = centers[column : column + columns].astype(np.float64)
        square = (center**2).sum(axis=1)
        for row in range(0, len(features), rows):
            part = slice(row, row + rows)
            distance = features[part].astype(np.float64) @ (-2 * center.T)
            distance += square  # without ||x||^2, which is the same for every center
            index = distance.argmin(axis=1)
            distance = distance[np.arange(len(index)), index]
            nearer = distance < smallest[part]
            nearest[part][nearer] = column + index[nearer]
            smallest[part][nearer] = distance[nearer]
    return nearest


def evaluate(net, centers, split, ctx):
    """Classify a split by class prediction and, where there are centers, by the nearest one.

    Parameters
    ----------
    net : FeatureNet
    centers : (num_classes, feature_size) float32, or None
    split : data.Split
    ctx : mxnet.Context

    Returns
    -------
    accuracy : dict of str to float
        The share of right answers by ``softmax`` and, given centers, by ``knn``.
    features : (N, feature_size) float32
    """
    predicted, features = predict(net, split, ctx)
    accuracy = {"softmax": float(np.mean(predicted == split.labels))}
    if centers is not None:
        accuracy["knn"] = float(np.mean(nearest_center(features, centers) == split.labels))
    return accuracy, features
