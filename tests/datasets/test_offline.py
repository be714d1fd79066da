"""Honest without a network: what is used, and that nothing is tested on what it was trained on."""

import os

import pytest
from helpers import QUICK, assert_one_line, run, write_digits

from datasets import mnist
from runs.run import SHIPPED, Run

pytestmark = pytest.mark.slow


@pytest.fixture
def offline(cli, tmp_path, monkeypatch):
    """The command line where MNIST neither is nor can be had."""
    nowhere = mnist.MNIST._replace(mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setattr(mnist, "MNIST", nowhere)
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    return cli


@pytest.mark.parametrize(
    "command",
    [
        ["--test", "--eval_method", "knn"],
        ["--test", "--prefix", "softmax-loss"],
        ["--compare", "softmax-loss", "center-loss"],
        ["--second_train", "--epochs", 1],
    ],
)
def test_a_run_on_mnist_is_never_tested_on_images_it_was_trained_on(offline, tmp_path, command):
    done = offline(*command)
    words = ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "home/datasets/mnist")
    error = done.err.splitlines()[-1]
    assert done.status == 1 and "MNIST could not be downloaded" in error, done
    assert all(word in error for word in words) and "--data_dir" in error
    done = offline(*command, "--dataset", "mnist5k")
    assert_one_line(done, "was trained on MNIST", "all images of mnist5k", *words)
    assert "Test_acc" not in done.out and not list(tmp_path.glob("output/[!.]*"))


def test_only_a_new_run_falls_back_to_mnist5k(offline):
    done = offline("--train", "--center_loss", *QUICK)
    assert done.status == 0 and "WARNING: the full MNIST is not used." in done.err
    for command in (["--test"], ["--second_train", "--epochs", 1], ["--compare", "center-loss"]):
        done = offline(*command)
        assert done.status == 0 and done.err == "", done.err
        assert "mnist5k" in done.out
    flags = ("--train", "--center_loss", "--resume", "--epochs", 2)
    assert "Epoch [1]" in offline(*flags).out


COMMANDS = ["--test"], ["--second_train"], ["--train", "--center_loss", "--resume"]


def test_a_run_remembers_its_folder(trained, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in COMMANDS:
        done = trained(*command, "--epochs", 2, "--ckpt_dir", "../ckpt", "--out_dir", "../output")
        assert done.status == 0 and "digits" in done.out and not done.err, done


def test_a_run_says_that_its_folder_is_gone_or_has_other_images(trained, tmp_path):
    (tmp_path / "digits").rename(tmp_path / "moved")
    for command in COMMANDS:
        done = trained(*command, "--epochs", 2)
        gone = f"was trained on digits in {tmp_path / 'digits'}, which is not there now"
        assert_one_line(done, f"center-loss {gone}: say with --data_dir where")
    assert trained("--test", "--data_dir", "moved").status == 0
    write_digits(tmp_path / "digits", train=128)
    for command in COMMANDS:
        assert_one_line(trained(*command, "--epochs", 2), "other images or labels", "--data_dir")


def test_runs_on_different_sets_are_not_compared_without_a_word(trained):
    flags = ("--dataset", "mnist5k", "--prefix", "other", *QUICK)
    assert trained("--train", "--center_loss", *flags).status == 0
    done = trained("--compare", "center-loss", "other")
    assert_one_line(done, "say with --data_dir where that is")
    done = trained("--compare", "center-loss", "other", "--data_dir", "digits")
    assert done.status == 0 and "WARNING: other was trained on mnist5k" in done.err


def test_the_fingerprint_of_mnist_is_the_one_that_shipped_runs_have():
    record = Run("center-loss", SHIPPED, "output").read_record()
    assert record.dataset.sha256 == mnist.FINGERPRINT


def test_the_program_tells_which_requirements_are_missing(tmp_path):
    """As after half of an installation: without pooch, and without MXNet."""
    for name in ("pooch", "mxnet"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            f"import sys\nclass No:\n    def find_spec(self, name, *args):\n"
            f"        if name == {name!r}:\n"
            f"            raise ModuleNotFoundError('No module named ' + repr(name), name=name)\n"
            f"sys.meta_path.insert(0, No())\n"
        )
        env = {**os.environ, "PYTHONPATH": str(folder)}
        env.pop("OMP_NUM_THREADS", None)
        done = run("--train", *QUICK, cwd=tmp_path, env=env)
        assert_one_line(done, f"No module named '{name}': run 'pip install ")
