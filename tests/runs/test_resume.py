"""Nothing is lost: kills, signals, full disks, other processes, and what --resume makes of them."""

import csv
import fcntl
import hashlib
import json
import random
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import QUICK, ROOT, assert_one_line, files_up_to, run, snapshot, start, write_digits

import data
from pictures import feature_maps
from runs.record import Origin
from runs.run import Run

pytestmark = pytest.mark.slow

FLAGS = (
    "--data_dir", "digits", "--model", "lenet", "--momentum", 0.9, "--lr_step", 2, "--lr", 0.05,
    "--batch_size", 60, "--plotting", "--lmbd", 0.1, "--augment", "--lr_schedule", "cosine",
)  # fmt: skip
EPOCHS = 4

# Runs the program and kills it, as SIGKILL does, at its n-th operation on files: before or after
# one is renamed, or when it is half written.
KILLER = """
import os, signal, sys
sys.path.insert(0, {root!r})
import main
from process import startup
startup.prepare_mxnet()
from process import files
from runs import run as runs
left = {operation}
def count():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
def half_written(path, content, write_new=runs.write_new):
    with open(runs.new_name(path), "wb") as file:
        file.write(content[: len(content) // 2])
    count()
    write_new(path, content)
def renamed(path, rename_new=runs.rename_new):
    count()
    rename_new(path)
    count()
for module in (files, runs):
    module.write_new, module.rename_new = half_written, renamed
sys.exit(main.main(sys.argv[1:]))
"""


