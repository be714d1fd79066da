"""Devices, and networks on them: how they are made, read and set."""

import mxnet as mx
import numpy as np

import models
from center_loss import CenterLoss
from support.console import warn
from support.errors import UserError
from support.recipe import MODELS

INITIALIZER = mx.init.Xavier(magnitude=2.24)


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
        warn("there is no GPU that this MXNet can use: using the CPU")
    return [mx.cpu()]


def usable(gpu):
    try:
        if gpu.device_id >= mx.context.num_gpus():
            return False
        mx.nd.ones(1, gpu).asnumpy()  # fails where this MXNet has no machine code for the GPU
    except mx.MXNetError:
        return False
    return True


def build(network, image_shape, contexts, seed=0):
    """Make a network, initialized from the seed.

    Parameters
    ----------
    network : support.recipe.Network
    image_shape : tuple
        (channels, height, width).
    contexts : list of mxnet.Context
    seed : int

    Returns
    -------
    models.FeatureNet
    """
    mx.random.seed(seed)
    make = getattr(models, MODELS[network.model])
    net = make(network.num_classes, network.feature_size, use_bias=not network.no_bias)
    net.initialize(INITIALIZER, ctx=contexts)
    for ctx in contexts:  # now, so that shapes are known and the order of random numbers is fixed
        net(mx.nd.zeros((1, *image_shape), ctx))
    net.hybridize(static_alloc=True)
    return net


def build_center_loss(network, contexts, *args):
    """Make the center loss of a network; `args` are further ones of `CenterLoss`."""
    center_loss = CenterLoss(network.num_classes, network.feature_size, *args)
    center_loss.initialize(INITIALIZER, ctx=contexts)
    center_loss.hybridize(static_alloc=True)
    return center_loss


def centers_of(center_loss):
    """The centers, (num_classes, feature_size) float32; None of no center loss."""
    return None if center_loss is None else get_params(center_loss)["embedding.weight"]


def get_params(block):
    """Copy a block's parameters, by structural name, to float32 arrays."""
    mx.nd.waitall()  # a convolution that is under way may be rearranging its weights
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


def restore(trained, net, center_loss=None):
    """Put the best network of a run, a `support.runs.Trained`, and its centers into blocks."""
    set_params(net, trained.params, trained.run.best)
    if center_loss is not None:
        set_params(center_loss, trained.centers, trained.run.feature_matrix)


def restored(trained, image_shape, ctx):
    """The network of a run, and its centers if it has any."""
    net = build(trained.network, image_shape, [ctx])
    center_loss = build_center_loss(trained.network, [ctx]) if trained.centers else None
    restore(trained, net, center_loss)
    return net, centers_of(center_loss)
