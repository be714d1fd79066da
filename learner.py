"""What is trained: a network, its losses, and the optimizers that minimize them."""

import hashlib

import mxnet as mx
from mxnet import autograd, gluon

from support import params
from support.errors import UserError
from support.network import build, build_center_loss, get_params, set_params


class Learner:
    """A network with the losses and the optimizers that train it.

    Parameters
    ----------
    recipe : Recipe
    image_shape : tuple
        (channels, height, width).
    contexts : list of mxnet.Context
        Each batch is split over these devices.
    workers : support.workers.Alone or Workers
        Those that train the same network together.

    Attributes
    ----------
    net : models.FeatureNet
    center_loss : CenterLoss or None
    trainers : list of (gluon.Trainer, float, int)
        Each with its learning rate and with what its gradients are divided by; the first is the
        network's, the second, where the centers are trained, theirs.
    """

    def __init__(self, recipe, image_shape, contexts, workers):
        self.recipe, self.contexts, self.workers = recipe, contexts, workers
        self.net = build(recipe, image_shape, contexts, recipe.seed)
        self.center_loss = None
        if "center" in recipe.losses:
            weights = (recipe.lmbd, recipe.formulation)
            self.center_loss = build_center_loss(recipe, contexts, *weights)
        self.cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
        self.cross_entropy.hybridize(static_alloc=True)
        self.trainers = self.new_trainers()

    def new_trainers(self):
        recipe = self.recipe
        # Center loss alone gives the classifier no gradient, and weight decay must not wear it
        # away.
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
        # The paper's update is a mean already, which Gluon's Trainer must not divide again.
        divisor = 1 if recipe.formulation == "paper" else recipe.batch_size
        trainer = self.workers.new_center_trainer(centers, learning_rate=recipe.alpha)
        return [*trainers, (trainer, recipe.alpha, divisor)]

    def losses(self, image, label, batch_labels):
        """The losses of some images, in the order of `Recipe.losses`.

        Parameters
        ----------
        image : (b, channels, height, width) float32
        label : (b,) int32
        batch_labels : (B,) int32
            The labels of the whole batch, of which `label` is a part.

        Returns
        -------
        list of (b,) float32
        """
        output, feature = self.net(image)
        losses = []
        if "softmax" in self.recipe.losses:
            losses.append(self.cross_entropy(output, label))
        if "center" in self.recipe.losses:
            losses.append(self.center_loss(feature, label, None, batch_labels))
        return losses

    def backward(self, slices):
        """Give the parameters their gradients; returns the losses, a list a device, each (b,)."""
        with autograd.record():
            device_losses = [self.losses(*one) for one in slices]
        autograd.backward([loss for losses in device_losses for loss in losses])
        return device_losses

    def step(self, slices):
        """Make one step.

        Parameters
        ----------
        slices : list of (image, label, batch_labels)
            One a device, as `data.batches` yields them.

        Returns
        -------
        list of (losses,) float32
            The sums of the losses, one NDArray a device.
        """
        for _, label, _ in slices:
            self.workers.fetch_centers(label)
        device_losses = self.backward(slices)
        for trainer, _, divisor in self.trainers:
            trainer.step(divisor)
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
        # A Trainer knows parameters by names that count the networks made before; files do not.
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
            if name not in parts["momentum"]:
                raise UserError(f"{source} has no momentum of {name}")
            for array in arrays:
                array[:] = parts["momentum"][name]

    def digest(self):
        """A few digits that tell whether two workers have the same parameters."""
        network, centers = self.parameters()
        return hashlib.sha256(params.pack({**network, **(centers or {})})).hexdigest()[:12]
