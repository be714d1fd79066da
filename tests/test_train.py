"""The epoch loop: devices, steps against NumPy, and what it costs."""

import mxnet as mx
import numpy as np
import pytest
from helpers import mnist5k
from hypothesis import given
from hypothesis import strategies as st

import data
import main
import train
import utils
from learner import Learner
from support.errors import UserError
from support.network import centers_of, get_params
from support.recipe import HUGE, TINY, Recipe
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
    features = utils.predict(learner.net, None, split.images, mx.cpu()).features
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
    check_split(130, 28, 2, batch_size=32)
    for size, devices in ((129, 2), (3, 4)):
        with pytest.raises(UserError, match="--batch_size"):
            check_split(size, 28, devices, batch_size=32)


def check_split(size, side, devices=1, **flags):
    """`train.check_split` of so many images of side x side pixels."""
    images = np.broadcast_to(np.uint8(0), (size, 1, side, side))
    split = data.Split(images, np.broadcast_to(0, size))
    train.check_split(split, Recipe(**flags), devices)


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


@given(lr=st.floats(TINY, HUGE), factor=st.floats(TINY, HUGE), epoch=st.integers(0, 2**31 - 1))
def test_every_learning_rate_of_a_schedule_fits_float32(lr, factor, epoch):
    rate = Recipe(lr_factor=factor, lr_step=1).decayed(lr, epoch)
    with np.errstate(all="raise"):
        assert np.float32(rate) == 0 or np.float32(rate) >= np.finfo(np.float32).tiny
    assert np.isfinite(np.float32(rate))


def test_a_schedule_that_ends_below_all_numbers_goes_to_its_end(cli):
    flags = ("--train", "--center_loss", "--data_dir", "digits", "--model", "lenet")
    done = cli(*flags, "--lr_step", 1, "--epochs", 42, "--momentum", 0.9)
    assert done.status == 0 and "Epoch [41]" in done.out, done.err


def test_batches_whose_arrays_mxnet_cannot_hold_are_refused():
    for size, side, flags in (
        (60_000, 28, {"batch_size": 47_000, "center_loss": True}),
        (60_000, 28, {"num_classes": 5_000_000, "batch_size": 500}),
        (200, 1000, {"batch_size": 68}),
    ):
        with pytest.raises(UserError, match="2\\^31.*--batch_size"):
            check_split(size, side, **flags)
    check_split(60_000, 28, batch_size=47_000)
    check_split(4000, 28, batch_size=47_000, center_loss=True)
    check_split(200, 1000, batch_size=67)


def test_an_evaluation_takes_batches_that_fit(monkeypatch):
    split = data.Split(*(array[:50] for array in mnist5k().test))
    learner = new_learner(split, [mx.cpu()])
    centers = centers_of(learner.center_loss)
    wanted = utils.predict(learner.net, centers, split.images, mx.cpu())
    sizes = []
    batches = utils.batches
    monkeypatch.setattr(
        utils,
        "batches",
        lambda split, size, ctx: (sizes.append(size), batches(split, size, ctx))[1],
    )
    monkeypatch.setattr(utils, "MOST_ELEMENTS", 20 * 32 * 28 * 28)
    for values, other in zip(wanted, utils.predict(learner.net, centers, split.images, mx.cpu())):
        np.testing.assert_allclose(values, other, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(utils, "MOST_ELEMENTS", 5)
    utils.predict(learner.net, None, split.images, mx.cpu())
    assert sizes == [20, 1]
