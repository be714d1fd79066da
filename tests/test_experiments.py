"""What the pages measure beside the program's own numbers."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

import data
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


@pytest.mark.parametrize(
    "module", ["experiments.curvature", "experiments.validation", "benchmarks"]
)
def test_help_and_what_is_missing_are_said(module, tmp_path):
    command = [sys.executable, "-m", module]
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and f"python -m {module}" in done.stdout
    arguments = [] if module == "benchmarks" else [str(tmp_path)]
    # -S: no package but Python's own can be found.
    done = subprocess.run(
        [sys.executable, "-S", "-m", module, *arguments],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "run 'pip install -r requirements.txt' first" in done.stderr
