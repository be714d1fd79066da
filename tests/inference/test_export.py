"""Networks as ONNX models: outputs, metadata, and what is refused."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from helpers import QUICK, ROOT, assert_one_line, mnist5k

from experiments import photographs
from models import LeNet, LeNetPlus
from process.errors import UserError
from process.startup import prepare_onnx

onnx = pytest.importorskip("onnx", reason="requirements-export.txt is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="not installed: Python 3.15 has none yet")
prepare_onnx()
from inference import export  # noqa: E402

CLASSES = 4


def make(cls, channels=1, feature_size=3, use_bias=True):
    """A network with random parameters, its centers, and images."""
    rng = np.random.default_rng(0)
    net = cls(CLASSES, feature_size, use_bias=use_bias)
    net.initialize()
    images = rng.integers(0, 256, (3, channels, 16, 20)).astype(np.uint8)
    net(mx.nd.array(images))
    for param in net.collect_params().values():
        param.set_data(mx.nd.array(rng.normal(0, 0.05, param.shape)))
    net.hybridize(static_alloc=True)
    return net, rng.normal(size=(CLASSES, feature_size)).astype(np.float32), images


def open_model(content):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def to_onnx(net, centers, images, names=("a", "b", "c", "d")):
    facts = {"classes": names, "threshold": None, "input": "image"}
    return export.to_onnx(net, centers, images, facts)


def run(session, images):
    names = [output.name for output in session.get_outputs()]
    image = images.astype(np.float32) / 255
    return dict(zip(names, session.run(names, {"image": image})))


@pytest.mark.parametrize("channels, use_bias", [(1, True), (3, False)])
@pytest.mark.parametrize("cls", [LeNetPlus, LeNet])
def test_the_model_gives_what_the_network_gives(cls, channels, use_bias):
    net, centers, images = make(cls, channels, use_bias=use_bias)
    session = open_model(to_onnx(net, centers, images))
    (given,) = session.get_inputs()
    assert (given.name, given.shape) == ("image", ["batch", channels, 16, 20])
    shapes = {one.name: one.shape for one in session.get_outputs()}
    assert list(shapes) == ["output", "feature", "distance"]
    for batch in (images[:1], images):
        output, feature = (array.asnumpy() for array in net(mx.nd.array(batch / 255)))
        difference = feature[:, None] - centers.astype(np.float64)
        distance = np.sqrt((difference**2).sum(axis=2))
        given = run(session, batch)
        for name, wanted in zip(shapes, (output, feature, distance)):
            assert np.allclose(given[name], wanted, rtol=1e-5, atol=1e-5), name
            assert shapes[name] == ["batch", wanted.shape[1]]


def test_without_centers_there_are_no_distances():
    net, _, images = make(LeNet)
    assert list(run(open_model(to_onnx(net, None, images)), images)) == ["output", "feature"]


def test_centers_near_each_other_and_far_from_the_origin():
    net, _, images = make(LeNet, feature_size=2)
    net.features[-1].weight.set_data(mx.nd.zeros(net.features[-1].weight.shape))
    net.features[-1].bias.set_data(mx.nd.array([1000, -1000]))
    centers = np.array([[1000, -1000 - 2.0**-i] for i in range(CLASSES)], np.float32)
    distance = run(open_model(to_onnx(net, centers, images)), images)["distance"]
    assert np.array_equal(distance, [[2.0**-i for i in range(CLASSES)]] * len(images))


def test_metadata():
    net, centers, images = make(LeNet)
    names = ["zéro", "\udcff", 'a "b"', "d"]  # a name may be that of a folder, of any bytes
    metadata = open_model(to_onnx(net, centers, images, names)).get_modelmeta().custom_metadata_map
    assert metadata["input"] == "image" and json.loads(metadata["classes"]) == names
    assert "threshold" not in metadata


def test_the_file_has_the_names_of_a_checkpoint_and_nothing_of_this_process():
    contents = [to_onnx(*make(LeNetPlus)) for _ in range(2)]
    assert contents[0] == contents[1]
    names = {tensor.name for tensor in onnx.load_from_string(contents[0]).graph.initializer}
    assert set(make(LeNetPlus)[0]._collect_params_with_prefix()) | {"centers"} <= names


def test_large_images_are_few(monkeypatch):
    net, *_ = make(LeNet)
    assert len(export.random_images(net, (1, 16, 20))) == export.COMPARED
    monkeypatch.setattr(export, "MOST_ACTIVATIONS", 3 * net.largest_layer((1, 16, 20)))
    assert len(export.random_images(net, (1, 16, 20))) == 3


@pytest.mark.parametrize("factor", [1.01, np.nan])
@pytest.mark.parametrize("wrong", ["output", "distance"])
def test_other_answers_than_those_of_mxnet_are_refused(monkeypatch, factor, wrong):
    net, centers, images = make(LeNet)
    params, distances = export.get_params, export.cdist
    if wrong == "output":
        changed = lambda net: {name: array * factor for name, array in params(net).items()}  # noqa: E731
        monkeypatch.setattr(export, "get_params", changed)
    else:
        monkeypatch.setattr(export, "cdist", lambda *args: factor * distances(*args))
    with pytest.raises(UserError, match=f"^the ONNX model's {wrong} is .* from MXNet's.*$"):
        to_onnx(net, centers, images)


def test_a_model_beyond_2_gib_is_refused(monkeypatch):
    monkeypatch.setattr(export, "MAX_BYTES", 10**5)
    with pytest.raises(UserError, match="^an ONNX model has less than 2 GiB.*$"):
        to_onnx(*make(LeNet))


def test_nothing_is_said(capfd, recwarn, caplog):
    to_onnx(*make(LeNetPlus))
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert not [one for one in recwarn if "onnx" in str(one.message)]


def test_a_run_is_taken_away(trained, monkeypatch):
    """What the command line writes answers as --test does."""
    done = trained("--export", "--data_dir", "digits", "--reject", 0.1)
    assert done.status == 0 and done.err == "", done.err
    assert "output/center-loss.onnx: image -> output, feature, distance" in done.out
    session = open_model("output/center-loss.onnx")
    images = mnist5k().test.images[::10]
    outputs = run(session, images)
    facts = json.loads(Path("output/center-loss.onnx.json").read_text())
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["threshold"]) == facts["threshold"]
    assert facts["classes"] == list("0123456789") and facts["trained"] == list(range(10))
    smallest = outputs["distance"].min(axis=1)
    assert np.mean(smallest > facts["threshold"]) == pytest.approx(0.1, abs=0.011)
    done = trained("--test", "--data_dir", "digits", "--eval_method", "knn")
    right = np.mean(outputs["distance"].argmin(axis=1) == mnist5k().test.labels[::10])
    assert float(re.search(r"Test_acc: ([\d.]+)", done.out).group(1)) == pytest.approx(right)
    # An export that fails leaves the model as it is.
    before = Path("output/center-loss.onnx").read_bytes()
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    assert_one_line(trained("--export", "--data_dir", "digits", "--reject", 0.5), "from MXNet's")
    assert Path("output/center-loss.onnx").read_bytes() == before


def test_a_missing_onnx_is_one_line(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = cli("--export", "--prefix", "best")
    assert_one_line(done, "run 'pip install -r requirements-export.txt' first")


def test_the_page_and_the_example_give_the_numbers_of_predict(cli, tmp_path):
    """The Python of docs/own_images.md, in a plain interpreter, on photos of folders; the example
    on the same, and with the shipped model."""
    for digit in range(2):
        for i in range(6):
            (tmp_path / "own" / f"{digit}").mkdir(parents=True, exist_ok=True)
            photo = photographs.photograph("scan", digit, 10 * i + digit)
            photo.save(tmp_path / "own" / f"{digit}" / f"{i}.jpg")
    flags = ("--prefix", "mine", "--data_dir", "own")
    done = cli("--train", "--center_loss", "--export", "--eval_method", "knn", *flags, *QUICK)
    assert done.status == 0, done.err
    page = (ROOT / "docs" / "own_images.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "answer.py").write_text(code)
    paths = sorted(map(str, Path("own").glob("*/*.jpg")))

    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    example = ("-m", "examples.without_mxnet")
    for prefix, *command in (
        ("mine", "answer.py"),
        ("mine", *example, "output/mine.onnx"),
        ("best", *example, ROOT / "shipped" / "best.onnx"),
    ):
        done = cli("--predict", *paths, "--prefix", prefix, "--format", "json")
        wanted = [json.loads(line) for line in done.out.splitlines()]
        argv = [sys.executable, *command, *paths]
        told = subprocess.run(argv, stdout=subprocess.PIPE, text=True, env=env, check=True).stdout
        assert len(told.splitlines()) == len(wanted) == 12
        for line, row in zip(told.splitlines(), wanted):
            path, name, distance = re.match(r"(.+): (\d).* at ([\d.e-]+)", line).groups()
            assert (path, name) == (row["path"], row["class"])
            assert float(distance) == pytest.approx(row["distance"], rel=2e-3, abs=1e-4)
    facts = json.loads(Path("output/mine.onnx.json").read_text())
    assert facts["eval_method"] == "knn" and facts["polarity"] == "dark on light"
    assert "BILINEAR" in facts["preparation"]


def test_a_model_goes_with_the_network_that_it_was_of(cli, tmp_path):
    output, names = tmp_path / "output", {"center-loss.onnx", "center-loss.onnx.json"}
    exported = lambda: {path.name for path in output.glob("*.onnx*")}  # noqa: E731
    train = ("--train", "--center_loss", "--data_dir", "digits")
    cli(*train, *QUICK, "--batch_size", 16, "--lr", 0.05, "--momentum", 0.9, "--feature_size", 10)
    assert cli("--export").status == 0 and exported() == names
    done = cli(*train, "--resume", "--epochs", 2)
    best = json.loads((tmp_path / "ckpt" / "center-loss.json").read_text())["best"]["epoch"]
    assert best > 0 and not exported()
    assert "center-loss.onnx was of an earlier network, and is removed" in done.out
    assert cli("--export").status == 0 and exported() == names
    assert cli(*train, *QUICK).status == 0
    assert not exported()
