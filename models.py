"""The networks. Each returns the class scores and the features that center loss works on."""

import math

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn


class FeatureNet(gluon.HybridBlock):
    """Feature extractor ``features`` and linear classifier ``output`` on top of it.

    Parameters
    ----------
    layers : list of HybridBlock
        What turns images (N, C, H, W) into anything that can be flattened.
    classes : int
        Number of classes.
    feature_size : int
        Number of features, the input of the classifier.
    use_bias : bool
        Whether feature layer and classifier have biases. Without them the classes part by angle
        around the origin only, so that no class can sit there.

    Inputs
    ------
    image : (N, C, H, W) float32, pixel / 255

    Outputs
    -------
    output : (N, classes) float32, the logits
    feature : (N, feature_size) float32
    """

    def __init__(self, layers, classes, feature_size, use_bias, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential()
            self.features.add(*layers, nn.Flatten(), nn.Dense(feature_size, use_bias=use_bias))
            self.output = nn.Dense(classes, use_bias=use_bias)

    def hybrid_forward(self, F, image):
        feature = self.features(image)
        return self.output(feature), feature

    def largest_layer(self, image_shape):
        """The most activations that any layer has for one image of shape (C, H, W), an int.

        Raises mxnet.MXNetError where the image is so small that a layer leaves nothing of it.
        """
        layers = mx.sym.Group(list(self(mx.sym.var("image")))).get_internals()
        shapes = dict(
            zip(layers.list_outputs(), layers.infer_shape_partial(image=(1, *image_shape))[1])
        )
        return max(math.prod(shapes[name]) for name in shapes.keys() - set(layers.list_arguments()))


class LeNetPlus(FeatureNet):
    """LeNet++ of Wen et al., "A Discriminative Feature Learning Approach for Deep Face
    Recognition" (ECCV 2016), Table 1: three blocks of two 5 x 5 convolutions, 32, 64 and 128
    channels. See `FeatureNet` for inputs and outputs.

    The names of its parameters, such as ``features.0.2.weight``, are those of the checkpoints
    that the program of 2019 wrote.
    """

    def __init__(self, classes=10, feature_size=2, use_bias=True, **kwargs):
        super().__init__(
            [block(c) for c in (32, 64, 128)], classes, feature_size, use_bias, **kwargs
        )


class LeNet(FeatureNet):
    """LeNet of LeCun et al., "Gradient-based learning applied to document recognition" (1998),
    in the form of Caffe's and MXNet's examples: two 5 x 5 convolutions and a hidden layer, about
    40 times fewer operations than `LeNetPlus`. See `FeatureNet` for inputs and outputs.

    The examples have 20 and 50 channels and 500 hidden units. Here they are multiples of 16, the
    numbers that a processor's vector registers hold: with 20 and 50, oneDNN takes its slow
    reference code for part of the convolutions and poolings.
    """

    def __init__(self, classes=10, feature_size=2, use_bias=True, **kwargs):
        layers = []
        for channels in (16, 48):
            # The ReLU of a maximum is the maximum of ReLUs, for a quarter of the numbers.
            layers += [nn.Conv2D(channels, kernel_size=5), nn.MaxPool2D(2), nn.Activation("relu")]
        layers.append(nn.Dense(512, activation="relu"))
        super().__init__(layers, classes, feature_size, use_bias, **kwargs)


def block(channels):
    """Two convolutions that keep the size of the image, then a pooling that halves it."""
    layers = nn.HybridSequential()
    for _ in range(2):
        layers.add(nn.Conv2D(channels, kernel_size=5, padding=2), nn.LeakyReLU(0.01))
    layers.add(nn.MaxPool2D(pool_size=2))
    return layers
