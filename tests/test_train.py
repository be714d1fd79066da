"""The epoch loop: devices, steps against NumPy, and what it costs."""

import mxnet as mx
import numpy as np
import pytest
from helpers import mnist5k

import data
import main
import train
import utils
from learner import Learner
from support.errors import UserError
from support.network import centers_of, get_params
from support.recipe import Recipe
from support.workers import Alone


def new_learner(split, contexts, *flags):
    """A LeNet with softmax and center loss, as these flags ask for."""
    args = main.parse(["--train", "--center_loss", "--model", "lenet", *map(str, flags)])
    recipe = Recipe.merge(args.given)
    return Learner(recipe, split.images.shape[1:], contexts, Alone())


def learn(contexts, size, *flags):
    """Train an epoch on the first `size` of every 16th image; returns losses and parameters."""
    split = data.Split(*(array[::16][:size] for array in mnist5k().train))
    learner = new_learner(split, contexts, "--batch_size", 32, *flags)
    losses, sizes = train.train_epoch(learner, split, 0)
    assert sizes.sum() == size and len(losses) == len(sizes)
    return losses, {**get_params(learner.net), **get_params(learner.center_loss)}


@pytest.mark.parametrize("formulation", ["hist", "paper"])
@pytest.mark.parametrize("devices", [2, 4])
def test_several_devices_train_like_one(formulation, devices):
    """The last batch is a partial one, and the labels are counted over the whole of each."""
    flags = ("--formulation", formulation, "--lmbd", "0.1", "--momentum", "0.9", "--lr", "0.05")
    one = learn([mx.cpu()], 120, *flags)
    several = learn([mx.cpu(i) for i in range(devices)], 120, *flags)
    np.testing.assert_allclose(several[0], one[0], rtol=1e-4)
    for name, array in one[1].items():
        np.testing.assert_allclose(several[1][name], array, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("formulation", ["hist", "paper"])
def test_a_partial_batch_moves_the_centers_as_the_equations_say(formulation):
    """One step of 20 images at batch size 32: SGD divides by 32 (hist) or not at all (paper)."""
    alpha, lmbd = 0.5, 0.7
    flags = ("--formulation", formulation, "--lmbd", str(lmbd), "--alpha", str(alpha))
    split = data.Split(*(array[::200] for array in mnist5k().train))
    learner = new_learner(split, [mx.cpu()], "--batch_size", 32, *flags)
    before = centers_of(learner.center_loss)
    _, features = utils.predict(learner.net, split, mx.cpu())
    train.train_epoch(learner, split, 0)
    wanted = before.astype(np.float64)
    for j in range(10):
        members = features[split.labels == j].astype(np.float64)
        if formulation == "hist":
            wanted[j] -= alpha * lmbd / 32 * np.mean(before[j] - members, axis=0)
        else:
            wanted[j] -= alpha * np.sum(before[j] - members, axis=0) / (1 + len(members))
    np.testing.assert_allclose(centers_of(learner.center_loss), wanted, rtol=1e-4, atol=1e-6)


def test_a_batch_larger_than_the_set():
    losses, _ = learn([mx.cpu()], 20, "--batch_size", 1000)
    assert losses.shape == (1, 2)


def test_a_batch_smaller_than_the_number_of_devices_is_refused():
    train.check_split(130, 32, 2)
    with pytest.raises(UserError, match="--batch_size"):
        train.check_split(129, 32, 2)
    with pytest.raises(UserError, match="--batch_size"):
        train.check_split(3, 32, 4)


def test_the_losses_are_read_without_waiting_for_the_step(monkeypatch):
    """At most one look in READ_EVERY steps: no step waits for its own loss."""
    steps, reads = [], []
    step, asnumpy = Learner.step, mx.nd.NDArray.asnumpy
    monkeypatch.setattr(Learner, "step", lambda *args: (steps.append(1), step(*args))[1])
    monkeypatch.setattr(
        mx.nd.NDArray, "asnumpy", lambda self: (reads.append(len(steps)), asnumpy(self))[1]
    )
    monkeypatch.setattr(mx.nd.NDArray, "asscalar", None)
    split = data.Split(*(array[:100] for array in mnist5k().train))
    learner = new_learner(split, [mx.cpu()], "--batch_size", 1)
    reads.clear()
    train.train_epoch(learner, split, 0)
    assert len(reads) == 100
    assert all(read - i >= train.READ_EVERY for i, read in enumerate(reads[:64], start=1))
