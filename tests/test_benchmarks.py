"""The benchmarks run, in sizes that measure nothing; curvatures are those of known losses."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from benchmarks.curvature import largest_curvature, measure


@pytest.mark.parametrize(
    "part", ["training", "epoch", "centers", "knn", "startup", "growth", "cluster"]
)
def test_smoke(part):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", part],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n## ") == 1 and "| --- |" in done.stdout
    assert "nan" not in done.stdout


def test_an_unknown_part_is_named():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "sped"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "sped" in done.stderr


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
