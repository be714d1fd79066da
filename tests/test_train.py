"""The epoch loop: devices, steps against NumPy, and what it costs."""

import re

import mxnet as mx
import numpy as np
import pytest
from equations import by_the_equations, moved
from helpers import QUICK, mnist5k
from scipy.ndimage import map_coordinates

import data
import main
import train
import utils
from cluster.workers import Alone
from datasets.dataset import Split
from datasets.warps import random_warps
from learner import Learner, centers_of, get_params
from process import console
from process.errors import UserError
from recipe import FORMULATIONS, Recipe
from runs import plan
from runs.run import Run
from runs.size import check_split
from runs.trained import open_run


def new_learner(split, contexts, *flags):
    """A LeNet with softmax and center loss, as these flags ask for."""
    args = main.parse(["--train", "--center_loss", "--model", "lenet", *map(str, flags)])
    recipe = Recipe.merge(args.given)
    return Learner(recipe, split.images.shape[1:], contexts, Alone())


def learn(contexts, size, *flags):
    """Train an epoch on the first `size` of every 16th image; returns losses and parameters."""
    split = Split(*(array[::16][:size] for array in mnist5k().train))
    learner = new_learner(split, contexts, "--batch_size", 32, *flags)
    losses, sizes = train.train_epoch(learner, split, 0)
    assert sizes.sum() == size and len(losses) == len(sizes)
    return losses, {**get_params(learner.net), **get_params(learner.center_loss)}


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("devices, more", [(2, ()), (4, ("--augment", "--lr_schedule", "cosine"))])
def test_several_devices_train_like_one(formulation, more, devices):
    """The last batch is a partial one, and the labels are counted over the whole of each."""
    flags = ("--formulation", formulation, "--lmbd", "0.1", "--momentum", "0.9", "--lr", "0.05")
    flags += more
    one = learn([mx.cpu()], 120, *flags)
    several = learn([mx.cpu(i) for i in range(devices)], 120, *flags)
    np.testing.assert_allclose(several[0], one[0], rtol=1e-4)
    for name, array in one[1].items():
        np.testing.assert_allclose(several[1][name], array, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_a_partial_batch_moves_the_centers_as_the_equations_say(formulation):
    """One step of 20 images at batch size 32: SGD divides by 32, if at all."""
    alpha, lmbd = 0.5, 0.7
    flags = ("--formulation", formulation, "--lmbd", str(lmbd), "--alpha", str(alpha))
    split = Split(*(array[::200] for array in mnist5k().train))
    learner = new_learner(split, [mx.cpu()], "--batch_size", 32, *flags)
    before = centers_of(learner.center_loss)
    features = utils.classify(learner.net, None, split.images, mx.cpu()).features
    train.train_epoch(learner, split, 0)
    _, _, pulls = by_the_equations(formulation, features, split.labels, before, lmbd)
    wanted = moved(formulation, before, pulls, alpha, batch_size=32)
    np.testing.assert_allclose(centers_of(learner.center_loss), wanted, rtol=1e-4, atol=1e-6)


def test_the_loss_of_an_epoch_is_its_mean(cli):
    """A rate of next to nothing leaves the network as it is, whose loss NumPy knows."""
    done = cli("--train", "--data_dir", "digits", *QUICK, "--batch_size", 100, "--lr", 1e-30)
    printed = float(re.search(r"Loss=([\d.]+)", done.out).group(1))
    images, labels = data.load_dataset("auto", "digits").train
    net = open_run(Run("softmax-loss", "ckpt", "output"), {}).on(mx.cpu()).net
    logits = net(mx.nd.array(images) / 255)[0].asnumpy().astype(np.float64)
    of_label = logits[np.arange(len(labels)), labels]
    assert printed == pytest.approx(np.mean(np.log(np.exp(logits).sum(axis=1)) - of_label), 1e-5)


def test_a_batch_larger_than_the_set():
    losses, _ = learn([mx.cpu()], 20, "--batch_size", 1000)
    assert losses.shape == (1, 2)


def test_a_batch_smaller_than_the_number_of_devices_is_refused():
    check_images(130, 28, 2, batch_size=32)
    for size, devices in ((129, 2), (3, 4)):
        with pytest.raises(UserError, match="--batch_size"):
            check_images(size, 28, devices, batch_size=32)


def check_images(size, side, devices=1, **flags):
    """`check_split` of so many images of side x side pixels."""
    images = np.broadcast_to(np.uint8(0), (size, 1, side, side))
    split = Split(images, np.broadcast_to(0, size))
    check_split(split, Recipe(**flags), devices)


@pytest.mark.parametrize("height, width", [(28, 28), (20, 33)])
def test_images_are_warped_as_the_maps_say(height, width):
    """Against the interpolation of SciPy."""
    images = np.random.RandomState(0).randint(0, 256, (4, 3, height, width)).astype(np.uint8)
    warps = random_warps(images.shape, seed=3, epoch=7)
    split = Split(images, np.arange(4, dtype=np.int32))
    (((got, label, _),),) = data.batches(split, 4, [mx.cpu()], np.array([2, 0, 3, 1]), warps=warps)
    assert label.asnumpy().tolist() == [2, 0, 3, 1]
    inside = images[:, :, 1:-1, 1:-1]
    edges = (images.sum() - inside.sum(dtype=int)) / (images.size - inside.size)
    ground = round(edges) / 255  # what is outside is as bright as the edges are
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    for place, row in enumerate([2, 0, 3, 1]):
        from_x, from_y = np.tensordot(warps[place].reshape(2, 3), [x, y, np.ones_like(x)], 1)
        where = (from_y + 1) * (height - 1) / 2, (from_x + 1) * (width - 1) / 2
        wanted = [
            map_coordinates(channel, where, order=1, mode="grid-constant", cval=ground)
            for channel in images[row] / 255
        ]
        np.testing.assert_allclose(got[place].asnumpy(), wanted, atol=1e-4)


def test_warps_are_small_turns_slants_scales_and_shifts():
    height, width = 28, 20
    warps = random_warps((5000, 1, height, width), seed=0, epoch=1).astype(np.float64)
    a, b, right, c, d, down = warps.T
    b, c = b * width / height, c * height / width  # of pixels, not of half sides
    angle = np.arctan2(c, a)
    x_scale = 1 / np.hypot(a, c)
    # Turned back, what is left of the map is a slant and the scales.
    y_scale = 1 / (np.cos(angle) * d - np.sin(angle) * b)
    slant = (np.cos(angle) * b + np.sin(angle) * d) * y_scale
    for values, most in ((np.degrees(angle), 15), (x_scale - 1, 0.15), (y_scale - 1, 0.15),
                         (slant, 0.2), (right, 1 / 7), (down, 1 / 7)):  # fmt: skip
        assert -most - 1e-6 <= values.min() < -0.95 * most
        assert 0.95 * most < values.max() <= most + 1e-6
    others = [random_warps((5000, 1, height, width), *key) for key in ((0, 2), (1, 1))]
    assert not any(np.allclose(warps, other) for other in others)


def test_a_cosine_lets_the_rates_fall_within_every_step():
    recipe = Recipe(lr_schedule="cosine", lr_step=4, lr_factor=0.5)
    rates = [recipe.decayed(0.2, progress) for progress in (0, 1, 2, 3.5, 4, 6, 8)]
    half = [(1 + np.cos(np.pi * part)) / 2 for part in (0, 0.25, 0.5, 0.875)]
    wanted = [*(0.2 * rate for rate in half), 0.1, 0.05, 0.05]
    np.testing.assert_allclose(rates, wanted, rtol=1e-12)
    split = Split(*(array[:96] for array in mnist5k().test))
    learner = new_learner(split, [mx.cpu()], "--lr_schedule", "cosine", "--lr_step", 1,
                          "--batch_size", 32, "--lr", 0.3, "--alpha", 0.6)  # fmt: skip
    seen, step = [], learner.step

    def noted(slices):
        seen.append([trainer.learning_rate for trainer, _, _ in learner.trainers])
        return step(slices)

    learner.step = noted
    train.train_epoch(learner, split, 0)
    np.testing.assert_allclose(seen, np.outer([1, 0.75, 0.25], [0.3, 0.6]), rtol=1e-6)


def test_a_rate_below_all_numbers_of_float32_is_zero():
    recipe = Recipe(lr_step=1)
    rates = np.array([recipe.decayed(0.1, epoch) for epoch in range(400)])
    assert rates[-1] == 0 and rates[rates > 0].min() >= np.finfo(np.float32).tiny


@pytest.mark.parametrize("every, pending, ahead", [(1e9, 8, 4), (0, 64, 1)])
def test_the_losses_are_read_without_waiting_for_the_step(monkeypatch, every, pending, ahead):
    monkeypatch.setattr(train, "LOOK_EVERY", every)
    monkeypatch.setattr(train, "MOST_PENDING", pending)
    steps, reads = [], []
    step, asnumpy = Learner.step, mx.nd.NDArray.asnumpy
    monkeypatch.setattr(Learner, "step", lambda *args: (steps.append(1), step(*args))[1])
    monkeypatch.setattr(
        mx.nd.NDArray, "asnumpy", lambda self: (reads.append(len(steps)), asnumpy(self))[1]
    )
    monkeypatch.setattr(mx.nd.NDArray, "asscalar", None)
    split = Split(*(array[:100] for array in mnist5k().train))
    learner = new_learner(split, [mx.cpu()], "--batch_size", 1)
    reads.clear()
    train.train_epoch(learner, split, 0)
    assert len(reads) == 100
    assert all(read - i >= ahead for i, read in enumerate(reads[:64], start=1))


def test_batches_whose_arrays_mxnet_cannot_hold_are_refused():
    for size, side, flags in (
        (60_000, 28, {"batch_size": 47_000, "center_loss": True}),
        (60_000, 28, {"num_classes": 4_200_000}),
        (200, 1000, {"batch_size": 68}),
    ):
        with pytest.raises(UserError, match="the limit of MXNet.*--batch_size"):
            check_images(size, side, **flags)
    check_images(60_000, 28, batch_size=47_000)
    check_images(4000, 28, batch_size=47_000, center_loss=True)
    check_images(200, 1000, batch_size=67)
    check_images(60_000, 28, num_classes=4_190_000)


def test_an_evaluation_takes_batches_that_fit(monkeypatch):
    split = Split(*(array[:50] for array in mnist5k().test))
    learner = new_learner(split, [mx.cpu()])
    centers = centers_of(learner.center_loss)
    wanted = utils.classify(learner.net, centers, split.images, mx.cpu())
    sizes, batches = [], utils.batches
    monkeypatch.setattr(utils, "batches", lambda *args: (sizes.append(args[1]), batches(*args))[1])
    largest = learner.net.largest_layer((1, 28, 28))
    for limit in (20 * largest, 5):
        monkeypatch.setattr(utils, "MAX_ELEMENTS", limit)
        other = utils.classify(learner.net, centers, split.images, mx.cpu())
        for name in ("features", "probability", "doubt", "distance"):
            values, others = getattr(wanted, name), getattr(other, name)
            np.testing.assert_allclose(values, others, rtol=1e-4, atol=1e-5)
        for method, found in wanted.found.items():
            np.testing.assert_array_equal(found, other.found[method])
    assert sizes == [20, 1]


@pytest.mark.parametrize(
    "images, flags, chosen, wanted",
    [
        (60_000, {}, {}, (30, 10)),  # 2019's
        (60_000, {}, {"epochs": 3}, (3, 10)),
        (60_000, {"lr_schedule": "cosine"}, {}, (5, 5)),
        (60_000, {"batch_size": 16, "lr_schedule": "cosine"}, {}, (5, 5)),
        (60_000, {"lr_schedule": "cosine"}, {"epochs": 4}, (4, 4)),
        (60_000, {"lr_schedule": "cosine"}, {"epochs": 4, "lr_step": 2}, (4, 2)),
        (60_000, {"lr_schedule": "cosine"}, {"lr_step": 20}, (20, 20)),
        (4_000, {"batch_size": 64, "lr_schedule": "cosine"}, {}, (32, 32)),  # of 63 steps
        (4_000, {"lr_schedule": "cosine"}, {}, (63, 63)),  # of 32 steps
        (4_000, {}, {}, (189, 63)),  # of 32 steps
        (4_000, {}, {"epochs": 60}, (60, 20)),
        (4_000, {}, {"lr_step": 5}, (189, 5)),
        (100, {}, {}, (300, 100)),
    ],
)
def test_epochs_follow_from_the_number_of_steps(images, flags, chosen, wanted):
    assert plan.schedule(Recipe(**flags), images, **chosen) == wanted


def test_what_followed_is_said_and_recorded(cli):
    flags = ("--train", "--data_dir", "digits", "--model", "lenet")
    done = cli(*flags, "--batch_size", 257, "--epochs", 60)
    assert "digits has 256 training images, fewer than --batch_size 257" in done.out
    assert "\n60 epochs of 1 steps; the learning rates fall after 20\n" in done.out
    record = Run("softmax-loss", "ckpt", "output").read_record()
    assert (record.epochs, record.recipe.lr_step) == (60, 20)
    done = cli(*flags, "--epochs", 2)
    assert "learning rates fall" not in done.out and "fewer than" not in done.out


@pytest.mark.parametrize(
    "seconds, words",
    [(29, ""), (60, "About 1 min left"), (7100, "About 118 min left"), (7200, "About 2 h 0 min")],
)
def test_it_says_when_it_ends(capsys, seconds, words):
    console.say_when_it_ends(seconds)
    assert capsys.readouterr().out.startswith(words) and (words or seconds < 30)


def test_a_step_costs_what_its_classes_need():
    """Centers have row-sparse gradients, which a copy of the block has only where it is told."""
    learner = new_learner(mnist5k().train, [mx.cpu()])
    image, label = (mx.nd.array(array[:8]) for array in mnist5k().train)
    learner.step([(image.astype("float32") / 255, label.astype("int32"), label.astype("int32"))])
    assert learner.center_loss.embedding.weight.grad().stype == "row_sparse"
