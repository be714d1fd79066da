"""MNIST as beginners have it: Keras' mnist.npz and Kaggle's train.csv."""

import random

import numpy as np
import pytest
from helpers import mnist5k

import data
from datasets import tables
from process.errors import UserError

TRAIN, TEST = (
    (split.images[::step, 0], split.labels[::step])
    for split, step in ((mnist5k().train, 16), (mnist5k().test, 10))
)


def write_npz(path, **changed):
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), (*TRAIN, *TEST)))
    np.savez_compressed(path, **{**arrays, **changed})


def write_csv(path, images, labels=None):
    columns = [f"pixel{i}" for i in range(784)]
    rows = images.reshape(len(images), -1)
    if labels is not None:
        columns, rows = ["label", *columns], np.column_stack([labels, rows])
    np.savetxt(path, rows, "%d", ",", header=",".join(columns), comments="")


def test_the_file_of_keras(tmp_path):
    write_npz(tmp_path / "mnist.npz")
    for place in (tmp_path, tmp_path / "mnist.npz"):
        loaded = data.load_dataset(None, str(place))
        np.testing.assert_array_equal(loaded.train.images[:, 0], TRAIN[0])
        np.testing.assert_array_equal(loaded.test.labels, TEST[1])


def test_the_tables_of_kaggle(tmp_path, capfd):
    write_csv(tmp_path / "train.csv", *TRAIN)
    write_csv(tmp_path / "test.csv", TEST[0])  # without labels, as Kaggle has it
    loaded = data.load_dataset(None, str(tmp_path))
    assert "one image of 10 of each class is set apart" in capfd.readouterr().out
    assert len(loaded.train.labels) + len(loaded.test.labels) == len(TRAIN[1])
    assert np.bincount(loaded.test.labels).min() >= 2
    every = np.concatenate([loaded.train.images, loaded.test.images])[:, 0]
    assert sorted(map(bytes, every)) == sorted(map(bytes, TRAIN[0]))
    write_csv(tmp_path / "test.csv", *TEST)
    loaded = data.load_dataset(None, str(tmp_path))
    np.testing.assert_array_equal(loaded.test.images[:, 0], TEST[0])


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"x_train": TRAIN[0] / 2}, "pixels that are no whole numbers"),
        ({"y_train": TRAIN[1][1:]}, r"labels int32 of shape \(249,\)"),
        ({"x_train": TRAIN[0][:, 0]}, r"an array of shape \(250, 28\)"),
        ({"y_train": np.int64(2**32) + TRAIN[1]}, "at least 4294967306"),
        ({"y_train": 0 * TRAIN[1]}, "all training images have the label 0"),
        ({"y_train": TRAIN[1] + 0.5}, "5, which is no whole number"),
        ({"y_test": np.array([None])}, "cannot be read"),
        ({"x_test": TEST[0].astype(int) + 1}, "outside 0 to 255"),
    ],
)
def test_another_npz_is_refused(tmp_path, changed, words):
    write_npz(tmp_path / "mnist.npz", **changed)
    with pytest.raises(UserError, match=f"mnist.npz.*{words}"):
        data.load_dataset(None, str(tmp_path / "mnist.npz"))


def test_an_npz_that_would_take_all_memory_is_refused(tmp_path, monkeypatch):
    write_npz(tmp_path / "mnist.npz")
    monkeypatch.setattr(tables, "MAX_UNPACKED", 10**5)
    with pytest.raises(
        UserError, match="mnist.npz cannot be read .it unpacks to more than 100,000"
    ):
        data.load_dataset(None, str(tmp_path / "mnist.npz"))


