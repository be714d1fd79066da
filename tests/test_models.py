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


NETWORKS = pytest.mark.parametrize("cls", [getattr(models, name) for name in MODELS.values()])


@NETWORKS
def test_sizes_and_biases(cls):
    params, output, feature = make(cls, classes=7, feature_size=5, use_bias=False)
    assert output.shape == (3, 7) and feature.shape == (3, 5)
    assert "output.bias" not in params
    layers = {int(name.split(".")[1]) for name in params if name.startswith("features")}
    layer = f"features.{max(layers)}"
    assert params[f"{layer}.weight"].shape[0] == 5 and f"{layer}.bias" not in params


@NETWORKS
def test_the_largest_layer_is_found_without_running_the_network(cls):
    net, sizes = cls(), []
    net.initialize()

    def note(block, inputs, output):
        if isinstance(output, mx.nd.NDArray):
            sizes.append(output.size)

    net.apply(lambda block: block.register_forward_hook(note))
    net(mx.nd.zeros((1, 3, 28, 28)))
    assert cls().largest_layer((3, 28, 28)) == max(sizes)


@NETWORKS
def test_an_image_too_small_for_the_network_is_one_for_mxnet_too(cls):
    def succeeds(function, argument):
        try:
            function(argument)
            return True
        except (mx.MXNetError, ValueError):
            return False

    def run(image):
        net = cls()
        net.initialize()
        net(image)[0].wait_to_read()

    for side in range(4, 29):
        ran = succeeds(run, mx.nd.zeros((1, 1, side, side)))
        assert succeeds(cls().largest_layer, (1, side, side)) == ran


def test_lenet_is_the_small_one():
    params, _, _ = make(LeNet)
    assert params["features.0.weight"].shape == (16, 1, 5, 5)
    assert params["features.3.weight"].shape == (48, 16, 5, 5)
    assert params["features.6.weight"].shape == (512, 48 * 4 * 4)
    assert params["features.8.weight"].shape == (2, 512)
