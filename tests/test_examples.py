"""The examples run as their docstrings say, and train."""

import re
import subprocess
import sys

import numpy as np
from helpers import ROOT


def test_center_loss_on_a_resnet():
    done = subprocess.run(
        [sys.executable, "-m", "examples.resnet"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    losses = np.array(
        re.findall(r"softmax loss (\S+), center loss (\S+)$", done.stdout, re.M), float
    )
    assert losses.shape == (4, 2) and np.isfinite(losses).all()
    assert (losses[-1] < losses[0]).all()
