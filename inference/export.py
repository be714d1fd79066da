"""The action that writes a trained network as an ONNX model, which runs without MXNet."""

import json
import warnings

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
from mxnet.onnx.mx2onnx._export_onnx import MXNetGraph
from onnx import TensorProto, helper, numpy_helper
from scipy.spatial.distance import cdist

from datasets.dataset import POLARITY
from inference.unknown import REJECTED
from learner import get_params
from process.console import say
from process.errors import UserError
from process.files import claim, write_together

OPSET = 13  # the newest that MXNet 1.9.1 writes
TOLERANCE = 1e-4  # of the comparison with MXNet
COMPARED = 100  # images, or fewer large ones
MOST_ACTIVATIONS = 2**24  # of a layer, for the images that are compared together
MAX_BYTES = 2**31 - 2**20  # of parameters: the whole model must stay below 2 GiB


def export(trained, reject=None):
    """Write the best network of a run, a `runs.trained.Trained`, and its centers as
    ``<prefix>.onnx``, and what turns its outputs into answers as ``<prefix>.onnx.json``.

    The model keeps a threshold, beyond which the fraction `reject` of the test images lies.
    Raises UserError where the model would be too large, or answers otherwise than MXNet.
    """
    model, beside = trained.run.onnx, trained.run.onnx_facts
    claim(model.parent, [model.name, beside.name])
    loaded = trained.on(mx.cpu())
    threshold = None
    if reject is not None or (trained.record and trained.record.best.distances):
        threshold = trained.threshold(REJECTED if reject is None else reject)
    images = random_images(loaded.net, trained.image_shape)
    facts = how_to_answer(trained, threshold)
    content = to_onnx(loaded.net, loaded.centers, images, facts)
    write_together({model: content, beside: f"{json.dumps(facts, indent=1)}\n".encode()})
    outputs = "output, feature, distance" if trained.centers else "output, feature"
    say(f"{model}: image -> {outputs}, compared with MXNet on {len(images)} images")
    say(f"{beside}: classes, preparation and threshold, as in the model's metadata")


