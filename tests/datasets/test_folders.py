"""People's own images: every layout, format and mode, and an answer to each that is wrong."""

import csv
import json
import os
import threading
import unicodedata

import mxnet as mx
import numpy as np
import pytest
from helpers import QUICK, assert_one_line, mnist5k
from PIL import Image

import data
from datasets import folders, images
from datasets.dataset import Split, edge_of
from datasets.warps import random_warps
from experiments import photographs
from process import errors
from process.errors import UserError
from recipe import Network
from runs.run import SHIPPED

ONE = ("--data_dir", "own", *QUICK)


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


def counts(split):
    return np.bincount(split.labels).tolist()


# --- layouts -----------------------------------------------------------------------------------


def test_digits_as_pictures_are_the_digits(tmp_path, capfd):
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
    assert "500 of 500 images in test are also in train" in capfd.readouterr().err


def test_twenty_six_classes_have_names_everywhere(cli, tmp_path):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    write_images(tmp_path / "own", letters, count=11)
    done = cli("--train", "--center_loss", *ONE, "--plotting")
    assert done.status == 0 and done.err == "", done.err
    assert "one image of 10 of each class is set apart as the test set" in done.out
    record = (tmp_path / "ckpt" / "center-loss.json").read_text()
    assert '"num_classes": 26' in record and '"Q"' in record and '"val_' not in record
    done = cli("--compare", "center-loss", "--data_dir", "own")
    assert done.status == 0 and done.err == "", done.err
    # Another folder has other classes.
    write_images(tmp_path / "other", letters[:-1] + "1", count=2)
    done = cli("--test", "--data_dir", "other")
    words = "other/1 is a class without training images: the classes are A, B, "
    assert_one_line(done, words)
    # Some of the classes are enough; each image is tested.
    write_images(tmp_path / "few", "XQ", count=20)
    done = cli("--test", "--data_dir", "few")
    assert done.status == 0 and "few has no labelled test images: all" in done.out, done
    rows = [line.split() for line in done.out.splitlines()]
    tested = {row[0]: sum(map(int, row[1:-1])) for row in rows if row[:1] in (["Q"], ["X"])}
    assert tested == {"Q": 20, "X": 20}


def test_the_tenth_that_is_set_apart_is_of_every_class_and_stays(tmp_path):
    write_images(tmp_path / "own", "abc", count=40, size=16)
    first = load(tmp_path / "own", "abc", image_size=16)
    assert counts(first.test) == [4, 4, 4] and counts(first.train) == [36, 36, 36]
    every = {image.tobytes() for split in (first.train, first.test) for image in split.images}
    assert len(every) == 120
    (tmp_path / "moved").mkdir()
    (tmp_path / "own").rename(tmp_path / "moved" / "train")
    moved = load(tmp_path / "moved", "abc", image_size=16)
    np.testing.assert_array_equal(moved.test.images, first.test.images)


def test_a_class_of_one_image_is_not_tested(tmp_path):
    write_images(tmp_path / "own", "a", count=20)
    write_images(tmp_path / "own", "b", count=1)
    loaded = load(tmp_path / "own")
    assert counts(loaded.train) == [18, 1] and counts(loaded.test) == [2]


def test_parts_are_known_by_other_names(own):
    (own / "train").rename(own / "training")
    (own / "test").rename(own / "TEST")
    loaded = load(own)
    assert counts(loaded.train) == [12, 12] and counts(loaded.test) == [5, 5]


def test_a_validation_set_is_the_test_set_where_there_is_none(own, capfd):
    (own / "test").rename(own / "Valid")
    assert counts(load(own).test) == [5, 5]
    assert f"no labelled test images: {own / 'Valid'} is the test set" in capfd.readouterr().out


def test_test_images_without_labels_are_said_to_be_that(own, capfd):
    for path in list(own.glob("test/*/*")):
        path.rename(own / "test" / f"{path.parent.name}{path.name}")
    for name in "ab":
        (own / "test" / name).rmdir()
    assert counts(load(own).test) == [1, 1]
    done = capfd.readouterr()
    assert f"not used: {own / 'test'}" in done.err and "one image of 10" in done.out


