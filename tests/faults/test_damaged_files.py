"""Damaged files, odd but legal input, and random command lines: never a traceback."""

import os
import shutil

import numpy as np
import pytest
from helpers import QUICK, assert_one_line, mnist5k, run, write_digits, write_idx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

IN_A_FOLDER = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}


@st.composite
def damages(draw):
    """A function that damages bytes: cuts them, flips bits, or puts others in their place."""
    kind = draw(st.sampled_from(["cut", "flip", "replace", "empty"]))
    where = draw(st.floats(0, 1, exclude_max=True))
    bit = draw(st.integers(0, 7))
    other = draw(st.binary(max_size=50))

    def damage(content):
        at = int(where * len(content))
        if kind == "cut":
            return content[:at]
        if kind == "flip":
            return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        return other if kind == "replace" else b""

    return damage


ACTIONS = {
    "test": ("--test", "--eval_method", "knn"),
    "second": ("--second_train", "--epochs", 1),
    "resume": ("--train", "--center_loss", "--resume", "--epochs", 2),
}
READS = {
    "best.params": ("test", "second"),
    "feature_matrix.params": ("test", "second"),
    "resume.params": ("resume",),
}


@settings(max_examples=60, **IN_A_FOLDER)
@given(name=st.sampled_from(list(READS)), damage=damages(), action=st.sampled_from(list(ACTIONS)))
def test_damaged_parameters_are_noticed(trained, tmp_path, name, damage, action):
    path = tmp_path / "ckpt" / f"center-loss-{name}"
    whole = snapshot(tmp_path / "ckpt")
    path.write_bytes(damage(path.read_bytes()))
    damaged = snapshot(tmp_path / "ckpt")
    done = trained(*ACTIONS[action], "--data_dir", "digits")
    if action in READS[name] and damaged != whole:
        assert_one_line(done, path.name, "is damaged")
        assert snapshot(tmp_path / "ckpt").items() >= damaged.items()
    else:
        assert done.status == 0, done.err
    restore(tmp_path / "ckpt", whole)


@settings(max_examples=60, **IN_A_FOLDER)
@given(damage=damages(), action=st.sampled_from(list(ACTIONS)))
def test_damaged_records_are_noticed(trained, tmp_path, damage, action):
    path = tmp_path / "ckpt" / "center-loss.json"
    whole = snapshot(tmp_path / "ckpt")
    path.write_bytes(damage(path.read_bytes()))
    done = trained(*ACTIONS[action], "--data_dir", "digits")
    if done.status:  # a flip may leave the meaning as it was, as of a blank
        assert_one_line(done, "center-loss.json is damaged")
    restore(tmp_path / "ckpt", whole)


@pytest.mark.parametrize("content", ["[" * 100_000, "null", "[]", '{"checksum": 1}', "1e999"])
def test_records_that_are_json_but_no_records(trained, tmp_path, content):
    (tmp_path / "ckpt" / "center-loss.json").write_text(content)
    assert_one_line(trained("--test"), "center-loss.json is damaged")


@settings(max_examples=80, **IN_A_FOLDER)
@given(name=st.sampled_from(["best.params", "feature_matrix.params"]), damage=damages())
def test_damaged_checkpoints_of_2019_are_answered(trained, tmp_path, name, damage):
    """Without a record a flipped number cannot be told from another, but all else can."""
    whole = snapshot(tmp_path / "ckpt")
    (tmp_path / "ckpt" / "center-loss.json").unlink()
    path = tmp_path / "ckpt" / f"center-loss-{name}"
    path.write_bytes(damage(path.read_bytes()))
    done = trained(*ACTIONS["test"], "--data_dir", "digits", "--model", "lenet")
    if done.status or path.stat().st_size != len(whole[path.name]):
        assert_one_line(done)
    restore(tmp_path / "ckpt", whole)


@settings(max_examples=60, **IN_A_FOLDER)
@given(
    name=st.sampled_from(
        ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"]
        + ["train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    ),
    damage=damages(),
)
def test_damaged_images_and_labels_are_answered(trained, tmp_path, name, damage):
    path = tmp_path / "digits" / name
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    done = trained("--test", "--data_dir", "digits")
    if done.status:
        assert_one_line(done)
    path.write_bytes(whole)


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.glob("center-loss[-.]*[!k]")}


def restore(folder, contents):
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)


