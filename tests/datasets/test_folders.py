"""People's own images: every layout, format and mode, and an answer to each that is wrong."""

import os
import threading
import time

import numpy as np
import pytest
from helpers import QUICK, assert_one_line, mnist5k
from PIL import Image

import data
from datasets import folders
from process import errors
from process.errors import UserError
from recipe import Network

ONE = ("--data_dir", "own", *QUICK)
ONE_TEST = ("--data_dir", "digits", "--unknown", "own")


def write_images(folder, names="ab", count=12, size=28, mode="L", suffix="png"):
    """Noise whose mean tells the classes apart."""
    random = np.random.RandomState(len(names) + count)
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            bands = len(Image.new(mode, (1, 1)).getbands())
            pixels = random.randint(0, 60, (size, size + 3, bands)) + 150 * number // len(names)
            image = Image.fromarray(pixels.astype(np.uint8).squeeze(), mode)
            image.save(folder / name / f"{i}.{suffix}")


@pytest.fixture
def own(tmp_path):
    write_images(tmp_path / "own" / "train")
    write_images(tmp_path / "own" / "test", count=5)
    return tmp_path / "own"


def load(folder, names="ab", **flags):
    return data.load_dataset(None, str(folder), Network(num_classes=len(names), **flags))


def test_digits_as_pictures_are_the_digits(cli, tmp_path):
    """500 digits written as PNGs by class: the very same set, and it trains."""
    split = mnist5k().train
    rows = np.arange(0, len(split.labels), 8)
    for row in rows:
        for part in ("train", "test"):
            folder = tmp_path / "own" / part / f"{split.labels[row]}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[row, 0]).save(folder / f"{row:05}.png")
    loaded = load(tmp_path / "own", "0123456789")
    assert loaded.names == list("0123456789")
    np.testing.assert_array_equal(loaded.train.images, split.images[rows])
    np.testing.assert_array_equal(loaded.test.labels, split.labels[rows])
    done = cli("--train", "--center_loss", *ONE, "--plotting", "--epochs", 3, "--batch_size", 10,
               "--lr", 0.02, "--momentum", 0.9)  # fmt: skip
    assert done.status == 0 and done.err == "", done.err
    (line,) = (line for line in done.out.splitlines() if line.startswith("Epoch [2]"))
    assert float(line.split("Test-Acc=")[1].split(",")[0]) > 0.4
    done = cli("--test", "--eval_method", "knn", "--data_dir", "own", "--plotting")
    assert done.status == 0 and done.err == "", done.err


def test_twenty_six_classes_have_names_everywhere(cli, tmp_path):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    write_images(tmp_path / "own", letters, count=11)
    done = cli("--train", "--center_loss", *ONE, "--plotting")
    assert done.status == 0 and done.err == "", done.err
    assert "one image of 10 of each class is set apart as the test set" in done.out
    record = (tmp_path / "ckpt" / "center-loss.json").read_text()
    assert '"num_classes": 26' in record and '"Q"' in record
    assert cli("--second_train", "--data_dir", "own", "--epochs", 1).status == 0
    done = cli("--compare", "center-loss", "center-loss-second", "--data_dir", "own")
    assert done.status == 0 and done.err == "", done.err
    # Another folder has other classes.
    write_images(tmp_path / "other", letters[:-1] + "1", count=2)
    done = cli("--test", "--data_dir", "other")
    assert_one_line(
        done, "center-loss was trained on the classes A, B, ", "and other has 1, A, B, "
    )
    write_images(tmp_path / "few", "XY", count=2)
    assert_one_line(cli("--test", "--data_dir", "few"), "few has 2 classes")


def test_the_tenth_that_is_set_apart_is_of_every_class_and_stays(tmp_path):
    write_images(tmp_path / "own", "abc", count=40, size=16)
    first = load(tmp_path / "own", "abc", image_size=16)
    assert np.bincount(first.test.labels).tolist() == [4, 4, 4]
    assert np.bincount(first.train.labels).tolist() == [36, 36, 36]
    every = {image.tobytes() for split in (first.train, first.test) for image in split.images}
    assert len(every) == 120
    (tmp_path / "moved").mkdir()
    (tmp_path / "own").rename(tmp_path / "moved" / "train")
    moved = load(tmp_path / "moved", "abc", image_size=16)
    np.testing.assert_array_equal(moved.test.images, first.test.images)