def test_a_damaged_npz_is_refused(tmp_path):
    """Whatever zipfile, zlib and NumPy make of it."""
    path = tmp_path / "mnist.npz"
    write_npz(path)
    content = path.read_bytes()
    random.seed(0)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[random.randrange(len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        try:
            tables.read(tmp_path, [path], True)
        except UserError as error:
            assert "mnist.npz cannot be read" in str(error)
    path.write_text("<html>")  # as a browser may save it
    with pytest.raises(UserError, match="mnist.npz cannot be read .File is not a zip file"):
        tables.read(tmp_path, [path], True)


@pytest.mark.parametrize(
    "content", ["a,b\n1,x\n", "a,b,c\n1,2,3\n", "a\n", "y,b\n1,300\n1,2\n", "y,b\n1,nan\n1,2\n"]
)
def test_another_csv_is_refused(tmp_path, content):
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(UserError, match="train.csv"):
        data.load_dataset(None, str(tmp_path / "train.csv"))


@pytest.mark.parametrize("brightest", [1, 16])
def test_pixels_of_another_scale_are_scaled(tmp_path, capfd, brightest):
    write_npz(
        tmp_path / "mnist.npz", x_train=TRAIN[0] / 255 * brightest, x_test=TEST[0] / 255 * brightest
    )
    loaded = data.load_dataset(None, str(tmp_path))
    np.testing.assert_array_equal(loaded.train.images[:, 0], TRAIN[0])
    np.testing.assert_array_equal(loaded.test.images[:, 0], TEST[0])
    assert f"its brightest pixel is {brightest}, so all are scaled" in capfd.readouterr().err
    write_csv(tmp_path / "train.csv", TRAIN[0] > 127, TRAIN[1])
    loaded = data.load_dataset(None, str(tmp_path / "train.csv"))
    assert set(np.unique(loaded.train.images)) == {0, 255}


@pytest.mark.parametrize("label, words", [("-7", "go down to -7"), ("inf", "go up to inf")])
def test_a_label_that_is_none_is_named(tmp_path, label, words):
    rows = [f"{j},{','.join('0' * 784)}\n" for j in [label, 1, 2] * 20]
    (tmp_path / "train.csv").write_text("".join(rows))
    with pytest.raises(UserError, match=words):
        data.load_dataset(None, str(tmp_path))


PIXELS = [f"pixel{i}" for i in range(784)]
ROWS = np.column_stack([TRAIN[1], TRAIN[0].reshape(len(TRAIN[0]), -1)])
TURNED = np.column_stack([TRAIN[1], TRAIN[0].transpose(0, 2, 1).reshape(len(TRAIN[0]), -1)])


@pytest.mark.parametrize(
    "name, rows, header, separator",
    [
        ("train.csv", np.roll(ROWS, -1, axis=1), [*PIXELS, "class"], ","),
        ("train.csv", np.roll(ROWS, -1, axis=1), [*PIXELS, "digit"], ","),
        ("train.csv", np.column_stack([range(250), ROWS]), ["", "Label", *PIXELS], ","),
        ("train.csv", ROWS, ["\ufefflabel", *PIXELS], ";"),
        ("mnist_train.csv", ROWS, [], ","),
        ("emnist-digits-train.csv", TURNED, [], ","),
    ],
    ids=["label last", "only one no pixel", "with an index", "semicolons", "no header", "emnist"],
)
def test_tables_as_people_have_them(tmp_path, name, rows, header, separator):
    for part in ("train", "test"):
        path = tmp_path / name.replace("train", part)
        with open(path, "w", encoding="utf-8") as file:
            if header:
                file.write(separator.join(header) + "\n")
            np.savetxt(file, rows, "%d", separator)
    loaded = data.load_dataset(None, str(tmp_path))
    for split in (loaded.train, loaded.test):
        np.testing.assert_array_equal(split.images[:, 0], TRAIN[0])
        np.testing.assert_array_equal(split.labels, TRAIN[1])


def test_a_table_without_a_label_says_so(tmp_path):
    write_csv(tmp_path / "train.csv", TRAIN[0])
    with pytest.raises(UserError, match="no column is called label, class, target, y"):
        data.load_dataset(None, str(tmp_path))


def test_one_array_a_file(tmp_path):
    for part, (images, labels) in (("train", TRAIN), ("test", TEST)):
        np.savez(tmp_path / f"kmnist-{part}-imgs.npz", images)
        np.savez(tmp_path / f"kmnist-{part}-labels.npz", labels)
    (tmp_path / "._kmnist-train-imgs.npz").write_bytes(b"of macOS")
    loaded = data.load_dataset(None, str(tmp_path))
    np.testing.assert_array_equal(loaded.train.images[:, 0], TRAIN[0])
    np.testing.assert_array_equal(loaded.test.labels, TEST[1])


def test_a_class_of_one_image_is_trained_on(tmp_path):
    labels = np.where(np.arange(len(TRAIN[1])) == 7, 9, TRAIN[1] % 9)
    write_csv(tmp_path / "train.csv", TRAIN[0], labels)
    loaded = data.load_dataset(None, str(tmp_path))
    assert (loaded.train.labels == 9).sum() == 1 and 9 not in loaded.test.labels


def test_of_several_npz_files_one_is_named(tmp_path):
    for name in ("boston.npz", "kmnist.npz"):
        np.savez(tmp_path / name)
    with pytest.raises(UserError, match=r"\(boston.npz, kmnist.npz\): name one"):
        data.load_dataset(None, str(tmp_path))
    write_npz(tmp_path / "mnist.npz")
    assert len(data.load_dataset(None, str(tmp_path)).train.labels) == len(TRAIN[1])
