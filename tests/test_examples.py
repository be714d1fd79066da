"""The examples run as their docstrings say, and learn."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, mnist5k
from PIL import Image

pytestmark = pytest.mark.slow


def run_example(name, *argv, **env):
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}", *map(str, argv)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_the_whole_idea_on_one_screen(tmp_path):
    (tmp_path / "no-folder").touch()  # so that the 5,000 images are taken
    done = run_example("mnist", MXNET_HOME=str(tmp_path / "no-folder"))
    rows = re.findall(r"class (\S+), nearest center (\S+)$", done.stdout, re.M)
    accuracies = np.array(rows, float)
    assert len(accuracies) == 5 and accuracies[-1].min() > 0.9


def test_center_loss_on_a_resnet(tmp_path):
    """Three digits, of which a few images tell most."""
    images, labels = mnist5k().train
    for digit in range(3):
        folder = tmp_path / "digits" / f"digit {digit}"
        folder.mkdir(parents=True)
        for i in np.flatnonzero(labels == digit)[:40]:
            Image.fromarray(images[i, 0]).save(folder / f"{i}.png")
    for folder, words in (([], "usage: "), (["nowhere"], "resnet: error: nowhere is not a folder")):
        command = [sys.executable, "-m", "examples.resnet", *folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode and done.stderr.startswith(words), done.stderr
    done = run_example("resnet", tmp_path / "digits")
    losses = re.findall(r"softmax loss (\S+), center loss (\S+)$", done.stdout, re.M)
    losses = np.array(losses, float)
    assert losses.shape == (8, 2) and (losses[-1] < losses[0]).all()
    (accuracies,) = re.findall(
        r"^test: class prediction (\S+), nearest center (\S+)$", done.stdout, re.M
    )
    assert min(map(float, accuracies)) > 0.6