# --- odd but legal -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch_size", 1000],
        ["--feature_size", 64, "--lr", 0.01],
        ["--num_classes", 12],
        ["--num_classes", 300, "--formulation", "paper", "--lmbd", 0.01],
        ["--prefix", "两 个 空格 $x$"],
        ["--prefix", "-".join(["long"] * 30)],
        ["--lmbd", 0, "--alpha", 0, "--wd", 0],
        ["--ckpt_dir", "same", "--out_dir", "same"],
    ],
)
def test_odd_but_legal_flags(cli, flags):
    quick = ("--data_dir", "digits", *QUICK, "--plotting")
    done = cli("--train", "--center_loss", "--second_train", "--test", *quick, *flags)
    assert done.status == 0 and done.err == "", done.err
    assert "Test_acc: " in done.out


def test_two_classes(cli, tmp_path):
    (tmp_path / "two").mkdir()
    for name, split in (("train", mnist5k().train), ("t10k", mnist5k().test)):
        rows = np.flatnonzero(split.labels < 2)[::8]
        write_idx(tmp_path / "two" / f"{name}-images-idx3-ubyte.gz", split.images[rows, 0])
        write_idx(tmp_path / "two" / f"{name}-labels-idx1-ubyte", split.labels[rows])
    flags = ("--data_dir", "two", "--num_classes", 2, "--plotting", *QUICK)
    done = cli("--train", "--center_loss", "--test", "--eval_method", "knn", *flags)
    assert done.status == 0, done.err


def test_a_crowded_output_folder_and_read_only_data(cli, tmp_path):
    (tmp_path / "output").mkdir()
    for i in range(10_000):
        (tmp_path / "output" / f"center-loss-other-{i}").touch()
    for path in (*(tmp_path / "digits").iterdir(), tmp_path / "digits"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    flags = ("--data_dir", "digits", "--plotting", *QUICK)
    done = cli("--train", "--center_loss", *flags)
    assert done.status == 0, done.err
    assert len(list((tmp_path / "output").iterdir())) == 10_000 + 7


def test_no_home(tmp_path):
    write_digits(tmp_path / "digits")
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    flags = ("--train", "--data_dir", "digits", "--plotting", *QUICK)
    done = run(*flags, cwd=tmp_path, env={**environment, "MXNET_HOME": "/proc/none"})
    assert done.status == 0, done.err


# --- random command lines ----------------------------------------------------------------------

FLAGS = {
    "--model": ["lenet", "lenetplus", "alexnet"],
    "--formulation": ["hist", "paper", ""],
    "--eval_method": ["softmax", "knn", "k"],
    "--num_classes": ["10", "11", "2", "1", "x"],
    "--feature_size": ["2", "1", "3", "0"],
    "--batch_size": ["128", "256", "1000", "100", "0"],
    "--lr": ["0.1", "1e30", "0", "nan"],
    "--lr_step": ["1", "10", "-1"],
    "--lr_factor": ["0.1", "1", "inf"],
    "--momentum": ["0", "0.9", "1"],
    "--wd": ["0", "1e-4", "1e30", "-1"],
    "--lmbd": ["1", "0", "1e20", "-1"],
    "--alpha": ["0.5", "0", "1e20"],
    "--seed": ["0", "5", "-5"],
    "--prefix": ["a", "center-loss", "ä 中", "x/y", ""],
    "--data_dir": ["digits", "nowhere", "digits/t10k-images-idx3-ubyte", ""],
    "--ckpt_dir": ["ckpt", "digits/t10k-images-idx3-ubyte", "new/folder"],
    "--out_dir": ["output", "/proc/none", "new/folder"],
    "--use_gpu": ["True", "False", "yes"],
    "--gpus": ["0", "0,1", ","],
    "--plotting": [None],
    "--no_bias": [None],
    "--resume": [None],
    "--center_loss": [None],
    "--test": [None],
    "--second_train": [None],
    "--nonsense": [None],
}


@settings(max_examples=80, **IN_A_FOLDER)
@given(data=st.data())
def test_random_command_lines_never_end_in_a_traceback(trained, data):
    """Mostly valid flags: a value is the first of its list three times out of four."""
    names = data.draw(st.lists(st.sampled_from(list(FLAGS)[:-1]), max_size=6, unique=True))
    names += data.draw(st.sampled_from([[]] * 9 + [["--nonsense"]]))
    command = ["--data_dir", "digits", *QUICK]
    command += data.draw(st.sampled_from([["--train"], ["--train", "--center_loss"], ["--test"]]))
    for name in names:
        values = FLAGS[name]
        value = data.draw(st.sampled_from([values[0]] * 3 * len(values) + values))
        command += [name] if value is None else [f"{name}={value}"]
    done = trained(*command)
    errors = [line for line in done.err.splitlines() if "WARNING" not in line]
    assert done.status in (0, 1, 2), command
    assert len(errors) == (done.status > 0), (command, done.err)
    assert all(line.startswith("main.py: error: ") for line in errors), (command, done.err)
