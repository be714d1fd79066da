"""Damaged files, odd but legal input, and random command lines: never a traceback.

Readers have tests of their own, on any damage: tests/runs, tests/datasets.
"""

import subprocess
import sys

import pytest
from helpers import QUICK, ROOT, assert_one_line

pytestmark = pytest.mark.slow

ACTIONS = {
    "test": ("--test", "--eval_method", "knn"),
    "second": ("--second_train", "--epochs", 1),
    "resume": ("--train", "--center_loss", "--resume", "--epochs", 2),
}


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.glob("center-loss[-.]*[!k]")}


@pytest.mark.parametrize(
    "name, reads",
    [("-best.params", ["test", "second"]), ("-feature_matrix.params", ["test", "second"]),
     ("-resume.params", ["resume"]), (".json", list(ACTIONS))],
)  # fmt: skip
def test_damaged_files_of_a_run_are_named_and_left(trained, tmp_path, name, reads):
    path = tmp_path / "ckpt" / f"center-loss{name}"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    damaged = snapshot(tmp_path / "ckpt")
    for action in reads:
        done = trained(*ACTIONS[action], "--data_dir", "digits")
        assert_one_line(done, f"{path.name} is damaged")
        assert snapshot(tmp_path / "ckpt") == damaged
    # What a damaged file is not needed for still works.
    if "test" not in reads:
        assert trained(*ACTIONS["test"], "--data_dir", "digits").status == 0


@pytest.mark.parametrize("name", ["best", "feature_matrix"])
def test_damaged_checkpoints_of_2019_are_answered(trained, tmp_path, name):
    """Without a record a flipped number cannot be told from another, but a file that is cut can."""
    (tmp_path / "ckpt" / "center-loss.json").unlink()
    path = tmp_path / "ckpt" / f"center-loss-{name}.params"
    path.write_bytes(path.read_bytes()[:-20])
    done = trained(*ACTIONS["test"], "--data_dir", "digits", "--model", "lenet")
    assert_one_line(done, f"{path.name} is damaged: it is truncated")


# --- odd but legal -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch_size", 1000, "--feature_size", 64, "--lr", 0.01],
        ["--num_classes", 300, "--formulation", "paper", "--lmbd", 0.01],
        ["--prefix", "两 个 空格 $x$", "--lmbd", 0, "--alpha", 0, "--wd", 0],
        ["--prefix", "-".join(["long"] * 30), "--ckpt_dir", "same", "--out_dir", "same"],
    ],
)
def test_odd_but_legal_flags(cli, flags):
    quick = ("--data_dir", "digits", *QUICK, "--plotting")
    done = cli("--train", "--center_loss", "--second_train", "--test", *quick, *flags)
    assert done.status == 0 and done.err == "", done.err
    assert "Test_acc: " in done.out


# --- random command lines ----------------------------------------------------------------------


def test_the_fuzzer_finds_nothing_in_a_few_worlds():
    """`python -m tests.fuzz 600` tries as many as ten minutes allow."""
    command = [sys.executable, "-m", "tests.fuzz", "0", *map(str, range(5))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "0 findings" in done.stdout