def killed(argv, cwd, operation):
    """Run a command until an operation on files; returns whether it came that far."""
    script = KILLER.format(root=str(ROOT), operation=operation)
    command = [sys.executable, "-c", script, *map(str, argv)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def results(folder, prefix="center-loss"):
    """All that a run leaves, without the timings, where it lay, and the commit, which may be edited
    meanwhile."""
    files = {}
    for path in (*folder.glob(f"*/{prefix}-*"), *folder.glob(f"output/{prefix}/*")):
        if path.name.startswith("center-loss-second") and prefix == "center-loss":
            continue
        if path.suffix == ".csv":
            with path.open() as file:
                rows = [{**row, "seconds": None} for row in csv.DictReader(file)]
            files[path.name] = rows
        else:
            files[path.name] = path.read_bytes()
    record = json.loads((folder / "ckpt" / f"{prefix}.json").read_text())
    for name in ("checksum", "data_dir", "commit"):
        record.pop(name, None)
    for row in record["history"]:
        del row["seconds"]
    return {**files, "record": record}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run and its second training, never interrupted."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_digits(folder / "digits")
    actions = ("--train", "--center_loss", "--second_train")
    done = run(*actions, *FLAGS, "--epochs", EPOCHS, cwd=folder)
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def folder(uninterrupted, tmp_path):
    """A fresh folder with the same data."""
    shutil.copytree(uninterrupted / "digits", tmp_path / "digits")
    return tmp_path


def assert_same(folder, uninterrupted, prefix="center-loss"):
    left, wanted = results(folder, prefix), results(uninterrupted, prefix)
    assert sorted(left) == sorted(wanted)
    for name in wanted:
        assert left[name] == wanted[name], name
    assert not list(folder.glob("*/*.new"))


def test_a_run_killed_again_and_again_ends_as_if_it_were_not(folder, uninterrupted):
    command = ("--train", "--center_loss", "--second_train", *FLAGS, "--epochs", EPOCHS, "--resume")
    randomness = random.Random(0)
    kills = 0
    while killed(command, folder, randomness.randint(1, 45)):
        kills += 1
        assert kills < 40
    assert kills >= 5
    for prefix in ("center-loss", "center-loss-second"):
        assert_same(folder, uninterrupted, prefix)


def test_a_run_killed_at_random_moments_ends_as_if_it_were_not(folder, uninterrupted):
    command = ("--train", "--center_loss", *FLAGS, "--epochs", EPOCHS, "--resume")
    randomness = random.Random(1)
    for _ in range(4):
        process = start(*command, cwd=folder)
        process.stdout.readline()  # MXNet is imported and the data loaded: training begins
        try:
            process.wait(timeout=randomness.uniform(0, 2))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    assert run(*command, cwd=folder).status == 0
    assert_same(folder, uninterrupted)


@pytest.mark.parametrize("signum, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_says_what_is_kept_and_how_to_go_on(folder, uninterrupted, signum, status):
    process = start("--train", "--center_loss", *FLAGS, "--epochs", EPOCHS, cwd=folder)
    for line in process.stdout:
        if line.startswith("Epoch [0]"):
            process.send_signal(signum)
            break
    _, err = process.communicate()
    assert process.returncode == status, err
    assert len(err.strip().splitlines()) == 1
    assert "center-loss is kept up to epoch" in err
    command = shlex.split(err.split("To go on: python main.py ")[1])
    assert command[-1] == "--resume"
    assert run(*command, cwd=folder).status == 0
    assert_same(folder, uninterrupted)


def test_a_signal_before_the_first_epoch_is_finished(folder):
    process = start("--train", "--center_loss", "--data_dir", "digits", cwd=folder)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "no epoch is finished yet. To go on:" in err


# --- in this process ---------------------------------------------------------------------------


@pytest.fixture
def two_epochs(cli, uninterrupted):
    """A run of two epochs that was meant to have no more."""
    assert cli("--train", "--center_loss", *FLAGS, "--epochs", 2).status == 0
    return cli


def test_more_epochs_go_on_and_flags_need_not_be_repeated(two_epochs, tmp_path, uninterrupted):
    done = two_epochs("--train", "--resume", "--prefix", "center-loss", "--data_dir", "digits",
                      "--epochs", EPOCHS)  # fmt: skip
    assert done.status == 0 and "Epoch [2]" in done.out and "Epoch [1]" not in done.out
    assert_same(tmp_path, uninterrupted)


def test_resume_of_a_finished_run_changes_nothing(two_epochs, tmp_path):
    before = snapshot(tmp_path)
    for more in ([], ["--epochs", 2], ["--epochs", 1]):
        done = two_epochs("--train", "--center_loss", "--resume", "--data_dir", "digits", *more)
        assert done.status == 0 and "all 2 epochs are finished" in done.out
    assert snapshot(tmp_path) == before


def test_resume_of_a_run_that_never_started_starts_it(cli, tmp_path, uninterrupted):
    done = cli("--train", "--center_loss", *FLAGS, "--epochs", EPOCHS, "--resume")
    assert done.status == 0
    assert_same(tmp_path, uninterrupted)


OTHERWISE = (
    "--model lenetplus", "--formulation paper", "--batch_size 61", "--lr 0.1", "--lr_step 3",
    "--lr_factor 0.5", "--momentum 0", "--wd 0", "--lmbd 1", "--alpha 0.1", "--seed 1",
    "--eval_method knn", "--num_classes 11", "--feature_size 3", "--no_bias", "--prepare none",
)  # fmt: skip


def test_resume_refuses_flags_that_contradict_the_run(two_epochs, tmp_path):
    before = snapshot(tmp_path)
    for flag in map(str.split, OTHERWISE):
        done = two_epochs("--train", "--center_loss", "--resume", "--epochs", 3, *flag)
        assert_one_line(done, flag[0], "contradicts the run center-loss")
    assert snapshot(tmp_path) == before


def test_resume_refuses_other_data(two_epochs, tmp_path):
    write_digits(tmp_path / "others", train=128)
    flags = ("--train", "--center_loss", "--resume", "--epochs", 3, "--data_dir", "others")
    assert_one_line(two_epochs(*flags), "--data_dir contradicts the run center-loss")
    # The same data elsewhere are the same.
    shutil.move(tmp_path / "digits", tmp_path / "moved")
    assert two_epochs(*flags[:-1], "moved").status == 0


def test_resume_refuses_center_loss_for_a_softmax_run(cli):
    assert cli("--train", "--prefix", "x", *FLAGS, "--epochs", 1).status == 0
    flags = ("--train", "--prefix", "x", "--resume", "--epochs", 2, "--data_dir", "digits")
    assert_one_line(cli(*flags, "--center_loss"), "--center_loss", "contradicts the run x")
    assert cli(*flags).status == 0


def test_another_number_of_threads_is_worth_a_warning(two_epochs, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    flags = ("--train", "--center_loss", "--resume", "--data_dir", "digits", "--epochs", 3)
    done = two_epochs(*flags)
    assert (
        done.status == 0 and "center-loss was begun with threads 1, and goes on with 2" in done.err
    )


def test_two_processes_do_not_train_the_same_run(folder):
    command = ("--train", "--center_loss", "--data_dir", "digits", "--model", "lenet")
    process = start(*command, "--epochs", 1000, cwd=folder)
    try:
        process.stdout.readline()
        process.stdout.readline()
        second = run(*command, "--epochs", 1, cwd=folder)
        assert_one_line(second, "another process is training center-loss", "--prefix")
        other = run(*command, "--epochs", 1, "--prefix", "other", cwd=folder)
        assert other.status == 0
        assert run("--test", "--data_dir", "digits", cwd=folder).status == 0
    finally:
        process.kill()
        process.communicate()
    assert run(*command, "--epochs", 1, cwd=folder).status == 0  # the lock died with its process


@pytest.mark.parametrize("limit", [400, 20_000, 60_000])
def test_a_full_disk(two_epochs, tmp_path, uninterrupted, limit):
    """A file of the third epoch cannot be written: the history, a picture or the network."""
    before = snapshot(tmp_path / "ckpt")
    flags = ("--train", "--center_loss", "--resume", "--data_dir", "digits", "--epochs", EPOCHS)
    with files_up_to(limit):
        done = two_epochs(*flags)
    assert_one_line(done, "cannot be written (File too large); center-loss is kept up to epoch 1")
    assert snapshot(tmp_path / "ckpt") == before
    assert two_epochs(*flags).status == 0
    assert_same(tmp_path, uninterrupted)


@pytest.mark.parametrize("name", ["ckpt", "output"])
def test_a_folder_that_vanishes(two_epochs, tmp_path, monkeypatch, name):
    draw = feature_maps.feature_map

    def vanish(*args):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return draw(*args)

    monkeypatch.setattr(feature_maps, "feature_map", vanish)
    flags = ("--train", "--center_loss", "--resume", "--data_dir", "digits", "--epochs", EPOCHS)
    assert_one_line(two_epochs(*flags), f"{name}/center-loss", "cannot be written (No such file")


def test_output_into_a_pipe_that_closes_early(folder, uninterrupted):
    command = ("--train", "--center_loss", *FLAGS, "--epochs", EPOCHS)
    process = start(*command, cwd=folder)
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert err == "main.py: error: the output was closed; --resume goes on\n"
    assert run(*command, "--resume", cwd=folder).status == 0
    assert_same(folder, uninterrupted)


def test_a_picture_that_is_gone_does_not_keep_a_run_from_its_end(two_epochs, tmp_path):
    (tmp_path / "output" / "center-loss" / "test-epoch-0.png").unlink()
    flags = ("--train", "--center_loss", "--resume", "--data_dir", "digits", "--epochs", 3)
    assert two_epochs(*flags).status == 0


def test_a_new_run_replaces_an_old_one_only_when_it_has_something(two_epochs, tmp_path):
    before = snapshot(tmp_path / "ckpt")
    done = two_epochs("--train", "--center_loss", "--data_dir", "nowhere")
    assert done.status == 1 and snapshot(tmp_path / "ckpt") == before
    done = two_epochs("--train", "--center_loss", *FLAGS, "--epochs", 1, "--seed", 1)
    assert "a new run replaces the old one" in done.out
    record = Run("center-loss", "ckpt", "output").read_record()
    assert len(record.history) == 1 and record.recipe.seed == 1


def test_a_cosine_that_begins_again_is_said(cli):
    flags = ("--train", "--data_dir", "digits", "--lr_schedule", "cosine", *QUICK[:2])
    assert "cosine ends" not in cli(*flags, "--epochs", 1).out
    assert "cosine ends" not in cli(*flags, "--epochs", 1, "--resume").out
    done = cli(*flags, "--epochs", 2, "--resume")
    assert "softmax-loss: its cosine ends after 1 epochs, and begins again" in done.out


def test_what_a_record_says(two_epochs):
    record = Run("center-loss", "ckpt", "output").read_record()
    assert record.recipe.action == "train" and record.recipe.momentum == 0.9
    assert record.dataset.name == "digits" and record.dataset.train == 256
    assert record.best.accuracy == max(epoch.test_softmax for epoch in record.history)
    assert record.started_from is None
    assert set(record.surroundings.versions) == {"python", "mxnet", "numpy"}
    assert data.load_dataset("auto", "digits").fingerprint == record.dataset
    flags = ("--second_train", "--data_dir", "digits", "--epochs", 1)
    assert two_epochs(*flags).status == 0
    second = Run("center-loss-second", "ckpt", "output").read_record()
    digest = hashlib.sha256(Path("ckpt/center-loss-best.params").read_bytes()).hexdigest()
    origin = Origin("center-loss", record.best.epoch, digest)
    assert second.started_from == origin


def test_pictures_of_a_run_elsewhere_are_never_replaced(cli, tmp_path):
    """But those of a run that is there no more are, and nobody trains beside another."""
    flags = ("--train", "--data_dir", "digits", "--plotting", *QUICK)
    assert "replaces" not in cli(*flags).out
    before = snapshot(tmp_path / "output")
    done = cli(*flags, "--ckpt_dir", "other")
    assert_one_line(done, "output has the pictures of softmax-loss in", "choose another --prefix")
    with open("output/.softmax-loss.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_one_line(cli(*flags), "another process is training softmax-loss in output")
    assert snapshot(tmp_path / "output") == before
    shutil.rmtree(tmp_path / "ckpt")
    assert "a new run replaces the old one" in cli(*flags, "--ckpt_dir", "other").out
