"""Answers for single images, and unknown images told from those of the test set."""

import csv
import io
import json
import re

import mxnet as mx
import numpy as np
import pytest
from helpers import QUICK, assert_one_line, mnist5k, write_idx
from PIL import Image

import utils
from datasets import folders
from experiments import letters, photographs
from inference import predict as prediction
from process.errors import UserError
from runs.run import Run
from runs.trained import open_run


def write_some(folder, count=7, invert=False):
    """Test digits of mnist5k, of whose names the last digit is the label."""
    folder.mkdir()
    rows = np.arange(0, 1000, 1000 // count)[:count]
    images, labels = (array[rows] for array in mnist5k().test)
    for i, (image, label) in enumerate(zip(images[:, 0], labels)):
        Image.fromarray(255 - image if invert else image).save(folder / f"{i}-{label}.png")
    return images, labels


def answers(done):
    return [json.loads(line) for line in done.out.splitlines()]


def test_images_are_answered_as_the_network_and_the_centers_say(trained, tmp_path):
    images, _ = write_some(tmp_path / "some")
    done = trained("--predict", "some", "--format", "json")
    assert done.status == 0 and done.err == "", done.err
    run = open_run(Run("center-loss", "ckpt", "output"), {})
    net, centers, *_ = run.on(mx.cpu())
    logits, features = (x.asnumpy() for x in net(mx.nd.array(images) / 255))
    paths = sorted(f"some/{path.name}" for path in (tmp_path / "some").iterdir())
    for i, row in enumerate(answers(done)):
        exponentials = np.exp(logits[i] - logits[i].max())
        distances = np.sqrt(((features[i] - centers) ** 2).sum(axis=1))
        assert row == {
            "path": paths[i],
            "class": str(logits[i].argmax()),
            "probability": pytest.approx(exponentials.max() / exponentials.sum(), abs=1e-5),
            "nearest_center": str(distances.argmin()),
            "distance": pytest.approx(distances.min(), abs=1e-5),
            "class_prediction": str(logits[i].argmax()),
        }  # fmt: skip


def test_three_formats_say_the_same(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "AT_ONCE", 3)
    write_some(tmp_path / "some")
    (tmp_path / "some" / "deeper").mkdir()
    odd = 'a "name",\nodd.png'
    (tmp_path / "some" / "0-0.png").rename(tmp_path / "some" / "deeper" / odd)
    forms = {form: cli("--predict", "some", "--format", form) for form in ("csv", "json")}
    table = list(csv.DictReader(io.StringIO(forms["csv"].out, newline="")))
    rows = answers(forms["json"])
    assert [{name: str(value) for name, value in row.items()} for row in rows] == table
    text = cli("--predict", "some").out.splitlines()
    assert len(text) == 7
    for line, row in zip(text, table):
        near = f"nearest center {row['nearest_center']} at {float(row['distance']):.4g})"
        probability = f"{float(row['probability']):.4f}"
        path = row["path"].replace("\n", "\\n")
        assert line == f"{path}: {row['class']} (probability {probability}, {near}"


def test_far_images_are_unknown(trained, tmp_path):
    write_some(tmp_path / "some", count=50)
    everyone = answers(trained("--predict", "some", "--format", "json"))
    limit = np.mean(sorted(row["distance"] for row in everyone)[24:26])
    done = trained("--predict", "some", "--format", "json", "--threshold", limit)
    for row, before in zip(answers(done), everyone):
        near = before["nearest_center"]  # what a distance decides, the centers answer
        assert row["class"] == ("unknown" if row["distance"] > limit else near)
    # The record keeps which distance a fraction of the test images exceeded.
    write_some(tmp_path / "test", count=100)  # those of `digits`
    for reject in (0.5, 0.05, 0, 1):
        done = trained("--predict", "test", "--format", "json", "--reject", reject)
        refused = np.mean([row["class"] == "unknown" for row in answers(done)])
        assert refused == pytest.approx(reject, abs=0.011)


def test_a_run_without_centers_predicts_without_them(cli, tmp_path):
    write_some(tmp_path / "some", count=2)
    assert cli("--train", "--data_dir", "digits", *QUICK).status == 0
    flags = ("--predict", "some", "--prefix", "softmax-loss")
    done = cli(*flags)
    answer = re.compile(r"^some/0-0.png: \d \(probability 0\.\d{4}\)$", re.M)
    assert done.status == 0 and answer.search(done.out), done
    assert cli(*flags, "--format", "csv").out.splitlines()[1].split(",")[3:5] == ["", ""]
    for flag in ("--threshold", "--reject"):
        assert_one_line(cli(*flags, flag, 0.5), "--threshold or --reject needs")


def test_dark_digits_on_light_ground_are_turned(trained, tmp_path):
    write_some(tmp_path / "some")
    write_some(tmp_path / "dark", invert=True)
    wanted = trained("--predict", "some", "--format", "json")
    done = trained("--predict", "dark", "--format", "json")
    assert done.status == 0 and done.err == wanted.err == ""
    assert done.out.replace("dark/", "some/") == wanted.out
    done = trained("--predict", "dark", "--prepare", "none")
    assert "7 of 7 images are dark on light, unlike those of training" in done.err
    assert trained("--predict", "some", "--prepare", "none").err == ""


def test_an_image_has_one_answer_by_one_method(cli, tmp_path):
    write_some(tmp_path / "some", count=30)
    flags = ("--train", "--center_loss", "--data_dir", "digits", *QUICK)
    assert cli(*flags, "--eval_method", "knn").status == 0
    by_record = answers(cli("--predict", "some", "--format", "json"))
    assert all(row["class"] == row["nearest_center"] for row in by_record)
    assert any(row["class"] != row["class_prediction"] for row in by_record)
    given = answers(cli("--predict", "some", "--format", "json", "--eval_method", "softmax"))
    assert all(row["class"] == row["class_prediction"] for row in given)
    text = cli("--predict", "some").out.splitlines()[0]
    assert f"some/0-0.png: {by_record[0]['class']} (nearest center " in text
    assert f", class prediction {by_record[0]['class_prediction']} with probability" in text
    assert "by nearest center" in cli("--test", "--data_dir", "digits").out
    done = cli("--test", "--data_dir", "digits", "--eval_method", "softmax")
    assert "by class prediction" in done.out


def test_photos_are_answered_with_their_boxes(cli, tmp_path):
    (tmp_path / "some").mkdir()
    photographs.photograph("phone", 3, 1).save(tmp_path / "some" / "a.jpg")
    photographs.photograph("phone", None, 1).save(tmp_path / "some" / "b.jpg")
    (tmp_path / "some" / "c.png").write_bytes(b"x")
    row, three = Image.new("L", (600, 300), 255), photographs.photograph("tight", 3, 1)
    for place in (60, 320):
        row.paste(three.convert("L").resize((120, 160)), (place, 70))
    row.save(tmp_path / "some" / "d.png")
    done = cli("--predict", "some", "--format", "json")
    photo, paper, broken, pair = answers(done)
    assert pair["digits"] == 2 and "digits" not in photo
    assert "several digits, answered as one: some/d.png" in done.err
    left, top, right, bottom = photo["box"]
    assert 0 <= left < right <= 900 and 0 <= top < bottom <= 1200 and photo["class"] in "0123456789"
    assert (paper["class"], paper["fault"]) == ("unknown", "no ink found") and "box" not in paper
    assert (broken["class"], broken["fault"]) == (None, "not a readable image")
    assert done.status == 1
    assert done.err.splitlines()[-1].endswith("error: not a readable image: some/c.png")
    text = cli("--predict", "some").out.splitlines()
    assert len(text) == 3 and text[1] == "some/b.jpg: unknown (no ink found)"


def test_a_run_of_folders_takes_pictures_as_it_was_trained(cli, tmp_path):
    for digit in (0, 1):
        for part in ("train", "test"):
            folder = tmp_path / "own" / part / "ab"[digit]
            folder.mkdir(parents=True)
            for i in range(4 + len(part)):
                seed = 1000 * len(part) + 10 * i + digit
                photographs.photograph("scan", digit, seed).save(folder / f"{i}.png")
    flags = ("--train", "--center_loss", "--data_dir", "own", "--prefix")
    for prefix, more in (("whole", ()), ("found", ("--prepare", "mnist"))):
        assert cli(*flags, prefix, *more, *QUICK).status == 0
        record = (tmp_path / "ckpt" / f"{prefix}.json").read_text()
        assert ('"prepare": "mnist"' in record) == (prefix == "found")
        assert cli("--test", "--data_dir", "own", "--prefix", prefix).err == ""
        rows = answers(cli("--predict", "own/test", "--prefix", prefix, "--format", "json"))
        assert all(("box" in row) == (prefix == "found") for row in rows)
    done = cli("--test", "--data_dir", "own", "--prefix", "found", "--prepare", "none")
    assert_one_line(done, "--prepare none contradicts the run found")


def test_the_shipped_networks_answer_in_a_strange_folder(cli, tmp_path):
    _, labels = write_some(tmp_path / "some", count=40)
    for prefix in ("center-loss", "best"):
        done = cli("--predict", "some", "--prefix", prefix, "--format", "json")
        assert done.status == 0 and "so the shipped one is used" in done.err
        found = {row["path"]: row["class"] for row in answers(done)}
        right = sum(path.endswith(f"-{name}.png") for path, name in found.items())
        assert len(found) == 40 and right >= 39
        done = cli("--predict", "some", "--prefix", prefix, "--reject", 0.05)
        assert done.status == 0 and done.out.count(": unknown (") <= 6


def test_paths_without_images_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere is not there"):
        prediction.image_files(["nowhere"])
    with pytest.raises(UserError, match="no file's name ends in .png, .jpg"):
        prediction.image_files([str(tmp_path)])


def test_unknown_images_are_told_by_distance_and_by_probability(trained, tmp_path):
    """Against ranks counted pair by pair."""
    write_some(tmp_path / "some", count=30, invert=True)
    done = trained("--test", "--data_dir", "digits", "--unknown", "some", "--reject", 0.1)
    assert done.status == 0, done.err
    run = open_run(Run("center-loss", "ckpt", "output"), {})
    net, centers, *_ = run.on(mx.cpu())
    known = utils.classify(net, centers, mnist5k().test.images[::10], mx.cpu())
    paths = sorted((tmp_path / "some").iterdir())
    images = np.stack([one.pixels for one in folders.decode(paths, (1, 28, 28), prepare=True)])
    unknown = utils.classify(net, centers, images, mx.cpu())

    def doubt(images):
        output = net(mx.nd.array(images / 255))[0].asnumpy().astype(np.float64)
        others = np.sort(np.exp(output - output.max(axis=1, keepdims=True)))[:, :-1].sum(axis=1)
        return others / (1 + others)

    np.testing.assert_allclose(unknown.doubt, doubt(images), rtol=1e-3)
    for name, ours, theirs in (
        ("largest class probability", doubt(mnist5k().test.images[::10]), doubt(images)),
        ("distance to the nearest center", known.distance, unknown.distance),
    ):
        higher = np.mean((theirs[:, None] > ours) + 0.5 * (theirs[:, None] == ours))
        refused = np.mean(theirs > np.sort(ours)[89] + 1e-9)
        (line,) = (line for line in done.out.splitlines() if line.startswith(f"by the {name}"))
        area, said = map(float, re.findall(r"\d\.\d{4}", line))
        assert area == pytest.approx(higher, abs=1e-3)
        assert said == pytest.approx(refused, abs=0.04)
    assert "30 unknown images of some, 10% of the test set refused" in done.out


def test_unknown_images_may_be_an_idx_file(trained, tmp_path):
    write_idx(tmp_path / "letters-idx3-ubyte", np.zeros((5, 28, 28)))
    flags = ("--test", "--data_dir", "digits", "--unknown")
    assert "5 unknown images of letters-idx3-ubyte" in trained(*flags, "letters-idx3-ubyte").out
    # EMNIST's are turned: with the test set itself nothing can be told.
    turned = mnist5k().test.images[::10, 0].transpose(0, 2, 1)
    write_idx(tmp_path / "emnist-test-images-idx3-ubyte", turned)
    assert "AUROC 0.5000" in trained(*flags, "emnist-test-images-idx3-ubyte").out
    write_idx(tmp_path / "large", np.zeros((5, 30, 28)))
    assert_one_line(trained(*flags, "large"), "large: its images are (1, 30, 28), not (1, 28, 28)")
    assert_one_line(trained(*flags, "nowhere"), "nowhere is not there")


def test_a_test_says_which_classes_are_confused(trained, tmp_path):
    done = trained("--test", "--data_dir", "digits", "--plotting")
    rows = [line.split() for line in done.out.splitlines()]
    start = rows.index(["class", *"0123456789", "accuracy"])
    counts = np.array([row[1:-1] for row in rows[start + 1 : start + 11]], int)
    assert counts.sum(axis=1).tolist() == [10] * 10
    accuracy = float(re.search(r"Test_acc: (\d\.\d+)", done.out).group(1))
    assert np.trace(counts) / 100 == pytest.approx(accuracy)
    page = (tmp_path / "output" / "center-loss-test.html").read_text(encoding="utf-8")
    wrong = round(100 - 100 * accuracy)
    assert f"wrong by class prediction ({wrong})" in page
    with open(tmp_path / "output" / "center-loss-test.csv", newline="") as file:
        assert list(csv.reader(file)) == rows[start : start + 11]


def test_an_empty_path_is_none(cli):
    for name in ("predict", "unknown", "data_dir", "ckpt_dir", "out_dir"):
        assert_one_line(cli(f"--{name}", ""), "a path is empty", status=2)


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--test --threshold 1", "--threshold goes with --predict"),
        ("--predict a --threshold 1 --reject 0.1", "both say"),
        ("--predict a --reject 2", "not at most 1"),
        ("--test --reject 0.1", "--reject goes with"),
        ("--predict a --reject 0.1 --eval_method softmax", "are distances"),
        ("--test --format json", "goes with --predict"),
        ("--predict a --unknown b", "--unknown goes with --test"),
        ("--predict", "expected at least one argument"),
        ("--train --predict a --reject 0.1", "train with --center_loss"),
        ("--train --export --reject 0.1", "train with --center_loss"),
    ],
)
def test_flags_that_do_not_go_together(cli, flags, words):
    assert_one_line(cli(*flags.split()), words, status=2)


def test_letters_are_no_digits(tmp_path):
    letters.write(tmp_path / "letters")
    files, _ = prediction.image_files([str(tmp_path / "letters")])
    images = np.stack([one.pixels for one in folders.decode(files, (1, 28, 28))])
    assert len(images) > 1000
    ink = images.reshape(len(images), -1).astype(float)
    assert ink.sum(axis=1).min() > 0 and len(np.unique(ink, axis=0)) == len(images)
    rows = (ink.reshape(-1, 28, 28).sum(axis=2) * np.arange(28)).sum(axis=1) / ink.sum(axis=1)
    assert np.abs(rows - 13.5).max() <= 1  # their centers of mass