@pytest.mark.parametrize("size", [28, 64])
def test_colours_and_sizes(cli, own, size):
    for folder in (own / "train", own / "test"):
        write_images(folder, "cd", size=64, mode="RGB", suffix="jpg")
    loaded = load(own, "abcd", image_size=size, color=True)
    assert loaded.train.images.shape == (48, 3, size, size)
    done = cli("--train", "--center_loss", *ONE, "--color", "--image_size", size)
    assert done.status == 0 and done.err == "", done.err
    # The run knows how its images are read.
    done = cli("--test", "--data_dir", "own")
    assert done.status == 0 and done.err == "", done.err
    done = cli("--test", "--data_dir", "own", "--image_size", 32)
    assert_one_line(done, "--image_size 32 contradicts the run center-loss")


MODES = {
    "grey": lambda: Image.new("L", (40, 30), 77),
    "palette": lambda: Image.new("L", (40, 30), 77).convert("P"),
    "16 bits": lambda: Image.fromarray(np.full((30, 40), 77 * 256 + 5, np.uint16)),
    "1 bit": lambda: Image.new("1", (40, 30), 1),
    "colour": lambda: Image.new("RGB", (40, 30), (77, 77, 77)),
    "transparent": lambda: Image.new("RGBA", (40, 30), (0, 0, 0, 0)),
    "half transparent grey": lambda: Image.new("LA", (40, 30), (0, 128)),
}
SEEN = {"1 bit": 255, "transparent": 255, "half transparent grey": 127}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_every_mode_look_as_people_see_them(tmp_path, mode, channels):
    MODES[mode]().save(tmp_path / "image.png")
    image = folders.read_image(tmp_path / "image.png", (channels, 28, 20))
    assert image.shape == (channels, 28, 20) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - SEEN.get(mode, 77)).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "webp"])
def test_images_of_every_format(tmp_path, suffix):
    pixels = np.zeros((28, 28), np.uint8)
    pixels[:, :14] = 200
    Image.fromarray(pixels).save(tmp_path / f"image.{suffix}", quality=100)
    image = folders.read_image(tmp_path / f"image.{suffix}", (1, 28, 28))
    assert np.abs(image[0].astype(int) - pixels).max() < 10


def test_images_are_turned_as_their_exif_says(tmp_path):
    pixels = np.zeros((28, 28), np.uint8)
    pixels[:5] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn it by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "image.jpg", exif=exif)
    image = folders.read_image(tmp_path / "image.jpg", (1, 28, 28))
    assert image[0, :, -3].min() > 200 and image[0, :, 3].max() < 50


def test_many_images_are_decoded_by_several_threads(tmp_path, monkeypatch):
    write_images(tmp_path / "own", count=20, size=16)
    alone = load(tmp_path / "own", image_size=16)
    monkeypatch.setattr(folders, "physical_cores", lambda: 3)
    threads, read_image = set(), folders.read_image

    def noted(*args):
        threads.add(threading.get_ident())
        time.sleep(0.01)
        return read_image(*args)

    monkeypatch.setattr(folders, "read_image", noted)
    several = load(tmp_path / "own", image_size=16)
    assert several.fingerprint == alone.fingerprint and len(threads) >= 3


def test_one_thread_does_where_no_other_can_be_started(own, monkeypatch):
    alone = load(own)
    monkeypatch.setattr(folders, "physical_cores", lambda: 3)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert load(own).fingerprint == alone.fingerprint


