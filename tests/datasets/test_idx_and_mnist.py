"""Loading: IDX files of every kind of damage, the sets with a name, and the batches."""

import functools
import gzip
import hashlib
import http.server
import inspect
import os
import re
import socket
import struct
import threading
import time

import mxnet as mx
import numpy as np
import pytest
from helpers import mnist5k, write_digits, write_idx
from hypothesis import given, settings
from hypothesis import strategies as st

import data
import recipe
from datasets import idx, mnist
from datasets.dataset import Split
from process.errors import UserError
from recipe import Network


def test_a_data_set_is_a_reader_and_a_flag(monkeypatch):
    assert set(recipe.DATASETS) == {"auto", *data.READERS}
    monkeypatch.setitem(data.READERS, "bars", data.READERS["mnist5k"])
    assert data.load_dataset("bars", None).name == "bars"


def test_mnist5k_is_stratified():
    for split, count in ((mnist5k().train, 400), (mnist5k().test, 100)):
        np.testing.assert_array_equal(np.bincount(split.labels), [count] * 10)
    assert mnist5k().train.images.max() == 255
    splits = (mnist5k().train, mnist5k().test)
    rows = {image.tobytes() for split in splits for image in split.images}
    assert len(rows) == 5000  # nothing of the test set is trained on


IMAGES, LABELS, PACKED = "train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", mnist.FILES[3]
PROMISED = bytes([0, 0, 8, 3]) + b"\xff" * 12  # a header of 2^96 bytes