def test_linked_folders_are_read_and_a_circle_ends(own, tmp_path):
    (own / "train" / "a").rename(tmp_path / "elsewhere")
    (own / "train" / "a").symlink_to(tmp_path / "elsewhere")
    (own / "train" / "a" / "circle").symlink_to(own / "train" / "a")
    assert counts(load(own).train) == [12, 12]


def test_names_are_the_same_in_any_normal_form(tmp_path):
    names = ["caf\u00e9", "th\u00e9"]
    write_images(tmp_path / "own" / "train", [unicodedata.normalize("NFD", one) for one in names])
    write_images(tmp_path / "own" / "test", names)
    assert counts(load(tmp_path / "own", names).test) == [12, 12]


def test_what_systems_leave_beside_images_is_no_image(own, capfd):
    for part in (own, own / "train", own / "train" / "a"):
        for name in ("__MACOSX", "@eaDir", ".ipynb_checkpoints"):
            (part / name).mkdir()
            (part / name / "0.png").write_bytes((own / "train" / "b" / "0.png").read_bytes())
    assert counts(load(own).train) == [12, 12] and capfd.readouterr().err == ""


def test_folders_within_a_class_are_read_and_all_that_is_not_used_is_named(own, capfd):
    (own / "train" / "a" / "more" / "still").mkdir(parents=True)
    (own / "train" / "a" / "0.png").rename(own / "train" / "a" / "more" / "still" / "0.png")
    notes = [own / "train" / "b" / f"notes-{i}.txt" for i in range(13)]
    unused = [*notes, own / "train" / "notes.txt", own / "labels.csv"]
    for path in unused:
        path.touch()
    assert counts(load(own).train) == [12, 12]
    err = capfd.readouterr().err
    assert all(str(path) in err for path in unused) and "(images end in .png, .jpg" in err


def test_what_cannot_be_read_is_left_out_and_named(own, capfd):
    broken = [own / "train" / "a" / name for name in ("empty.png", "text.jpg", "half.png")]
    content = (own / "train" / "a" / "0.png").read_bytes()
    for path, damaged in zip(broken, (b"", b"no image", content[:300])):
        path.write_bytes(damaged)
    broken += [own / "train" / "b" / "link.png", own / "train" / "b" / "pipe.png"]
    broken[-2].symlink_to("nowhere")
    os.mkfifo(broken[-1])
    assert counts(load(own).train) == [12, 12]
    (line,) = capfd.readouterr().err.splitlines()
    assert "skipped: not a readable image" in line and all(str(path) in line for path in broken)


WRONG = {
    "a class of broken images": (
        lambda own: [(own / "train" / "c").mkdir(), (own / "train" / "c" / "1.png").touch()],
        "the class c in .*own has no image that can be read",
    ),
    "a single class": (
        lambda own: (own / "train" / "b").rename(own / "b"),
        "classes need two.*; if a table has the labels, move each image to a folder of its class",
    ),
    "a class to test only": (
        lambda own: write_images(own / "test", "c"),
        "class without training images",
    ),
    "two folders for a part": (lambda own: write_images(own / "Training"), "both named for one"),
    "no training": (lambda own: (own / "train").rename(own / ".train"), "no folder train"),
    "no test images": (
        lambda own: [path.unlink() for path in own.glob("test/*/*")],
        "the test set is empty",
    ),
    "a class called as refused images are": (
        lambda own: (own / "train" / "a").rename(own / "train" / "Unknown"),
        "images that are refused are called unknown",
    ),
    "a name in GBK": (
        lambda own: (own / "train" / "a").rename(own / "train" / os.fsdecode(b"\xd6\xd0")),
        "has a name that is no UTF-8",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(own, wrong):
    break_it, words = WRONG[wrong]
    break_it(own)
    with pytest.raises(UserError, match=words):
        load(own)


def test_flags_that_do_not_go_with_the_data(own):
    with pytest.raises(UserError, match="own has 2 classes, and the network is for 5"):
        load(own, range(5))
    with pytest.raises(UserError, match="--color are for folders of images"):
        data.load_dataset("mnist5k", None, Network(color=True))
    for flags in ({"image_size": 32}, {"color": True}):
        with pytest.raises(UserError, match="leave --image_size and --color out"):
            load(own, prepare="mnist", **flags)


# --- images ------------------------------------------------------------------------------------

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
    image = images.read_image(tmp_path / "image.png", (channels, 28, 20))
    assert image.shape == (channels, 28, 20) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - SEEN.get(mode, 77)).max() <= 1


@pytest.mark.parametrize("suffix", [*images.FORMATS, ".JPEG"])
def test_images_of_every_format(tmp_path, suffix):
    pixels = np.zeros((28, 28), np.uint8)
    pixels[:, :14] = 200
    Image.fromarray(pixels).save(tmp_path / f"image{suffix}", quality=100)
    image = images.read_image(tmp_path / f"image{suffix}", (1, 28, 28))
    assert np.abs(image[0].astype(int) - pixels).max() < 10


def test_images_are_turned_as_their_exif_says(tmp_path):
    pixels = np.zeros((280, 560), np.uint8)
    pixels[:50] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn it by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "image.jpg", exif=exif)
    image = images.read_image(tmp_path / "image.jpg", (1, 28, 28))
    assert image[0, :, -3].min() > 200 and image[0, :, 3].max() < 50
    image, full = images.open_image(tmp_path / "image.jpg", "L", (28, 28))
    assert full == (280, 560) and image.size < full  # it need not be decoded whole