@pytest.mark.parametrize(
    "command",
    [("--train", *ONE), ("--predict", "own"), ("--test", *ONE_TEST)],
    ids=["train", "predict", "unknown"],
)
def test_a_signal_is_heard_between_two_images(trained, own, monkeypatch, command):
    read_image, read = folders.read_image, []

    def interrupted(path, shape):
        read.append(path)
        if len(read) == 2:
            errors.received.append(2)
        time.sleep(0.01)
        return read_image(path, shape)

    monkeypatch.setattr(folders, "read_image", interrupted)
    done = trained(*command)
    assert done.status == 130 and done.err.startswith("Interrupted: "), done.err
    assert len(read) <= 2 + folders.physical_cores()


def test_what_cannot_be_read_is_left_out_and_named(cli, own):
    for name, content in (("empty.png", b""), ("text.jpg", b"no image"), ("notes.txt", b"")):
        (own / "train" / "a" / name).write_bytes(content)
    half = (own / "train" / "a" / "0.png").read_bytes()[:300]
    (own / "train" / "a" / "half.png").write_bytes(half)
    (own / "train" / "b" / "link.png").symlink_to("nowhere")
    os.mkfifo(own / "train" / "b" / "pipe.png")
    (own / "train" / ".hidden").mkdir()
    (own / "train" / "b" / ".DS_Store").touch()
    done = cli("--train", "--center_loss", *ONE)
    assert done.status == 0 and "(24 images)" in done.out, done
    warnings = done.err.splitlines()
    assert len(warnings) == 2 and "notes.txt: left out" in warnings[0]
    assert "empty.png" in warnings[1] and "... (5 files): left out, for" in warnings[1]


WRONG = {
    "a class without images": (lambda own: (own / "train" / "c").mkdir(), "c has no image"),
    "a class of broken images": (
        lambda own: [(own / "train" / "c").mkdir(), (own / "train" / "c" / "1.png").touch()],
        "c has no image that can be read",
    ),
    "a single class": (lambda own: (own / "train" / "b").rename(own / "b"), "classes need two"),
    "a folder in a class": (
        lambda own: (own / "train" / "a" / "more").mkdir(),
        "more is a folder within a class",
    ),
    "a class to test only": (lambda own: write_images(own / "test", "c"), "no training images"),
    "classes that differ in case": (
        lambda own: write_images(own / "train", "A"),
        "classes A and a, which differ in case only",
    ),
    "a class of the name for refused ones": (
        lambda own: (own / "train" / "a").rename(own / "train" / "unknown"),
        "must have another name: 'unknown'",
    ),
    "no training": (lambda own: (own / "train").rename(own / ".train"), "no folder train"),
    "no test images": (
        lambda own: [path.unlink() for path in own.glob("test/*/*")],
        "the test set is empty",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_one_line(cli, own, wrong):
    break_it, words = WRONG[wrong]
    break_it(own)
    done = cli("--train", "--center_loss", *ONE)
    assert_one_line(done._replace(err=done.err.splitlines()[-1]), words)


def test_digits_in_folders_are_the_classes_of_mnist(tmp_path, trained):
    for i, (image, label) in enumerate(zip(*mnist5k().test)):
        if i % 5 == 0:
            folder = tmp_path / "own" / ("train" if i % 2 else "test") / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(folder / f"{i}.png")
    done = trained("--test", "--data_dir", "own")
    assert done.status == 0 and "is now used on other data: own" in done.err, done.err


def test_flags_that_do_not_go_with_the_data(cli, own):
    assert_one_line(
        cli("--train", *ONE, "--num_classes", 5),
        "own has 2 classes, and the network is for 5",
    )
    done = cli("--train", "--data_dir", "digits", "--color", *QUICK)
    assert_one_line(done, "--color are for folders of images")


def test_more_images_than_memory_are_refused_with_their_size(own, monkeypatch):
    class Little:
        available = 40_000

    with pytest.raises(UserError, match="24 images of 128 x 128 pixels take .* GiB.*--image_size"):
        monkeypatch.setattr(folders.psutil, "virtual_memory", Little)
        folders.read_files([list((own / "train" / "a").iterdir())] * 2, (1, 128, 128))
