"""Whatever was there before: leftovers, other runs of the name, records, folders."""

import json
from pathlib import Path

import pytest
from helpers import QUICK, assert_one_line, files_up_to, snapshot

import runs.trained
from process import errors
from runs import record as records

pytestmark = pytest.mark.slow

ONE = ("--data_dir", "digits", *QUICK)


# --- what a run is -----------------------------------------------------------------------------


def test_a_file_that_was_never_committed_is_no_run(trained, tmp_path):
    """Nor is it left there by a commit that fails."""
    ckpt = tmp_path / "ckpt"
    for name in ("best", "feature_matrix", "resume"):
        whole = (ckpt / f"center-loss-{name}.params").read_bytes()
        (ckpt / f"mine-{name}.params.new").write_bytes(whole)
    for action in (["--test"], ["--test", "--eval_method", "knn"], ["--second_train"]):
        done = trained(*action, "--prefix", "mine", "--data_dir", "digits", "--model", "lenet")
        assert_one_line(done, "mine-best.params is missing")
    with files_up_to(150_000):  # resume.params fits, best does not
        done = trained("--train", "--center_loss", "--prefix", "mine", *ONE, "--feature_size", 30)
    assert_one_line(done, "cannot be written (File too large); no epoch is finished yet")
    assert {path.name for path in ckpt.glob("mine[.-][!s]*")} == {"mine.lock"}


def test_pictures_of_a_test_are_all_new_or_all_old(trained):
    """On a disk that fills while the largest of several files is written."""
    command = ("--test", "--plotting", "--data_dir", "digits")
    assert trained(*command).status == 0
    largest = max(path.stat().st_size for path in Path("output").glob("center-loss-test.*"))
    assert trained("--train", "--center_loss", *ONE, "--seed", 1, "--out_dir", "other").status == 0
    before = snapshot("output")
    with files_up_to(int(0.99 * largest)):
        done = trained(*command)
    assert_one_line(done, "cannot be written (File too large)")
    assert snapshot("output") == before


def test_a_plain_run_is_no_second_training(trained):
    assert trained("--train", "--center_loss", "--prefix", "b-second", *ONE).status == 0
    assert trained("--train", "--center_loss", "--prefix", "b", *ONE).status == 0
    flags = ("--prefix", "b", "--resume", "--data_dir", "digits", "--epochs", 2)
    done = trained("--second_train", *flags)
    assert_one_line(done, "b-second is a run of --train", "choose another --prefix")
    assert trained("--second_train", *flags[:2], *ONE[:2], "--epochs", 1).status == 0
    done = trained("--train", "--center_loss", "--prefix", "b-second", *flags[2:])
    assert_one_line(done, "b-second is a run of --second_train")


def test_the_second_training_of_another_first_one_is_replaced(cli, tmp_path):
    both = ("--train", "--center_loss", "--second_train", *ONE)
    assert cli(*both).status == 0
    assert cli("--train", "--center_loss", *ONE, "--seed", 7).status == 0
    done = cli(*both, "--seed", 7, "--resume")
    assert done.status == 0, done.err
    assert "center-loss: all 1 epochs are finished" in done.out
    assert "center-loss-second was started from another center-loss" in done.out
    resumed = snapshot("ckpt")
    elsewhere = ("--ckpt_dir", "wanted", "--out_dir", "wanted")
    assert cli(*both, "--seed", 7, *elsewhere).status == 0
    name = "center-loss-second-resume.params"
    assert resumed[Path("ckpt", name)] == Path("wanted", name).read_bytes()
    second = ("--second_train", "--data_dir", "digits", "--resume", "--epochs")
    assert "all 1 epochs are finished" in cli(*second, 1).out
    # Without the first training in the command nothing is thrown away.
    assert cli("--train", "--center_loss", *ONE).status == 0
    assert_one_line(cli(*second, 2), "center-loss-second was started from another center-loss")
    for path in tmp_path.glob("ckpt/center-loss[.-][!s]*"):
        path.unlink()
    assert "Epoch [1]" in cli(*second, 2).out  # although a shipped run has the name of the first


def test_a_second_training_needs_centers_before_the_first_one_begins(cli, tmp_path):
    done = cli("--train", "--second_train", "--resume", *ONE)
    assert_one_line(done, "--second_train needs centers: train with --center_loss")
    assert cli("--train", *ONE).status == 0
    done = cli("--train", "--second_train", "--resume", *ONE, "--epochs", 2)
    assert_one_line(done, "--second_train needs centers: train with --center_loss")


def test_a_record_of_another_layout_is_answered(trained, tmp_path):
    """Which records are: tests/runs/test_record.py."""
    path = tmp_path / "ckpt" / "center-loss.json"
    record = json.loads(path.read_text())
    del record["checksum"], record["dataset"]["sha256"]
    path.write_bytes(records.dump({**record, "checksum": records.sha256(records.dump(record))}))
    for action in ("--test", "--train --center_loss --resume --epochs 2"):
        done = trained(*action.split())
        assert_one_line(done, "center-loss.json was written by another version")
    assert trained("--train", "--center_loss", *ONE).status == 0  # and can be replaced


def test_what_was_trained_in_the_same_command_is_resumed(cli, monkeypatch):
    """Ctrl-C in the test that follows: who goes on as told does not train again."""

    def interrupted(*args):
        errors.received.append(2)
        errors.check_signals()

    with monkeypatch.context() as patch:
        patch.setattr(runs.trained, "classify", interrupted)
        done = cli("--train", "--center_loss", "--test", *ONE)
    assert done.status == 130
    assert "Interrupted: what was trained is kept. To go on: " in done.err
    assert done.err.strip().endswith("--resume")
    assert cli("--test", *ONE[:2]).status == 0


@pytest.mark.parametrize("flag", ["--data_dir", "--ckpt_dir", "--out_dir"])
def test_folders_that_cannot_be_entered(cli, tmp_path, flag):
    (tmp_path / "loop").symlink_to("loop")
    assert_one_line(cli("--train", "--center_loss", *ONE, flag, "loop"), "loop")
    if flag != "--out_dir":
        assert_one_line(cli("--test", "--prefix", "mine", *ONE[:2], flag, "loop"), "mine")
