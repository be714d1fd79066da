"""Whether a training fits: its devices, MXNet's arrays, and the memory."""

import math

import mxnet as mx

import models
from learner import new_net
from process.errors import UserError
from process.files import check_memory
from recipe import MODELS

MAX_WEIGHTS = 2**31 - 2  # of a layer, the limit of MXNet
COPIES_OF_WEIGHTS = 7  # as measured: gradients, and what is written of them


def check_split(split, recipe, devices, workers=1):
    """Raise UserError unless every batch can be split over all devices, and none is too large."""
    size, pixels = len(split.labels), split.images[0, 0].size
    batch = min(recipe.batch_size, size)
    smallest = size % batch or batch
    if smallest // workers < devices:
        raise UserError(
            f"{size} images in batches of {recipe.batch_size} leave one of {smallest}, too small "
            f"for {devices} devices{' of each worker' * (workers > 1)}: choose another --batch_size"
        )
    part = -(-batch // (devices * workers))
    width = getattr(models, MODELS[recipe.model]).width
    pairs = batch if "center" in recipe.losses else 0
    # Where the logits of a batch take 2^31 bytes MXNet damages its memory, and aborts at the end.
    if part * recipe.num_classes >= 2**29 or part * max(width * pixels, pairs) >= 2**31:
        raise UserError(
            f"a batch of {batch} images of {pixels} pixels with {recipe.num_classes} classes needs "
            "arrays beyond the limit of MXNet: choose a smaller --batch_size"
        )


def check_step(split, recipe, contexts, workers=1):
    """Raise UserError where a layer is too large for MXNet, or where a step on the CPU, or writing
    what it made, takes more than the free memory: the system would kill this process without a
    word."""
    batch = -(-min(recipe.batch_size, len(split.labels)) // workers)
    _, *channels, height, width = split.images.shape
    weights, outputs = count_numbers(new_net(recipe), (batch, *channels, height, width))
    if max(weights) > MAX_WEIGHTS:
        raise UserError(
            f"images of {width} x {height} pixels need a layer of {max(weights):,} weights, beyond "
            "the limit of MXNet: choose a smaller --image_size or --feature_size"
        )
    if contexts[0].device_type == "cpu":
        copies = COPIES_OF_WEIGHTS + (recipe.momentum > 0)
        numbers = sum(weights) * copies + sum(outputs) * 2  # each output has a gradient
        what = f"training with a batch of {batch} images of {height * width} pixels"
        remedy = ": choose a smaller --batch_size, --image_size, --num_classes or --feature_size"
        check_memory(numbers * 4, what, remedy, share=1)


def count_numbers(net, batch_shape):
    """How many numbers each parameter and each layer's output has, for a batch (N, C, H, W).

    Returns
    -------
    parameters, outputs : list of int
        Found without allocating any of them.
    """
    graph = mx.sym.Group(net(mx.sym.var("data"))).get_internals()
    known = set(graph.list_arguments())
    shapes, every, _ = graph.infer_shape(data=batch_shape)
    parameters = zip(graph.list_arguments(), shapes)
    outputs = zip(graph.list_outputs(), every)
    return (
        [math.prod(shape) for name, shape in parameters if name != "data"],
        [math.prod(shape) for name, shape in outputs if name not in known],
    )
