"""Shipped runs: used where there is no run of the user's own, said so, and never changed."""

import json
import shutil
import subprocess

import pytest
from helpers import QUICK, ROOT, assert_one_line, snapshot

from runs.record import FORMAT, Record
from runs.run import SHIPPED

LINE = "center-loss: there is no run of this name in ckpt, so the shipped one is used"


@pytest.mark.parametrize(
    "command",
    [
        ["--test", "--eval_method", "knn"],
        ["--second_train", "--epochs", 1, "--plotting"],
        ["--compare", "center-loss"],
    ],
)
def test_a_shipped_run_takes_the_place_of_one_that_is_missing(cli, tmp_path, command):
    before = snapshot(SHIPPED)
    done = cli(*command, "--data_dir", "digits")
    assert done.status == 0 and done.out.splitlines()[0] == LINE
    assert snapshot(SHIPPED) == before
    written = {path.name for path in tmp_path.glob("ckpt/*.params")}
    assert all(name.startswith("center-loss-second-") for name in written)


def test_a_run_of_the_user_goes_before_a_shipped_one(trained):
    done = trained("--test", "--data_dir", "digits")
    assert done.status == 0 and "shipped" not in done.out


def test_a_shipped_run_cannot_be_resumed(cli, tmp_path):
    before = snapshot(SHIPPED)
    flags = ("--train", "--center_loss", "--resume", "--data_dir", "digits", *QUICK)
    done = cli(*flags)
    assert done.status == 0
    assert "center-loss: shipped runs cannot be resumed" in done.out and "Epoch [0]" in done.out
    assert "shipped" not in cli(*flags[:-1], 2).out
    # Nor where they lie.
    shutil.copytree(SHIPPED, tmp_path / "copy")
    resume = ("--train", "--center_loss", "--resume", "--epochs", 31, "--ckpt_dir", "copy")
    resume += ("--out_dir", "others")
    assert_one_line(cli(*resume, "--data_dir", "digits"), "shipped runs cannot")
    assert snapshot(SHIPPED) == before


def test_shipped_records_are_of_this_version_and_hold_no_path():
    for path in SHIPPED.glob("*.json"):
        if path.name != "best.onnx.json":
            record = Record.from_bytes(path.read_bytes())
            assert record.data_dir is None
            assert json.loads(path.read_bytes())["format"] == FORMAT


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git here")
def test_what_the_program_writes_is_ignored_and_what_is_shipped_is_not(tmp_path):
    for name in (".gitignore", "output/.gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    written = ["ckpt/a.json", "ckpt/a.lock", "output/a.png", "output/others/a.jpg"]
    git = ("git", "-C", tmp_path)
    subprocess.run([*git, "init", "-q"], check=True)
    command = [*git, "check-ignore", *written, "shipped/a", ".gitignore", "output/.gitignore"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == written