@pytest.mark.parametrize(
    "name, damage, words",
    [
        (IMAGES, lambda content: content[:-1], "truncated"),
        (IMAGES, lambda content: content + b"\0", "longer"),
        (IMAGES, lambda content: b"", "not an IDX file"),
        (IMAGES, lambda content: PROMISED + bytes(1000), "promises"),
        (PACKED, lambda content: b"never packed", "cannot be read"),
        (PACKED, lambda content: content[:-12], "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, damage, words):
    write_digits(tmp_path / "digits")
    path = tmp_path / "digits" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"{name}.*{words}"):
        data.load_dataset(None, str(tmp_path / "digits"))


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({IMAGES: np.zeros(256)}, "with 3 axes"),
        ({LABELS: np.zeros(255)}, "256 training images, but 255 labels"),
        ({LABELS: np.full(256, 10)}, "--num_classes must be at least 11"),
        ({mnist.FILES[2][:-3]: np.zeros((0, 28, 28)), PACKED: []}, "test set is empty"),
        ({mnist.FILES[2][:-3]: np.zeros((100, 28, 29))}, "28 x 29"),
        (
            {IMAGES: np.zeros((256, 7, 28)), mnist.FILES[2][:-3]: np.zeros((100, 7, 28))},
            "images of 7 x 28 pixels are too small for --model lenetplus: enlarge them",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, arrays, words):
    write_digits(tmp_path / "digits")
    for name, array in arrays.items():
        write_idx(tmp_path / "digits" / name, array)
    with pytest.raises(UserError, match=words):
        data.load_dataset(None, str(tmp_path / "digits"))


def test_files_that_are_missing_or_no_files_are_named(tmp_path):
    write_digits(tmp_path / "digits")
    path = tmp_path / "digits" / IMAGES
    path.unlink()
    with pytest.raises(UserError, match=f"has no file {IMAGES}"):
        data.load_dataset(None, str(tmp_path / "digits"))
    os.mkfifo(path)
    with pytest.raises(UserError, match="cannot be read .Not a regular file"):
        data.load_dataset(None, str(tmp_path / "digits"))
    with pytest.raises(UserError, match="nowhere is not a folder"):
        data.load_dataset(None, str(tmp_path / "nowhere"))


@settings(max_examples=150, deadline=None)
@given(
    at=st.integers(0, 30), byte=st.integers(0, 255), cut=st.integers(0, 60), packed=st.booleans()
)
def test_any_damaged_idx_file_is_read_or_refused(tmp_path_factory, at, byte, cut, packed):
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    path = tmp_path_factory.mktemp("idx") / ("file.gz" if packed else "file")
    write_idx(path, images)
    content = bytearray(path.read_bytes())
    content[at] = byte
    path.write_bytes(content[: len(content) - cut])
    try:
        read = idx.read_idx(path, (3,))
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert read.size == images.size


@pytest.mark.parametrize(
    "form",
    [
        "{split}-{part}.idx{axes}-ubyte", "emnist-letters-{split}-{part}-idx{axes}-ubyte",
        "emnist-letters-{split}-{part}-idx{axes}-ubyte.gz", "{split}-{part}-idx{axes}-ubyte.gz",
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [True, False])
def test_the_names_that_people_have(tmp_path, capfd, form, packed):
    """And files whose name says that they are packed when they are not, or the other way round."""
    folder = tmp_path / "people"
    folder.mkdir()
    splits = {"train": mnist5k().train, "test" if "emnist" in form else "t10k": mnist5k().test}
    for split, (images, labels) in splits.items():
        for part, array, axes in (("images", images[::50, 0], 3), ("labels", labels[::50], 1)):
            path = folder / form.format(split=split, part=part, axes=axes)
            lying = axes == 3 and form.startswith("emnist")  # as EMNIST's images do
            write_idx(path, array.transpose(0, 2, 1) if lying else array)
            content = path.read_bytes()
            whole = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
            path.write_bytes(gzip.compress(whole) if packed else whole)
    loaded = data.load_dataset("auto", str(folder))
    assert loaded.name == "people" and loaded.test.images.shape == (20, 1, 28, 28)
    assert loaded.train.images.dtype == np.uint8 and loaded.train.labels.dtype == np.int32
    np.testing.assert_array_equal(loaded.train.images, mnist5k().train.images[::50])
    np.testing.assert_array_equal(loaded.test.labels, mnist5k().test.labels[::50])
    turned = "EMNIST's images are transposed" in capfd.readouterr().err
    assert turned == form.startswith("emnist")


def integers(array):
    """An IDX file of int32."""
    header = bytes([0, 0, 0x0C, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(">i4").tobytes()


def test_labels_of_qmnist_and_beyond_a_byte(tmp_path):
    digits = tmp_path / "digits"
    write_digits(digits)
    labels = idx.read_idx(digits / LABELS, (1,)).astype(int) + 1000
    (digits / LABELS).unlink()
    path = digits / "qmnist-train-labels-idx2-int"
    path.write_bytes(integers(np.column_stack([labels, labels[::-1]])))
    loaded = data.load_dataset("auto", str(digits), Network(num_classes=1010))
    np.testing.assert_array_equal(loaded.train.labels, labels)
    with pytest.raises(UserError, match="--num_classes must be at least 1010"):
        data.load_dataset("auto", str(digits))
    path.write_bytes(integers(-labels))
    with pytest.raises(UserError, match="below 0"):
        data.load_dataset("auto", str(digits), Network(num_classes=1010))


def test_labels_of_other_types_are_read_or_named(tmp_path):
    write_digits(tmp_path / "digits")
    path = tmp_path / "digits" / LABELS
    labels = idx.read_idx(path, (1,))
    header = struct.pack(">I", len(labels))
    path.write_bytes(bytes([0, 0, 0x0D, 1]) + header + labels.astype(">f4").tobytes())
    loaded = data.load_dataset("auto", str(tmp_path / "digits"))
    np.testing.assert_array_equal(loaded.train.labels, labels)
    path.write_bytes(bytes([0, 0, 0x0C, 1]) + header + labels.astype("<i4").tobytes())
    with pytest.raises(UserError, match="wrong byte order"):
        data.load_dataset("auto", str(tmp_path / "digits"))


def test_the_folders_of_torchvision(tmp_path):
    (tmp_path / "data" / "MNIST").mkdir(parents=True)
    write_digits(tmp_path / "data" / "MNIST" / "raw")
    for folder in ("data", "data/MNIST", "data/MNIST/raw"):
        assert len(data.load_dataset(None, str(tmp_path / folder)).train.labels) == 256
    (tmp_path / "data" / "KMNIST").mkdir()
    write_digits(tmp_path / "data" / "KMNIST" / "raw")
    with pytest.raises(UserError, match="more than one data set .*KMNIST/raw"):
        data.load_dataset(None, str(tmp_path / "data"))


def test_more_than_256_classes_and_colours(tmp_path):
    random = np.random.RandomState(0)
    images, labels = random.randint(0, 256, (60, 28, 30, 3)), random.randint(0, 300, 60)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", images)
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(integers(labels))
    loaded = data.load_dataset(None, str(tmp_path), Network(num_classes=300))
    np.testing.assert_array_equal(loaded.train.images, images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(loaded.test.labels, labels)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images[..., 0])
    with pytest.raises(UserError, match="28 x 30 pixels, 3 .* test images 28 x 30 pixels, 1 chan"):
        data.load_dataset(None, str(tmp_path), Network(num_classes=300))


def test_what_was_looked_for_and_what_is_there_is_named(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UserError, match="no file train-images-idx3-ubyte or .* but nothing"):
        data.load_dataset("auto", str(folder))
    for name in ("a.txt", "train-images-idx3-ubyte", "emnist-digits-train-labels-idx1-ubyte"):
        (folder / name).touch()
    (folder / "emnist-letters-train-labels-idx1-ubyte").touch()
    with pytest.raises(UserError, match="more than one file of training labels: emnist-digits"):
        data.load_dataset("auto", str(folder))


def test_folders_of_the_same_names_are_no_files(tmp_path):
    """As Kaggle packs MNIST: each file also lies in a folder of nearly its name."""
    write_digits(tmp_path / "digits")
    for path in (tmp_path / "digits").iterdir():
        array = idx.read_idx(path, (1, 3))
        name = path.name.partition(".")[0]
        path.unlink()
        (path.parent / name).mkdir()
        for folder in (path.parent, path.parent / name):
            write_idx(folder / name.replace("-idx", ".idx"), array)
    assert len(data.load_dataset(None, str(tmp_path / "digits")).train.labels) == 256


# --- downloads ---------------------------------------------------------------------------------


def publish(monkeypatch, **changes):
    """Publish MNIST otherwise."""
    monkeypatch.setattr(mnist, "MNIST", mnist.MNIST._replace(**changes))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A mirror on this machine with a small set, published as MNIST would be."""
    folder = tmp_path / "mirror"
    write_digits(folder)
    sha1 = []
    for name in mnist.FILES:
        path = folder / name
        if not path.exists():
            path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
        sha1.append(hashlib.sha1(path.read_bytes()).hexdigest())
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    good, broken = (f"http://127.0.0.1:{server.server_port}/{name}" for name in ("", "gone/"))
    publish(monkeypatch, sha1=tuple(sha1), mirrors=(broken, good))
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder
    server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_mnist_is_downloaded_once_from_a_mirror_that_works(published, tmp_path, monkeypatch):
    home = tmp_path / "home" / "datasets" / "mnist"
    home.mkdir(parents=True)
    (home / "train-images-idx3-ubyte.gz").write_bytes(b"half a download")
    loaded = data.load_dataset("auto", None)
    assert loaded.name == "mnist" and len(loaded.train.labels) == 256
    assert sorted(path.name for path in home.iterdir()) == sorted(mnist.FILES)
    publish(monkeypatch, mirrors=("http://127.0.0.1:9/",))
    assert len(data.load_dataset("mnist", None).train.labels) == 256


def test_a_download_that_was_changed_on_the_way_is_refused(published, tmp_path):
    (published / "train-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(UserError, match="--data_dir"):
        data.load_dataset("mnist", None)
    assert not (tmp_path / "home" / "datasets" / "mnist" / mnist.FILES[1]).exists()


def test_unpacked_files_at_gluons_place_count(published, tmp_path, monkeypatch):
    home = tmp_path / "home" / "datasets" / "mnist"
    home.mkdir(parents=True)
    for name in mnist.FILES:
        (home / name[:-3]).write_bytes(gzip.decompress((published / name).read_bytes()))
    publish(monkeypatch, mirrors=("http://127.0.0.1:9/",))
    assert len(data.load_dataset("mnist", None).train.labels) == 256
    (home / "train-images-idx3-ubyte").write_bytes(b"half")
    with pytest.raises(UserError, match="not an IDX file"):
        data.load_dataset("mnist", None)


def test_fashion_mnist_has_a_place_and_files_of_its_own(published, tmp_path, monkeypatch):
    mirror = mnist.MNIST._replace(folder="fashion-mnist", title="Fashion-MNIST")
    monkeypatch.setattr(mnist, "FASHION_MNIST", mirror)
    loaded = data.load_dataset("fashion_mnist", None)
    assert loaded.name == "fashion_mnist" and len(loaded.train.labels) == 256
    home = tmp_path / "home" / "datasets"
    assert [path.name for path in home.iterdir()] == ["fashion-mnist"]


def test_fashion_mnist_is_what_gluon_takes_for_it():
    source = inspect.getsource(mx.gluon.data.vision.FashionMNIST)
    known = dict(re.findall(r"'([\w-]+\.gz)',\s+'(\w{40})'", source))
    assert known == dict(zip(mnist.FILES, mnist.FASHION_MNIST.sha1))


def test_auto_decides_in_time_where_nobody_answers(tmp_path, monkeypatch, capfd):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        publish(monkeypatch, mirrors=(mirror,))
        monkeypatch.setattr(data, "SECONDS_TO_TRY", 1)
        monkeypatch.setenv("MXNET_HOME", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        began = time.monotonic()
        assert data.load_dataset("auto", None).name == "mnist5k"
        assert time.monotonic() - began < 10  # the server would have kept it for ever
    assert "WARNING: the full MNIST is not used." in capfd.readouterr().err


def test_auto_goes_on_where_the_home_folder_cannot_be_written(tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "file"))
    assert data.load_dataset("auto", None).name == "mnist5k"
    assert "could not be downloaded" in capfd.readouterr().err
    with pytest.raises(UserError, match="could not be downloaded"):
        data.load_dataset("mnist", None)


# --- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("copied_at_once", [1, 16, 1000])
@pytest.mark.parametrize("devices", [1, 2, 3])
def test_batches_hold_every_row_once_and_all_labels(monkeypatch, devices, copied_at_once):
    monkeypatch.setattr(data, "COPIED_AT_ONCE", copied_at_once)
    split = Split(
        np.random.RandomState(0).randint(0, 256, (11, 1, 2, 2)).astype(np.uint8),
        np.arange(11, dtype=np.int32),
    )
    order = np.random.RandomState(1).permutation(11)
    rows = []
    for slices in data.batches(split, 4, [mx.cpu(i) for i in range(devices)], order):
        labels = np.concatenate([label.asnumpy() for _, label, _ in slices])
        for i, (image, label, batch_labels) in enumerate(slices):
            assert image.context == mx.cpu(i)
            wanted = split.images[label.asnumpy()].astype(np.float32) / 255
            np.testing.assert_array_equal(image.asnumpy(), wanted)
            np.testing.assert_array_equal(batch_labels.asnumpy(), labels)
        rows.append(labels)
    assert [len(row) for row in rows] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(rows), order)
