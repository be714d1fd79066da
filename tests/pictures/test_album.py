"""Pictures belong to their run, look the same everywhere, and never cost an epoch."""

import csv
import dataclasses
import re

import imageio.v3 as iio
import mxnet as mx
import numpy as np
import pytest
from helpers import CAN_EXPORT, assert_one_line, files_up_to

import data
from pictures import album, feature_maps
from pictures.drawn import path_of, read_drawn
from recipe import Recipe
from runs.run import Run
from runs.trained import open_run

pytestmark = pytest.mark.slow

FLAGS = ("--train", "--center_loss", "--data_dir", "digits", "--model", "lenet", "--plotting")


def frames(split="test"):
    return iio.imread(f"output/center-loss-{split}.gif", index=None)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "a pickle": lambda path: np.savez(path, run=np.array([{}], dtype=object)),
    "larger than itself": lambda path: np.savez_compressed(path, run=np.zeros(10**6)),
}


def test_what_is_drawn_is_kept_as_numbers_unless_it_is_damaged(cli, tmp_path, capfd):
    assert cli(*FLAGS, "--epochs", 2).status == 0
    run = Run("center-loss", "ckpt", "output")
    record = run.read_record()
    drawn = read_drawn(run, record)
    assert list(drawn) == [0, 1]
    best = record.best.epoch
    loaded = open_run(run, {}).on(mx.cpu())
    for split, dots in drawn[best].items():
        images, labels = getattr(data.load_dataset("digits", "digits"), split)
        features = loaded.answer(images).features
        np.testing.assert_allclose(dots.points, features, rtol=1e-4, atol=1e-5)
        assert (dots.labels == labels).all() and (dots.centers == loaded.centers).all()
        means = [features[labels == j].mean(axis=0) for j in range(10)]
        np.testing.assert_allclose(dots.means, means, rtol=1e-3, atol=1e-4)
    assert read_drawn(run, dataclasses.replace(record, recipe=Recipe(seed=9))) == {}
    for damage in DAMAGES.values():
        damage(path_of(run))
        assert read_drawn(run, record) == {}
        said = capfd.readouterr().err
        assert "feature_maps.npz is damaged: the epochs before are left out" in said
    done = cli(*FLAGS, "--epochs", 3, "--resume")
    assert done.status == 0 and done.err == said and len(frames()) == 1
    page = (tmp_path / "output" / "center-loss-epochs.html").read_text(encoding="utf-8")
    assert set(re.findall(r"digits, (?:training|test) set, epoch (\d):", page)) == {"2"}


