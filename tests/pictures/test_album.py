"""Pictures belong to their run, look the same everywhere, and never cost an epoch."""

import re

import imageio.v3 as iio
import matplotlib.axes
import numpy as np
import pytest
from helpers import assert_one_line, files_up_to, run, write_digits

from pictures import feature_maps
from runs.run import Run

pytestmark = pytest.mark.slow

FLAGS = ("--train", "--center_loss", "--data_dir", "digits", "--model", "lenet", "--plotting")
PLACES = ("output", "wanted")


def frames(split="test"):
    return iio.imread(f"output/center-loss-{split}.gif", index=None)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[:2000]),
    "a script for Ghostscript": lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"),
    "another size": lambda path: iio.imwrite(path, np.zeros((320, 320, 3), np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_frame_that_cannot_be_used_is_left_out(cli, tmp_path, damage):
    assert cli(*FLAGS, "--epochs", 1).status == 0
    DAMAGES[damage](tmp_path / "output" / "center-loss-test-epoch-0.png")
    done = cli(*FLAGS, "--epochs", 3, "--resume")
    assert done.status == 0
    assert "center-loss-test-epoch-0.png is left out of the GIF: it" in done.err
    assert len(done.err.splitlines()) == 1
    assert len(frames()) == 2 and len(frames(split="train")) == 3
    page = (tmp_path / "output" / "center-loss-epochs.html").read_text(encoding="utf-8")
    for split in ("training", "test"):  # the page has what both sets have
        shown = re.findall(rf"digits, {split} set, epoch (\d):", page)
        assert set(shown) == {"1", "2"}


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


def test_frames_of_two_runs_are_never_mixed(cli, tmp_path, monkeypatch):
    """A new run that does not come to its first epoch leaves the old one as it is."""
    assert cli(*FLAGS, "--epochs", 3, "--ckpt_dir", "wanted", "--out_dir", "wanted").status == 0
    assert cli(*FLAGS, "--epochs", 2).status == 0
    done = cli(*FLAGS, "--epochs", 2, "--seed", 1, "--lr", 1e20)
    assert_one_line(done, "NaN or infinite")
    assert cli(*FLAGS, "--epochs", 3, "--resume").status == 0
    for split in ("train", "test"):
        name = f"center-loss-{split}.gif"
        assert (tmp_path / "output" / name).read_bytes() == (
            tmp_path / "wanted" / name
        ).read_bytes()
    # One that does takes the place of all: also where it was killed before it had removed them.
    stale = (tmp_path / "output" / "center-loss-test-epoch-1.png").read_bytes()
    assert cli("--test", "--plotting", "--data_dir", "digits").status == 0
    assert (tmp_path / "output" / "center-loss-test.png").exists()
    assert cli(*FLAGS, "--epochs", 1, "--seed", 1).status == 0
    left = {path.name for path in (tmp_path / "output").glob("center-loss-*")}
    assert left == {
        "center-loss-history.csv", "center-loss-curves.png", "center-loss-test.gif",
        "center-loss-train.gif", "center-loss-test-epoch-0.png", "center-loss-train-epoch-0.png",
        "center-loss-epochs.html",
    }  # fmt: skip
    (tmp_path / "output" / "center-loss-test-epoch-1.png").write_bytes(stale)
    (tmp_path / "output" / "center-loss-test-epoch-7.png").write_bytes(stale)
    assert cli(*FLAGS, "--epochs", 3, "--resume").status == 0
    assert len(frames()) == 3
    assert not (tmp_path / "output" / "center-loss-test-epoch-7.png").exists()


def test_a_run_that_was_killed_before_its_pictures_gets_them(cli, tmp_path):
    assert cli(*FLAGS, "--epochs", 2).status == 0
    wanted = {path.name: path.read_bytes() for path in (tmp_path / "output").iterdir()}
    for name in wanted:
        if "epoch-0" not in name:
            (tmp_path / "output" / name).unlink()
    assert cli(*FLAGS, "--epochs", 2, "--resume").status == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "output").iterdir()} == wanted


def test_the_style_is_the_programs_own(tmp_path):
    write_digits(tmp_path / "digits")
    pictures = []
    for rc in ("", "savefig.dpi: 50\naxes.facecolor: black\nfont.size: 30\nsavefig.format: pdf\n"):
        (tmp_path / "matplotlibrc").write_text(rc)
        done = run(*FLAGS, "--epochs", 1, cwd=tmp_path)
        assert done.status == 0 and done.err == "", done.err
        pictures.append([path.read_bytes() for path in sorted(tmp_path.glob("output/*.[pg]*"))])
    assert len(pictures[0]) == 5 and pictures[0] == pictures[1]


def test_drawing_costs_per_class_that_is_there(monkeypatch):
    calls, plot = [], matplotlib.axes.Axes.plot
    monkeypatch.setattr(
        matplotlib.axes.Axes, "plot", lambda *args, **kw: (calls.append(1), plot(*args, **kw))[1]
    )
    features = np.random.RandomState(0).normal(size=(2000, 2)).astype(np.float32)
    for labels, wanted in ((np.arange(2000) % 3, 3), (np.arange(2000), 0)):
        calls.clear()
        assert feature_maps.feature_map(features, labels, 50_000, "many")
        assert len(calls) == wanted