def random_images(net, shape):
    """Noise of different density and brightness to compare the model on, (N, C, H, W) uint8, for
    images of `shape` (C, H, W)."""
    num_classes, feature_size = net.output.weight.shape
    an_image = max(net.largest_layer(shape), num_classes * feature_size)
    count = min(COMPARED, max(2, MOST_ACTIVATIONS // an_image))
    random = np.random.RandomState(0)
    brightness = random.uniform(0, 256, (count, 1, 1, 1))
    drawn = random.uniform(size=(count, 1, *shape[1:])) < random.uniform(size=brightness.shape)
    return (drawn * random.uniform(size=(count, *shape)) * brightness).astype(np.uint8)


def how_to_answer(trained, threshold):
    """What turns an image file into --predict's answer, as JSON can hold it; `threshold` is the
    distance beyond which an image is unknown, or None."""
    shape = list(trained.image_shape)
    preparation = "upright as its EXIF says, transparent parts white, resized by Pillow's BILINEAR"
    if trained.prepares:
        preparation = "prepare() of datasets/digits.py: the ink is found, turned light on dark, "
        preparation += "scaled into 20 x 20 and centered by its mass in 28 x 28"
    return {
        "classes": trained.names,
        # The centers of classes without training images are ignored.
        "trained": [*map(int, trained.classes)] if trained.record else [*range(len(trained.names))],
        "shape": shape,
        "input": f"image: float32 of shape (batch, {', '.join(map(str, shape))}), "
        "the pixels (0 to 255) divided by 255",
        "prepare": "mnist" if trained.prepares else "none",
        "preparation": preparation,
        "polarity": {**POLARITY, None: "any"}[trained.light_on_dark],
        "eval_method": trained.method,
        "threshold": threshold,
    }


def to_onnx(net, centers, images, facts):
    """Turn a network and its centers, (num_classes, d) float32 or None, into the bytes of an ONNX
    model, and compare it with MXNet on `images`, (N, C, H, W) uint8.

    The model's input ``image`` is (batch, C, H, W) float32, pixel / 255, with any batch. Its
    outputs are ``output`` (batch, num_classes), the logits, ``feature`` (batch, d) and, where
    there are centers, ``distance`` (batch, num_classes), the Euclidean distances
    ||x_i - c_j||; all float32. Its metadata are `facts`: strings as they are, the rest as JSON.
    """
    params = get_params(net)
    arrays = [*params.values(), *([] if centers is None else [centers])]
    size = sum(array.nbytes for array in arrays)
    if size > MAX_BYTES:
        raise UserError(
            f"an ONNX model has less than 2 GiB, and this network has {size / 2**30:.2f}: train "
            "with a smaller --feature_size or fewer classes"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = convert(net, params, centers, images.shape[1:])
        texts = {name: json.dumps(fact) for name, fact in facts.items() if fact is not None}
        texts.update((name, fact) for name, fact in facts.items() if isinstance(fact, str))
        helper.set_model_props(model, texts)
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString()
        compare_with_mxnet(content, net, centers, images)
    return content


def convert(net, params, centers, image_shape):
    """The model without its metadata, an onnx.ModelProto; `params` are the network's."""
    shape = ("batch", *image_shape)
    converted = MXNetGraph().create_onnx_graph_proto(
        symbol_of(net),
        {name: mx.nd.array(array) for name, array in params.items()},
        [(1, *image_shape)], [TensorProto.FLOAT], opset_version=OPSET,
        dynamic=True, dynamic_input_shapes=[shape],
    )  # fmt: skip
    nodes, initializers = list(converted.node), list(converted.initializer)
    num_classes, feature_size = net.output.weight.shape
    outputs = {"output": num_classes, "feature": feature_size}
    if centers is not None:
        outputs["distance"] = num_classes
        initializers += [
            numpy_helper.from_array(np.asarray(centers, np.float32), "centers"),
            numpy_helper.from_array(np.array([1]), "axis"),
        ]
        nodes += [  # not by ||x||^2 - 2 x.c + ||c||^2, which loses what tells near centers apart
            helper.make_node("Unsqueeze", ["feature", "axis"], ["feature_row"]),
            helper.make_node("Sub", ["feature_row", "centers"], ["difference"]),
            helper.make_node("ReduceL2", ["difference"], ["distance"], axes=[2], keepdims=0),
        ]
    graph = helper.make_graph(
        nodes,
        "FeatureNet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", size))
            for name, size in outputs.items()
        ],
        initializers,
    )
    return helper.make_model_gen_version(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def symbol_of(net):
    """The network as a symbol, with outputs `output` and `feature`.

    Its parameters have their structural names, as in a checkpoint: those that Gluon gives count
    the layers that the process has made before.
    """
    output, feature = net(mx.sym.var("image"))
    outputs = [mx.sym.identity(output, name="output"), mx.sym.identity(feature, name="feature")]
    graph = json.loads(mx.sym.Group(outputs).tojson())
    names = {param.name: name for name, param in net._collect_params_with_prefix().items()}
    for i, node in enumerate(graph["nodes"]):
        if node["op"] == "null":
            node["name"] = names.get(node["name"], node["name"])
        elif node["name"] not in ("output", "feature"):
            node["name"] = f"{node['op']}{i}"
    return mx.sym.load_json(json.dumps(graph))


def compare_with_mxnet(content, net, centers, images):
    """Raise UserError unless onnxruntime gets from the model what MXNet gets from the network, up
    to `TOLERANCE` times the largest value of an output for an image, or 1 if that is larger."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more would keep spinning beside MXNet's
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for batch in (images[:1], images):
        image = batch.astype(np.float32) / 255
        expected = [array.asnumpy() for array in net(mx.nd.array(image))]
        if centers is not None:
            expected.append(cdist(expected[1], centers))
        for name, wanted, given in zip(names, expected, session.run(names, {"image": image})):
            scale = np.maximum(1, np.abs(wanted).max(axis=1, keepdims=True))
            apart = (np.abs(given - wanted) / scale).max()
            if not apart <= TOLERANCE:  # nor is NaN
                raise UserError(
                    f"the ONNX model's {name} is {apart:.1e} from MXNet's, and {TOLERANCE:.0e} is "
                    "allowed: try other versions of onnx and onnxruntime"
                )