def test_of_many_epochs_every_kth_is_drawn_and_the_last(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(album, "MAX_FRAMES", 2)
    assert cli(*FLAGS, "--epochs", 4).status == 0
    names = [f"{split}-epoch-{epoch}.png" for split in ("test", "train") for epoch in (0, 2, 3)]
    folder = tmp_path / "output" / "center-loss"
    assert sorted(path.name for path in folder.iterdir()) == ["feature_maps.npz", *names]
    assert len(frames()) == 3
    assert cli(*FLAGS, "--epochs", 6, "--resume").status == 0
    left = sorted(path.name for path in folder.glob("test-*"))
    assert left == [f"test-epoch-{epoch}.png" for epoch in (0, 3, 5)] and len(frames()) == 3


def test_files_of_the_user_are_not_touched(cli, tmp_path):
    """Whatever their names are; what is in the way is refused before the work."""
    names = ("center-loss-test.csv", "center-loss.onnx", "center-loss-test-epoch-0.png")
    kept = [tmp_path / "output" / name for name in names]
    (tmp_path / "output").mkdir()
    for path in kept:
        path.write_bytes(b"precious")
    done = cli(*FLAGS, "--epochs", 1)
    assert_one_line(done, "output/center-loss-test.csv is in the way", "--out_dir")
    assert not list((tmp_path / "ckpt").glob("*.json"))
    kept.pop(0).rename(tmp_path / "elsewhere.csv")
    assert cli(*FLAGS, "--epochs", 1).status == 0
    assert cli(*FLAGS, "--epochs", 1, "--seed", 1).status == 0
    if CAN_EXPORT:
        assert_one_line(cli("--export"), "output/center-loss.onnx is in the way")
    (tmp_path / "side_by_side.gif").write_bytes(b"precious")
    done = cli("--compare", "center-loss", "--data_dir", "digits", "--out_dir", ".")
    assert_one_line(done, "side_by_side.gif is in the way")
    assert {path.read_bytes() for path in kept} == {b"precious"}
    done = cli(*FLAGS, "--epochs", 1, "--prefix", "digits", "--out_dir", ".")
    assert_one_line(done, "digits is in the way")  # the folder of data


def test_runs_are_drawn_side_by_side_and_on_their_regions(cli, tmp_path):
    assert cli(*FLAGS, "--epochs", 2).status == 0
    assert cli(FLAGS[0], *FLAGS[2:], "--epochs", 1).status == 0
    done = cli("--compare", "center-loss", "softmax-loss", "--data_dir", "digits")
    assert done.status == 0 and done.err == "", done.err
    for name in ("who_answers_what.png", "side_by_side.gif"):
        assert f"Picture: output/{name}" in done.out
    images = iio.imread("output/side_by_side.gif", index=None)
    assert images.shape == (2, 520, 960, 3)
    assert (images[0][:, 490:] == images[1][:, 490:]).mean() > 0.99  # it has no second epoch
    assert (images[0][:, :470] == images[1][:, :470]).mean() < 0.99


def test_features_are_written_as_numbers(trained, tmp_path):
    done = trained("--test", "--plotting", "--data_dir", "digits")
    assert done.status == 0 and "picked on these test images" not in done.err
    with open(tmp_path / "output" / "center-loss-test.features.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    loaded = open_run(Run("center-loss", "ckpt", "output"), {}).on(mx.cpu())
    images, labels = data.load_dataset("digits", "digits").test
    answers = loaded.answer(images)
    assert [int(row["image"]) for row in rows] == list(range(len(labels)))
    assert [int(row["class"]) for row in rows] == labels.tolist()
    for column, method in (("class prediction", "softmax"), ("nearest center", "knn")):
        assert [int(row[column]) for row in rows] == answers.found[method].tolist()
    features = np.array([[row["feature 1"], row["feature 2"]] for row in rows], np.float32)
    assert (features == answers.features).all()
    own = np.linalg.norm(answers.features - loaded.centers[labels], axis=1)
    found = [float(row["distance to own center"]) for row in rows]
    np.testing.assert_allclose(found, own, rtol=1e-4)


def test_trouble_of_matplotlib_costs_no_epoch(cli, monkeypatch):
    def fail(*args):
        raise RuntimeError("no\nfont")

    monkeypatch.setattr(feature_maps, "feature_map", fail)
    done = cli(*FLAGS, "--epochs", 2)
    assert done.status == 0 and "Epoch [1]" in done.out
    warning = "WARNING: pictures of epoch 0 could not be drawn (RuntimeError: no font)"
    assert done.err.splitlines()[0] == warning
    assert len(Run("center-loss", "ckpt", "output").read_record().history) == 2


def test_a_disk_that_is_full_of_pictures_costs_no_epoch(cli, monkeypatch):
    draw = feature_maps.feature_map
    with monkeypatch.context() as patch, files_up_to(10**7):
        patch.setattr(feature_maps, "feature_map", lambda *args: draw(*args) * 1000)
        done = cli(*FLAGS, "--epochs", 2)
    assert_one_line(done, "epoch-0.png cannot be written", "center-loss is kept up to epoch 0")
    # The picture that is missing is drawn before the run goes on.
    assert cli(*FLAGS, "--epochs", 2, "--resume").status == 0
    assert len(frames()) == 2


def test_a_resumed_run_has_its_own_pictures(cli, tmp_path):
    """A new run that does not come to its first epoch leaves the old one as it is."""
    assert cli(*FLAGS, "--epochs", 3, "--ckpt_dir", "wanted", "--out_dir", "wanted").status == 0
    assert cli(*FLAGS, "--epochs", 2).status == 0
    done = cli(*FLAGS, "--epochs", 2, "--seed", 1, "--lr", 1e20)
    assert_one_line(done, "NaN or infinite")
    assert cli(*FLAGS, "--epochs", 3, "--resume").status == 0
    # A run that was killed before its last pictures gets them, too.
    output = tmp_path / "output"
    made = {path: path.read_bytes() for path in output.rglob("[!.]*") if path.is_file()}
    for path in made:
        if path.suffix != ".npz" and not path.name.endswith(("-0.png", "-1.png")):
            path.unlink()
    assert cli(*FLAGS, "--epochs", 3, "--resume").status == 0
    assert {path: path.read_bytes() for path in made} == made
    for name in ("train.gif", "test.gif", "epochs.html", "curves.png"):
        wanted = tmp_path / "wanted" / f"center-loss-{name}"
        assert made[output / wanted.name] == wanted.read_bytes()
    # A new run that has its first epoch takes the place of all.
    assert cli("--test", "--plotting", "--data_dir", "digits").status == 0
    assert (output / "center-loss-test.png").exists()
    assert cli(*FLAGS, "--epochs", 1, "--seed", 1).status == 0
    left = {path.name for path in output.rglob("[!.]*")}
    assert left == {
        "center-loss-history.csv", "center-loss-curves.png", "center-loss-test.gif",
        "center-loss-train.gif", "center-loss-epochs.html", "center-loss", "feature_maps.npz",
        "test-epoch-0.png", "train-epoch-0.png",
    }  # fmt: skip
