"""The loss against NumPy, written from the equations in the docstring of CenterLoss."""

import shutil
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, gluon

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


def by_the_equations(formulation, feature, label, center, lmbd, alpha, batch_size):
    """Loss, gradient of the features, and centers after one update; in loops and float64."""
    feature, center = feature.astype(np.float64), center.astype(np.float64)
    loss, gradient, updated = np.zeros(len(label)), np.zeros_like(feature), center.copy()
    for i, (x, y) in enumerate(zip(feature, label)):
        weight = lmbd / np.sum(label == y) if formulation == "hist" else lmbd
        loss[i] = weight / 2 * np.sum((x - center[y]) ** 2)
        gradient[i] = weight * (x - center[y])
    for j in range(len(center)):
        members = feature[label == j]
        if formulation == "hist" and len(members):
            updated[j] -= alpha * lmbd / batch_size * np.mean(center[j] - members, axis=0)
        elif formulation == "paper":
            updated[j] -= alpha * np.sum(center[j] - members, axis=0) / (1 + len(members))
    return loss, gradient, updated


def make(cls, center, *args, **kwargs):
    block = cls(*center.shape, *args, **kwargs)
    block.initialize()
    for param in block.collect_params().values():
        param.set_data(mx.nd.array(center))
    return block


def backward(block, feature, label, dtype="int32", *batch_labels):
    """Loss and gradient of the features; the block's parameters receive theirs."""
    feature = mx.nd.array(feature)
    feature.attach_grad()
    with autograd.record():
        loss = block(feature, mx.nd.array(label, dtype=dtype), *batch_labels)
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
    trainer.step(1 if formulation == "paper" else batch_size)
    wanted = by_the_equations(formulation, feature, label, center, lmbd, alpha, batch_size)
    assert loss.shape == (len(label),)
    np.testing.assert_allclose(loss, wanted[0], **TOLERANCE)
    np.testing.assert_allclose(gradient, wanted[1], **TOLERANCE)
    np.testing.assert_allclose(block.embedding.weight.data().asnumpy(), wanted[2], **TOLERANCE)


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


def test_half_precision():
    block = CenterLoss(10, 2)
    block.initialize()
    block.cast("float16")
    feature, label = mx.nd.ones((4, 2), dtype="float16"), mx.nd.array([0, 1, 1, 9])
    assert block(feature, label).dtype == np.float16


def test_an_unknown_formulation_is_refused():
    with pytest.raises(ValueError, match="'hist', 'paper'"):
        CenterLoss(10, 2, formulation="histogram")


def test_the_file_works_alone_in_another_project(tmp_path):
    shutil.copy(ROOT / "center_loss.py", tmp_path)
    script = """
import numpy as np
np.bool = bool  # what NumPy 1.24 dropped and MXNet needs
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
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'){script}"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "(3, 4) (2,)\n", done.stderr
