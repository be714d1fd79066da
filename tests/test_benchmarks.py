"""The benchmarks run, in sizes that measure nothing."""

import subprocess
import sys

import pytest
from helpers import ROOT

from benchmarks.__main__ import PARTS


@pytest.mark.slow
@pytest.mark.parametrize("part", [*PARTS, "sped"])
def test_smoke(part):
    command = [sys.executable, "-m", "benchmarks", "--smoke", part]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if part == "sped":
        assert done.returncode == 2 and "there is no part sped" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n## ") == 1 and "| --- |" in done.stdout
    assert "nan" not in done.stdout
