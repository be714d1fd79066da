"""The networks: names that old checkpoints need, shapes, sizes."""

import mxnet as mx
import pytest

import models
from models import LeNet, LeNetPlus
from recipe import MODELS

NAMES_OF_2019 = {
    f"features.{block}.{conv}.{part}"
    for block in range(3)
    for conv in (0, 2)
    for part in ("weight", "bias")
} | {f"{layer}.{part}" for layer in ("features.4", "output") for part in ("weight", "bias")}


def make(cls, *args, **kwargs):
    net = cls(*args, **kwargs)
    net.initialize()
    output, feature = net(mx.nd.zeros((3, 1, 28, 28)))
    return net._collect_params_with_prefix(), output, feature


def test_lenetplus_has_the_parameters_of_2019():
    params, output, feature = make(LeNetPlus)
    assert set(params) == NAMES_OF_2019
    assert output.shape == (3, 10) and feature.shape == (3, 2)
    assert sum(param.data().size for param in params.values()) == 797_184
    assert params["features.4.weight"].shape == (2, 128 * 3 * 3)


@pytest.mark.parametrize("cls", [getattr(models, name) for name in MODELS.values()])
def test_sizes_and_biases(cls):
    params, output, feature = make(cls, classes=7, feature_size=5, use_bias=False)
    assert output.shape == (3, 7) and feature.shape == (3, 5)
    assert "output.bias" not in params
    layer = max(name for name in params if name.startswith("features") and "weight" in name)
    assert params[layer].shape[0] == 5 and layer.replace("weight", "bias") not in params


def test_lenet_is_the_small_one():
    params, _, _ = make(LeNet)
    assert params["features.0.weight"].shape == (20, 1, 5, 5)
    assert params["features.2.weight"].shape == (50, 20, 5, 5)
    assert params["features.5.weight"].shape == (2, 800)