def test_white_strokes_on_transparency_are_seen(tmp_path):
    stroke = Image.new("RGBA", (40, 30), (255, 255, 255, 0))
    stroke.paste((255, 255, 255, 255), (10, 10, 30, 20))
    stroke.save(tmp_path / "white.png")
    image = images.read_image(tmp_path / "white.png", (1, 30, 40))
    assert image[0, 15, 20] == 255 and image[0, 0, 0] == 0
    stroke.convert("LA").save(tmp_path / "grey.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "grey.png", (1, 30, 40)), image)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_depths_of_cameras_and_scanners(tmp_path, bits):
    values = np.full((28, 28), 2**bits - 1, np.uint16)
    values[:5] = 2 ** (bits - 1)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = images.read_image(tmp_path / "deep.png", (1, 28, 28))
    assert image[0, 0, 0] == 128 and image[0, 20, 20] == 255


def test_a_picture_of_gigabytes_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (13400, 13400)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="huge.png cannot be read"):
        images.read_image(tmp_path / "huge.png", (1, 28, 28))


def test_images_are_decoded_by_as_many_threads_as_there_are_cores(monkeypatch):
    together = threading.Barrier(3)
    monkeypatch.setattr(folders, "physical_cores", lambda: 3)
    monkeypatch.setattr(folders, "read_image", lambda path, shape: (path, together.wait(60))[0])
    assert [one.pixels for one in folders.decode(range(6), (1, 28, 28))] == list(range(6))


def test_a_signal_is_heard_between_two_images(own, monkeypatch):
    found = folders.decode(sorted(own.glob("train/a/*")), (1, 28, 28))
    assert next(found).fault is None
    monkeypatch.setattr(errors, "received", [15])
    with pytest.raises(errors.Interrupted):
        next(found)


# --- runs --------------------------------------------------------------------------------------


def test_colours_and_sizes(cli, own):
    for folder in (own / "train", own / "test"):
        write_images(folder, "cd", count=12 - len(folder.name), size=64, mode="RGB", suffix="jpg")
    for size in (28, 64):
        loaded = load(own, "abcd", image_size=size, color=True)
        assert loaded.train.images.shape == (38, 3, size, size)
    done = cli("--train", "--center_loss", *ONE, "--color", "--image_size", size)
    assert done.status == 0 and done.err == "", done.err
    # The run knows how its images are read.
    done = cli("--test", "--data_dir", "own")
    assert done.status == 0 and done.err == "", done.err
    done = cli("--test", "--data_dir", "own", "--image_size", 32)
    assert_one_line(done, "--image_size 32 contradicts the run center-loss")


