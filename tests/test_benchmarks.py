"""The benchmarks run, in sizes that measure nothing."""

import subprocess
import sys

import pytest
from helpers import ROOT

from benchmarks.__main__ import PARTS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", PARTS)
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
