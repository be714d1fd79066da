"""The loss against NumPy, written from the equations in the docstring of CenterLoss."""

import shutil
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from equations import EQUATIONS, by_the_equations, moved
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, gluon

import recipe
from center_loss import FORMULATIONS, CenterLoss, ParameterCenterLoss

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@st.composite
def cases(draw):
    """Batches in which some classes repeat and most are absent."""
    classes = draw(st.integers(1, 40))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=30))
    random = np.random.RandomState(draw(st.integers(0, 2**31)))
    size = draw(st.integers(1, 5))
    return (
        random.normal(size=(len(labels), size)).astype(np.float32)
        * draw(st.sampled_from([0.1, 10])),
        np.array(labels),
        random.normal(size=(classes, size)).astype(np.float32),
        draw(st.floats(0.01, 2)),
        draw(st.floats(0.1, 1)),
    )


def make(cls, center, *args, **kwargs):
    block = cls(*center.shape, *args, **kwargs)
    block.initialize()
    for param in block.collect_params().values():
        param.set_data(mx.nd.array(center))
    return block


def backward(block, feature, label, dtype="int32", batch_labels=None):
    """Loss and gradient of the features; the block's parameters receive theirs."""
    feature = mx.nd.array(feature)
    feature.attach_grad()
    with autograd.record():
        whole = () if batch_labels is None else (None, batch_labels)
        loss = block(feature, mx.nd.array(label, dtype=dtype), *whole)
    loss.backward()
    return loss.asnumpy(), feature.grad.asnumpy()


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("formulation", FORMULATIONS)
@settings(max_examples=25, deadline=None)
@given(case=cases(), dtype=st.sampled_from(["int32", "int64", "float32", "uint8"]))
def test_loss_gradients_and_center_updates_follow_the_equations(
    formulation, hybridize, case, dtype
):
    feature, label, center, lmbd, alpha = case
    batch_size = 50  # not the batch's own size, like that of a last batch
    block = make(CenterLoss, center, lmbd, formulation)
    if hybridize:
        block.hybridize(static_alloc=True)
    trainer = gluon.Trainer(block.collect_params(), "sgd", {"learning_rate": alpha})
    loss, gradient = backward(block, feature, label, dtype)
    trainer.step(block.step_size(batch_size))
    losses, gradients, pulls = by_the_equations(formulation, feature, label, center, lmbd)
    assert loss.shape == (len(label),)
    np.testing.assert_allclose(loss, losses, **TOLERANCE)
    np.testing.assert_allclose(gradient, gradients, **TOLERANCE)
    wanted = moved(formulation, center, pulls, alpha, batch_size)
    np.testing.assert_allclose(block.embedding.weight.data().asnumpy(), wanted, **TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(case=cases())
def test_embedding_and_parameter_give_the_same(case):
    feature, label, center, lmbd, _ = case
    embedding = make(CenterLoss, center, lmbd)
    parameter = make(ParameterCenterLoss, center, lmbd)
    for a, b in zip(backward(embedding, feature, label), backward(parameter, feature, label)):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(
        embedding.embedding.weight.grad().asnumpy(), parameter.centers.grad().asnumpy(), **TOLERANCE
    )


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_sparse_gradients_give_the_centers_of_dense_ones(formulation, devices):
    contexts = [mx.cpu(i) for i in range(devices)]
    random = np.random.RandomState(0)
    batches = [(random.normal(size=(32, 4)), random.randint(0, 90, 32)) for _ in range(10)]
    ends = []
    for sparse_grad in (True, False):
        mx.random.seed(0)
        block = CenterLoss(100, 4, 0.7, formulation, sparse_grad)
        block.initialize(ctx=contexts)
        block.hybridize(static_alloc=True)
        sgd = {"learning_rate": 0.5}
        trainer = gluon.Trainer(block.collect_params(), "sgd", sgd, update_on_kvstore=False)
        for feature, label in batches:
            with autograd.record():
                losses = [
                    block(
                        mx.nd.array(feature[i::devices], ctx),
                        mx.nd.array(label[i::devices], ctx),
                        None,
                        mx.nd.array(label, ctx),
                    )
                    for i, ctx in enumerate(contexts)
                ]
            autograd.backward(losses)
            trainer.step(32)
        assert block.embedding.weight.grad(contexts[0]).stype != "default" or not sparse_grad
        ends.append([block.embedding.weight.data(ctx).asnumpy() for ctx in contexts])
    for sparse, dense in zip(*ends):
        np.testing.assert_array_equal(sparse, dense)
        np.testing.assert_array_equal(sparse, ends[0][0])


@pytest.mark.parametrize("formulation", FORMULATIONS)
@settings(max_examples=20, deadline=None)
@given(case=cases(), cut=st.integers(0, 30))
def test_slices_of_a_batch_count_the_labels_of_all(formulation, case, cut):
    feature, label, center, lmbd, _ = case
    cut = min(cut, len(label) - 1)
    whole = make(CenterLoss, center, lmbd, formulation)
    loss, _ = backward(whole, feature, label)
    parts, gradient = [], np.zeros_like(center)
    for rows in (slice(0, cut), slice(cut, None)) if cut else (slice(None),):
        sliced = make(CenterLoss, center, lmbd, formulation)
        batch_labels = mx.nd.array(label, dtype="int32")
        parts.append(backward(sliced, feature[rows], label[rows], "int32", batch_labels)[0])
        gradient += sliced.embedding.weight.grad().asnumpy()
    np.testing.assert_allclose(np.concatenate(parts), loss, **TOLERANCE)
    np.testing.assert_allclose(gradient, whole.embedding.weight.grad().asnumpy(), **TOLERANCE)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_labels_in_a_column_are_labels_and_other_shapes_an_error(formulation, hybridize):
    random = np.random.RandomState(0)
    feature, label = random.normal(size=(6, 2)), np.array([0, 1, 1, 3, 3, 3])
    center = random.normal(size=(4, 2)).astype(np.float32)
    block = make(CenterLoss, center, 0.5, formulation)
    wanted = backward(block, feature, label)
    if hybridize:
        block.hybridize(static_alloc=True)
    for values, other in zip(wanted, backward(block, feature, label[:, np.newaxis])):
        np.testing.assert_array_equal(values, other)
    for shape in ((6, 1), (6, 4), (6, 2, 1), (1, 2), (2,)):
        with pytest.raises(mx.MXNetError):
            backward(block, np.ones(shape), label)
    with pytest.raises(mx.MXNetError):
        backward(block, feature, np.eye(4)[label])


@pytest.mark.parametrize("formulation", FORMULATIONS)
@settings(max_examples=20, deadline=None)
@given(case=cases(), column=st.booleans())
def test_sample_weights_multiply_losses_and_pulls(formulation, case, column):
    feature, label, center, lmbd, _ = case
    weight = np.random.RandomState(1).uniform(0, 2, size=len(label)).astype(np.float32)
    weighted = make(CenterLoss, center, lmbd, formulation)
    x = mx.nd.array(feature)
    x.attach_grad()
    with autograd.record():
        shape = (-1, 1) if column else (-1,)
        value = weighted(x, mx.nd.array(label), mx.nd.array(weight.reshape(shape)))
    value.backward()
    got = value, x.grad, weighted.embedding.weight.grad()
    wanted = by_the_equations(formulation, feature, label, center, lmbd, weight)
    for values, others in zip(got, wanted):
        np.testing.assert_allclose(values.asnumpy(), others, **TOLERANCE)


@pytest.mark.parametrize("way", ["cast", "load", "load inside"])
@pytest.mark.parametrize("optimizer", [{}, {"multi_precision": True}])
@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_half_precision_trains_like_single(formulation, hybridize, optimizer, way, tmp_path):
    random = np.random.RandomState(0)
    center = random.normal(size=(5, 3)).astype(np.float32)
    feature, label = random.normal(size=(8, 3)).astype(np.float16), random.randint(0, 5, 8)
    ends = []
    for dtype in ("float32", "float16"):
        block = make(CenterLoss, center, 0.5, formulation)
        outside = gluon.nn.HybridSequential()
        outside.add(block)
        whole = outside if way == "load inside" else block
        if hybridize:
            block.hybridize()
        block(mx.nd.array(feature, dtype="float32"), mx.nd.array(label))  # as it was until now
        if way == "cast" or dtype == "float32":
            whole.cast(dtype)
        else:
            block.embedding.weight.cast(dtype)
            whole.save_parameters(str(tmp_path / "saved"))
            block.embedding.weight.cast("float32")
            path = str(tmp_path / "saved")
            whole.load_parameters(path, cast_dtype=True, dtype_source="saved")
        sgd = {"learning_rate": 0.5, **(optimizer if dtype == "float16" else {})}
        trainer = gluon.Trainer(block.collect_params(), "sgd", sgd)
        x = mx.nd.array(feature, dtype=dtype)
        x.attach_grad()
        with autograd.record():
            loss = block(x, mx.nd.array(label))
        loss.backward()
        trainer.step(1)
        assert loss.dtype == x.grad.dtype == np.dtype(dtype)
        values = (loss, x.grad, block.embedding.weight.data())
        ends.append([value.asnumpy().astype(np.float32) for value in values])
    for half, single in zip(ends[1], ends[0]):
        np.testing.assert_allclose(half, single, rtol=0.02, atol=0.02)


def test_it_is_a_loss_that_gluons_estimator_takes():
    from mxnet.gluon.contrib.estimator import estimator

    random = np.random.RandomState(0)
    label = random.randint(0, 3, 64).astype(np.float32)
    data = (random.normal(size=(64, 4)) + label[:, np.newaxis]).astype(np.float32)
    loader = gluon.data.DataLoader(gluon.data.ArrayDataset(data, label), batch_size=16)
    net, loss = gluon.nn.Dense(2), CenterLoss(3, 2)
    net.initialize()
    loss.initialize()
    assert isinstance(loss, gluon.loss.Loss)
    before = loss(net(mx.nd.array(data)), mx.nd.array(label)).mean().asscalar()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    estimator.Estimator(net, loss, trainer=trainer, context=mx.cpu()).fit(loader, epochs=3)
    after = loss(net(mx.nd.array(data)), mx.nd.array(label)).mean().asscalar()
    assert after < before


def test_a_formulation_has_its_flag_and_its_equations():
    assert FORMULATIONS.keys() == set(recipe.FORMULATIONS), "add it to recipe.FORMULATIONS"
    assert FORMULATIONS.keys() == EQUATIONS.keys(), "add it to tests/equations.py"


def test_an_unknown_formulation_is_refused():
    with pytest.raises(ValueError, match=", ".join(map(repr, FORMULATIONS))):
        CenterLoss(10, 2, formulation="histogram")


def test_the_file_works_alone_in_another_project(tmp_path):
    for name in ("center_loss.py", "process/mxnet_compat.py"):  # the second for the import of MXNet
        shutil.copy(ROOT / name, tmp_path)
    script = """
import sys
sys.path.insert(0, ".")
import mxnet_compat
import mxnet as mx
from center_loss import CenterLoss
block = CenterLoss(num_classes=3, feature_size=4, lmbd=0.5)
block.initialize()
block.hybridize()
loss = block(mx.nd.ones((2, 4)), mx.nd.array([0, 2]))
block.save_parameters("centers.params")
again = CenterLoss(3, 4, 0.5)
again.load_parameters("centers.params")
assert (again(mx.nd.ones((2, 4)), mx.nd.array([0, 2])) == loss).asnumpy().all()
print(list(block.collect_params().values())[0].shape, loss.shape)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "(3, 4) (2,)\n", done.stderr
