"""What the pages measure beside the program's own numbers."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import QUICK, ROOT, run
from PIL import Image

import data
from experiments import lambdas
from experiments.curvature import largest_curvature, measure
from experiments.validation import cut


def test_the_largest_curvature_of_a_quadratic_is_its_largest_eigenvalue():
    random = np.random.RandomState(1)
    basis, _ = np.linalg.qr(random.normal(size=(30, 30)))
    hessian = basis @ np.diag(np.linspace(-3, 17, 30)) @ basis.T
    found = largest_curvature(lambda x: hessian @ x + 1, random.normal(size=30), iterations=200)
    assert found == pytest.approx(17, rel=1e-3)


def test_the_curvature_of_a_run(trained):
    line = measure(["--data_dir", "digits"]).splitlines()[-1]
    prefix, epoch, lr, edge, curvature, *_ = line.strip("| ").split(" | ")
    assert (prefix, epoch, lr, edge) == ("center-loss", "0", "0.1", "20")
    assert 0 < float(curvature) < 1000


def test_a_validation_set_is_the_end_of_the_training_set(cli, tmp_path):
    cut(tmp_path / "validation", "digits")
    digits = data.read_folder(tmp_path / "digits", "")
    validation = data.read_folder(tmp_path / "validation", "")
    assert len(validation.train.labels) == 214 and len(validation.test.labels) == 42
    for part in range(2):
        whole = np.concatenate([validation.train[part], validation.test[part]])
        np.testing.assert_array_equal(whole, digits.train[part])


def experiment(module, *flags, folder):
    """Run an experiment as a user does, who stands in the root, with all files in a folder."""
    folders = ("--ckpt_dir", folder, "--out_dir", folder, "--data_dir", folder / "digits")
    command = [sys.executable, "-m", module, *map(str, flags), *map(str, folders)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def last_accuracies(folder, prefix):
    table = np.genfromtxt(folder / f"{prefix}-history.csv", delimiter=",", names=True)
    return np.atleast_1d(table)[["test_softmax", "test_knn"]][-1].tolist()


def test_the_table_of_seeds_is_of_what_main_trains(trained, tmp_path):
    flags = (2, "--train", "--center_loss", "--second_train", *QUICK)
    done = experiment("experiments.seeds", *flags, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = run("--train", "--center_loss", "--data_dir", "digits", *QUICK, cwd=tmp_path)
    assert alone.status == 0
    weights = [tmp_path / folder / "center-loss-best.params" for folder in (".", "ckpt")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    for suffix, line in zip(("", "-second"), done.stdout.splitlines()[-2:]):
        prefixes = ("center-loss" + suffix, "center-loss-seed-1" + suffix)
        values = np.array([last_accuracies(tmp_path, prefix) for prefix in prefixes])
        assert np.ptp(values) > 0
        spreads = zip(values.mean(axis=0), values.std(axis=0, ddof=1))
        cells = ["center-loss" + suffix, "2", "1", *(f"{m:.4f} ± {d:.4f}" for m, d in spreads)]
        assert line == f"| {' | '.join(cells)} |"
    again = experiment("experiments.seeds", *flags, folder=tmp_path)
    assert again.stdout.count("all 1 epochs are finished") == 4
    assert again.stdout.splitlines()[-4:] == done.stdout.splitlines()[-4:]


@pytest.mark.parametrize(
    "module, flags, word",
    [
        ("experiments.seeds", [2, "--train", "--seed", 3], "leave --seed away"),
        ("experiments.seeds", [2, "--test"], "--train or --second_train"),
        ("experiments.seeds", [2, "--train", "--lr", 1e30], "became NaN"),
        ("experiments.lambdas", ["--lmbd", 1], "leave --lmbd away"),
    ],
)
def test_what_no_experiment_can_be_made_of_is_one_line(cli, tmp_path, module, flags, word):
    done = experiment(module, *flags, folder=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and word in done.stderr


def test_the_picture_of_the_weights(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(lambdas, "run_main", lambda *flags: cli(*flags))
    table = lambdas.draw(["--data_dir", "digits", "--epochs", "1", "--prefix", "a"]).splitlines()
    for lmbd, line in zip(("0.001", "0.01", "0.1", "1"), table[2:]):
        values = last_accuracies(tmp_path / "output", f"a-lmbd-{lmbd}")
        assert line.startswith(f"| {lmbd} | {values[0]:.4f} | {values[1]:.4f} | ")
    assert Image.open(tmp_path / "output" / "a-lmbd.png").size == (1280, 1280)


@pytest.mark.parametrize(
    "module",
    [
        "experiments.curvature",
        "experiments.lambdas",
        "experiments.seeds",
        "experiments.validation",
        "benchmarks",
    ],
)
def test_help_and_what_is_missing_are_said(module, tmp_path):
    command = [sys.executable, "-m", module]
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and f"python -m {module}" in done.stdout
    arguments = {"benchmarks": [], "experiments.seeds": ["1"]}.get(module, [str(tmp_path)])
    # -S: no package but Python's own can be found.
    done = subprocess.run(
        [sys.executable, "-S", "-m", module, *arguments],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "run 'pip install -r requirements.txt' first" in done.stderr