def test_uneven_classes_are_said_with_the_mean_over_them(cli, tmp_path):
    for name, train, test in (("a", 40, 10), ("b", 4, 1)):
        write_images(tmp_path / "own" / "train", name, count=train)
        write_images(tmp_path / "own" / "test", name, count=test)
    done = cli("--train", *ONE)
    assert "WARNING: own: a class has ten times as many images as another" in done.err
    done = cli("--test", "--data_dir", "own", "--prefix", "softmax-loss")
    rows = [line.split() for line in done.out.splitlines()]
    of_class = [float(row[-1]) for row in rows if row and row[0] in ("a", "b")]
    assert f"Mean over classes: {np.mean(of_class):.4f}" in done.out


def test_labelled_photos_are_tested_as_they_are_predicted(cli, tmp_path):
    """Four of ten digits, without a test set of their own, by a shipped network."""
    for digit in (1, 3, 4, 7):
        (tmp_path / "own" / f"{digit}").mkdir(parents=True)
        for i, kind in enumerate(photographs.KINDS):
            picture = photographs.photograph(kind, digit, 40 + i)
            picture.save(tmp_path / "own" / f"{digit}" / f"{kind}.png")
    flags = ("--data_dir", "own", "--prefix", "best", "--ckpt_dir", str(SHIPPED))
    done = cli("--test", *flags)
    assert done.status == 0 and "all labelled images are tested" in done.out, done
    accuracy = float(done.out.split("Test_acc: ")[1].split(",")[0])
    lines = cli("--predict", "own", "--prefix", "best", "--format", "csv").out.splitlines()
    right = [line.split("/")[1] == line.split(",")[1] for line in lines[1:]]
    assert len(right) == 24 and np.mean(right) >= 0.9
    assert accuracy == pytest.approx(np.mean(right), abs=1e-4)


def test_a_validation_set_chooses_the_epoch(cli, own, tmp_path):
    write_images(own / "val", count=7)
    loaded = load(own)
    assert [len(part.labels) for part in (loaded.train, loaded.val, loaded.test)] == [24, 14, 10]
    done = cli("--train", "--center_loss", *ONE, "--plotting", "--epochs", 3)
    assert done.status == 0 and "Best validation accuracy by class prediction" in done.out
    record = json.loads((tmp_path / "ckpt" / "center-loss.json").read_text())
    accuracies = [epoch["val_softmax"] for epoch in record["history"]]
    assert record["best"]["accuracy"] == max(accuracies)
    assert record["best"]["epoch"] == accuracies.index(max(accuracies))
    with open(tmp_path / "output" / "center-loss-history.csv", newline="") as file:
        assert [float(row["val_softmax"]) for row in csv.DictReader(file)] == accuracies
    done = cli("--train", "--center_loss", *ONE, "--epochs", 4, "--resume")
    assert done.status == 0 and cli("--test", "--data_dir", "own").status == 0
    # Another validation set makes other data.
    (own / "val" / "a" / "0.png").unlink()
    done = cli("--train", "--center_loss", *ONE, "--epochs", 5, "--resume")
    assert_one_line(done, "contradicts the run center-loss")


def test_a_run_that_has_learnt_nothing_says_so(cli, tmp_path):
    write_images(tmp_path / "own", "abcdefghijklmnopqrstuvw", count=3)
    done = cli("--train", "--center_loss", *ONE, "--lr", 1e-6)
    assert done.status == 0 and "2 features are few for 23 classes" in done.out
    assert "center-loss: the softmax loss is still that of guessing" in done.out
    write_images(tmp_path / "two", "ab")
    done = cli("--train", "--center_loss", "--data_dir", "two", *QUICK, "--epochs", 12)
    assert "are few" not in done.out and "guessing" not in done.out, done


def test_white_paper_stays_white_where_images_are_warped():
    pixels = np.full((6, 1, 28, 28), 250, np.uint8)
    pixels[:, :, 10:18, 10:18] = 0
    split = Split(pixels, np.zeros(6, np.int32))
    warps = random_warps(pixels.shape, 0, 0)
    assert edge_of(split) == 250
    ((slice_,),) = data.batches(split, 6, [mx.cpu()], warps=warps)
    warped = slice_[0].asnumpy()
    corners = warped[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, 250 / 255, atol=1e-5)
    assert warped.min() < 0.1
    assert edge_of(mnist5k().train) == 0  # so MNIST's runs keep their bytes
