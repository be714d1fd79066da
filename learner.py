"""What is trained: a network, its losses, the optimizers that minimize them, and devices."""

import hashlib

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

import models
from center_loss import CenterLoss
from process.console import warn
from process.errors import UserError
from recipe import MODELS

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


def new_net(network):
    """The network that a `recipe.Network` describes; its shapes are not known yet."""
    make = getattr(models, MODELS[network.model])
    return make(network.num_classes, network.feature_size, use_bias=not network.no_bias)


def build(network, image_shape, contexts, seed=0):
    """Make a `models.FeatureNet` for images of shape (C, H, W), initialized from the seed."""
    mx.random.seed(seed)
    net = new_net(network)
    net.initialize(INITIALIZER, ctx=contexts)
    for ctx in contexts:  # now, so that shapes are known and the order of random numbers is fixed
        net(mx.nd.zeros((1, *image_shape), ctx))
    net.hybridize(static_alloc=True)
    return net


def build_center_loss(network, contexts, *args):
    """Make the center loss of a network; `args` are further ones of `CenterLoss`."""
    center_loss = CenterLoss(network.num_classes, network.feature_size, *args, sparse_grad=True)
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
    # Of a copy: to read a convolution's weights themselves, which an evaluation has rearranged for
    # oneDNN, makes every step after it slower, LeNet's 1.4 times.
    data = {name: param.data(param.list_ctx()[0]) for name, param in params.items()}
    return {name: array.copy().asnumpy() for name, array in data.items()}


def set_params(block, arrays, source):
    """Set all parameters of an initialized block to float32 `arrays`, by structural name.

    Raises UserError, which names the `source` (Path), where names or shapes differ from the
    block's, or a value is not finite.
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


class Learner:
    """A network with the losses and the optimizers that train it.

    Parameters
    ----------
    recipe : Recipe
    image_shape : tuple
        (channels, height, width).
    contexts : list of mxnet.Context
        Each batch is split over these devices.
    workers : cluster.workers.Alone or Workers
        Those that train the same network together.

    Attributes
    ----------
    net : models.FeatureNet
    center_loss : CenterLoss or None
    trainers : list of (gluon.Trainer, float, int)
        Each with its learning rate and with what its `step` takes; the first is the
        network's, the second, where the centers are trained, theirs.
    """

    def __init__(self, recipe, image_shape, contexts, workers):
        self.recipe, self.contexts, self.workers = recipe, contexts, workers
        self.net = build(recipe, image_shape, contexts, recipe.seed)
        self.center_loss = None
        if "center" in recipe.losses:
            formula = recipe.lmbd, recipe.formulation
            self.center_loss = build_center_loss(recipe, contexts, *formula)
        self.cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
        self.cross_entropy.hybridize(static_alloc=True)
        self.trainers = self.new_trainers()

    def new_trainers(self):
        recipe = self.recipe
        # Center loss alone gives the classifier no gradient: weight decay must not wear it away.
        network = self.net.features if recipe.second else self.net
        trainer = self.workers.new_trainer(
            network.collect_params(),
            learning_rate=recipe.lr, wd=recipe.wd, momentum=recipe.momentum,
        )  # fmt: skip
        trainers = [(trainer, recipe.lr, recipe.batch_size)]
        if self.center_loss is None:
            return trainers
        centers = self.center_loss.collect_params()
        if recipe.second:
            centers.setattr("grad_req", "null")  # or all would meet at one point
            return trainers
        trainer = self.workers.new_center_trainer(centers, learning_rate=recipe.alpha)
        step_size = self.center_loss.step_size(recipe.batch_size)
        return [*trainers, (trainer, recipe.alpha, step_size)]

    def losses(self, image, label, batch_labels):
        """The losses (b,) float32 of images (b, C, H, W), in the order of `Recipe.losses`.

        Their labels (b,) are a part of those of the whole batch, (B,).
        """
        output, feature = self.net(image)
        losses = []
        if "softmax" in self.recipe.losses:
            losses.append(self.cross_entropy(output, label))
        if "center" in self.recipe.losses:
            losses.append(self.center_loss(feature, label, None, batch_labels))
        return losses

    def backward(self, slices):
        """Give the parameters their gradients; returns the losses (b,), a list per device."""
        with autograd.record():
            device_losses = [self.losses(*part) for part in slices]
        autograd.backward([loss for losses in device_losses for loss in losses])
        return device_losses

    def step(self, slices):
        """Make one step with a device's slices of a batch each, as `data.batches` yields them.

        Returns the sums of the losses, one (losses,) float32 NDArray a device.
        """
        for _, label, _ in slices:
            self.workers.fetch_centers(label)
        device_losses = self.backward(slices)
        for trainer, _, step_size in self.trainers:
            trainer.step(step_size)
        return [mx.nd.concat(*[loss.sum() for loss in losses], dim=0) for losses in device_losses]

    def set_learning_rates(self, progress):
        """Choose the rates for after so many epochs, which may be a fraction."""
        for trainer, lr, _ in self.trainers:
            trainer.set_learning_rate(self.recipe.decayed(lr, progress))

    def parameters(self):
        """Copies of the network's and, None if there are none, of the centers' parameters."""
        return get_params(self.net), self.center_loss and get_params(self.center_loss)

    def momentum(self):
        """The momentum of each trained parameter, by structural name: one NDArray a device."""
        if not self.recipe.momentum:
            return {}
        trainer, momentum = self.trainers[0][0], {}
        # Gluon numbers blocks within a process (dense0, dense1); files use structural names.
        names = {param.name: n for n, param in self.net._collect_params_with_prefix().items()}
        for i, param in enumerate(trainer._params):
            for updater, ctx in zip(trainer._updaters, trainer._contexts):
                updater.states.setdefault(i, mx.nd.zeros(param.shape, ctx))
                updater.states_synced[i] = True
            momentum[names[param.name]] = [updater.states[i] for updater in trainer._updaters]
        return momentum

    def state(self):
        """All that --resume needs: a dict of str to float32 array."""
        network, centers = self.parameters()
        state = {f"network.{name}": array for name, array in network.items()}
        state.update((f"centers.{name}", array) for name, array in (centers or {}).items())
        for name, arrays in self.momentum().items():
            state[f"momentum.{name}"] = arrays[0].asnumpy()
        return state

    def load_state(self, state, source):
        """Put back what `state` gave; raises UserError where it is another network's."""
        parts = {"network": {}, "centers": {}, "momentum": {}}
        for key, array in state.items():
            part, _, name = key.partition(".")
            parts[part][name] = array
        set_params(self.net, parts["network"], source)
        if self.center_loss is not None:
            set_params(self.center_loss, parts["centers"], source)
        for name, arrays in self.momentum().items():
            for array in arrays:
                array[:] = parts["momentum"][name]

    def digest(self):
        """A few digits that tell whether two workers have the same parameters."""
        network, centers = self.parameters()
        digest = hashlib.sha256()
        for array in {**network, **(centers or {})}.values():
            digest.update(array)
        return digest.hexdigest()[:12]
