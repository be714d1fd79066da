"""What the pages measure beside the program's own numbers."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from helpers import QUICK, ROOT, Done, run
from PIL import Image

import data
from experiments import difference, lambdas, read_alike, trajectories
from experiments.curvature import largest_curvature, measure
from experiments.validation import cut
from process.errors import UserError
from recipe import Network
from runs.run import Run
from runs.trained import open_run
from utils import classify

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("low, high", [(-3, 17), (-20, 5)])
def test_the_largest_curvature_of_a_quadratic_is_its_largest_eigenvalue(low, high):
    random = np.random.RandomState(1)
    basis, _ = np.linalg.qr(random.normal(size=(30, 30)))
    hessian = basis @ np.diag(np.linspace(low, high, 30)) @ basis.T
    found = largest_curvature(lambda x: hessian @ x + 1, random.normal(size=30))
    assert found == pytest.approx(max(low, high, key=abs), rel=1e-3)


def test_the_curvature_of_a_run(trained):
    line = measure(["--data_dir", "digits"]).splitlines()[-1]
    prefix, epoch, lr, edge, curvature, *_ = line.strip("| ").split(" | ")
    assert (prefix, epoch, lr, edge) == ("center-loss", "0", "0.1", "20")
    assert 0 < float(curvature) < 1000


def test_a_validation_set_is_the_end_of_the_training_set(cli, tmp_path):
    cut(tmp_path / "validation", "digits")
    digits = data.load_dataset(None, tmp_path / "digits")
    validation = data.load_dataset(None, tmp_path / "validation")
    assert len(validation.train.labels) == 214 and len(validation.test.labels) == 42
    for part in range(2):
        whole = np.concatenate([validation.train[part], validation.test[part]])
        np.testing.assert_array_equal(whole, digits.train[part])


def start(module, *flags, folder, **kwargs):
    """Start an experiment as a user does, who stands in the root, with all files in a folder."""
    folders = ("--ckpt_dir", folder, "--out_dir", folder, "--data_dir", folder / "digits")
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, flags), *map(str, folders)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


def experiment(module, *flags, folder):
    process = start(module, *flags, folder=folder)
    out, err = process.communicate()
    return Done(process.returncode, out, err)


def accuracies_of(folder, prefix):
    """The accuracies of each epoch, and which one is the best."""
    path = Path(folder, f"{prefix}-history.csv")
    table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    columns = ("test_softmax", "test_knn", "train_softmax", "train_knn")
    return np.stack([table[column] for column in columns], axis=1), table["test_softmax"].argmax()


def test_the_table_of_seeds_is_of_what_main_trains(trained, tmp_path):
    quick = (*QUICK[:2], "--epochs", 3)
    flags = (2, "--train", "--center_loss", "--second_train", *quick)
    done = experiment("experiments.seeds", *flags, folder=tmp_path)
    assert done.status == 0, done.err
    alone = run("--train", "--center_loss", "--data_dir", "digits", *quick, cwd=tmp_path)
    assert alone.status == 0
    weights = [tmp_path / folder / "center-loss-best.params" for folder in (".", "ckpt")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    lines = done.out.splitlines()[-4:]
    for suffix in ("", "-second"):
        values, bests = [], []
        for prefix, seed in (("center-loss", 0), ("center-loss-seed-1", 1)):
            record = Run(prefix + suffix, tmp_path, tmp_path).read_record()
            assert record.recipe.seed == seed
            accuracies, best = accuracies_of(tmp_path, prefix + suffix)
            values.append((accuracies[-1], accuracies[best]))
            bests.append(str(best))
        for which, epoch in enumerate(("2", ", ".join(bests))):
            of_seeds = np.array([value[which] for value in values])
            spreads = zip(of_seeds.mean(axis=0), of_seeds.std(axis=0, ddof=1))
            cells = " | ".join(f"{mean:.4f} ± {spread:.4f}" for mean, spread in spreads)
            assert lines.pop(0) == f"| center-loss{suffix} | 2 | {epoch} | {cells} |"
    again = experiment("experiments.seeds", *flags, folder=tmp_path)
    assert again.out.count("all 3 epochs are finished") == 4
    assert again.out.splitlines()[-6:] == done.out.splitlines()[-6:]


@pytest.mark.parametrize(
    "module, flags, word",
    [
        ("experiments.seeds", [2, "--train", "--seed", 3], "leave --seed out"),
        ("experiments.seeds", [2, "--test"], "--train or --second_train"),
        ("experiments.seeds", [2, "--train", "--lr", 1e30], "became NaN"),
        ("experiments.lambdas", ["--seed", 1], "leave --seed out"),
        ("experiments.lambdas", ["--feature_size", 3], "leave --feature_size out"),
    ],
)
def test_what_no_experiment_can_be_made_of_is_one_line(cli, tmp_path, module, flags, word):
    done = experiment(module, *flags, folder=tmp_path)
    assert done.status == 1 and done.err.count("\n") == 1 and word in done.err


@pytest.mark.parametrize("signum, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_training_too(cli, tmp_path, signum, status):
    flags = (2, "--train", "--center_loss", "--model", "lenet", "--epochs", 500)
    process = start("experiments.seeds", *flags, folder=tmp_path, start_new_session=True)
    for line in process.stdout:
        if line.startswith("Epoch [0]"):
            break
    if signum == signal.SIGINT:  # from the keyboard it comes to the training, too
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    _, err = process.communicate()
    assert process.returncode == status
    assert "center-loss is kept up to epoch" in err and "The same command goes on" in err
    with Run("center-loss", tmp_path, tmp_path).locked():
        pass


def test_the_picture_of_the_weights(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(lambdas, "run_main", lambda *flags: cli(*flags))
    monkeypatch.setattr(lambdas, "SEEDS", 2)
    flags = ["--data_dir", "digits", "--epochs", "1", "--prefix", "a", "--lmbd", "0.4"]
    flags += ["--model", "lenet"]
    table = lambdas.draw(flags).splitlines()
    names = {"0": "a-lmbd-0", "0.04": "a-lmbd-0.04", "0.4": "a", "1": "a-lmbd-1"}
    for (lmbd, name), line in zip(names.items(), table[2:]):
        history = [
            np.genfromtxt(f"output/{name}{suffix}-history.csv", delimiter=",", names=True)
            for suffix in ("", "-seed-1")
        ]
        columns = ("test_softmax", "test_knn", "test_spread")
        values = [np.array([float(each[column]) for each in history]) for column in columns]
        cells = [f"{value.mean():.4f} ± {value.std(ddof=1):.4f}" for value in values]
        assert line == f"| {lmbd} | {' | '.join(cells)} |"
    picture = np.asarray(Image.open("output/a-lmbd.png"))
    panels = np.split(picture[:420], 4, axis=1)
    assert len({panel.tobytes() for panel in panels}) == 4

    Path("output/a-lmbd-1/feature_maps.npz").unlink()
    with pytest.raises(UserError, match="a-lmbd-1-history.csv, and the same command draws it"):
        lambdas.draw(flags)
    Path("output/a-lmbd-1-history.csv").unlink()
    assert lambdas.draw(flags).splitlines() == table
    runs = [Run(f"a-lmbd-{lmbd}", "ckpt", "output") for lmbd in ("0", "1")]
    with pytest.raises(UserError, match="a-lmbd-1 was trained with other flags"):
        read_alike(runs, "seed")


def test_a_control_is_other_in_one_thing(cli, tmp_path):
    flags = ("--train", "--center_loss", *QUICK)
    only = {"feature-bias": "features.8.bias", "classifier-bias": "output.bias"}
    for control, bias in only.items():
        done = experiment(
            "experiments.controls", control, *flags, "--prefix", control, folder=tmp_path
        )
        assert done.status == 0, done.err
        params = mx.nd.load(str(tmp_path / f"{control}-best.params"))
        assert [name for name in only.values() if params[name].asnumpy().any()] == [bias]
    experiment(
        "experiments.controls", "both-losses", "--second_train", "--prefix", control, *QUICK,
        folder=tmp_path,
    )  # fmt: skip
    after = mx.nd.load(str(tmp_path / f"{control}-both-losses-best.params"))
    assert np.all([(params[name] != after[name]).asnumpy().any() for name in params])
    (epoch,) = Run(f"{control}-both-losses", tmp_path, tmp_path).read_record().history
    assert epoch.softmax_loss and epoch.center_loss


def test_the_ways_of_centers_and_means(cli):
    assert cli("--train", "--center_loss", "--data_dir", "digits", *QUICK, "--plotting").status == 0
    run = Run("center-loss", "ckpt", "output")
    (epochs,) = trajectories.ways(run)
    net, centers, *_ = open_run(run, {}).on(mx.cpu())
    train = data.load_dataset("digits", "digits", Network()).train
    features = classify(net, centers, train.images, mx.cpu()).features
    means = [features[train.labels == label].mean(axis=0) for label in range(10)]
    np.testing.assert_allclose(epochs, [centers, means], rtol=1e-3, atol=1e-6)
    args = argparse.Namespace(runs=["center-loss"], ckpt_dir="ckpt", out_dir="output")
    distances = np.linalg.norm(means, axis=1)
    *_, row, picture = trajectories.draw(args).splitlines()
    assert row == f"| center-loss | {distances.min() / distances.mean():.2f} |"
    assert picture == "Picture: output/trajectories.png"
    with pytest.raises(UserError, match="nix is no run with centers"):
        trajectories.ways(Run("nix", "ckpt", "output"))


def test_a_weight_of_zero_is_softmax_loss_alone(cli):
    flags = ("--train", *QUICK, "--data_dir", "digits", "--formulation", "paper")
    assert cli(*flags, "--prefix", "alone").status == 0
    assert cli(*flags, "--prefix", "zero", "--center_loss", "--lmbd", 0).status == 0
    alone, zero = (Path(f"ckpt/{name}-best.params").read_bytes() for name in ("alone", "zero"))
    assert alone == zero


def test_an_interval_is_that_of_pairs():
    low, high = difference.interval(np.array([1.0, 2.0, 6.0]))[1:]
    # Student's t with 2 degrees of freedom: 4.303.
    reach = 4.303 * np.std([1, 2, 6], ddof=1) / 3**0.5
    assert (float(low), float(high)) == pytest.approx((3 - reach, 3 + reach), abs=1e-3)


@pytest.mark.parametrize("module", ["experiments.curvature", "experiments.seeds", "benchmarks"])
def test_help_and_what_is_missing_are_said(module):
    def ask(*command):
        return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)

    done = ask("-m", module, "--help")
    assert done.returncode == 0 and f"python -m {module}" in done.stdout
    done = ask("-S", "-m", module, "1")  # -S: no package but Python's own can be found
    if module == "benchmarks":
        done = ask("-S", "-m", module)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "run 'pip install -r requirements.txt' first" in done.stderr


def test_a_validation_set_does_not_replace_what_it_is_cut_from(cli, tmp_path):
    before = {path: path.read_bytes() for path in (tmp_path / "digits").iterdir()}
    with pytest.raises(UserError, match="choose another folder"):
        cut(tmp_path / "digits", "digits")
    assert {path: path.read_bytes() for path in (tmp_path / "digits").iterdir()} == before
