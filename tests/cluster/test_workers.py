"""Training by several processes on this machine: equal to one, and never waiting for the dead."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time

import mxnet as mx
import numpy as np
import psutil
import pytest
from helpers import ROOT, Done, assert_one_line, run, write_digits

from cluster.workers import with_every_row
from runs import params

pytestmark = pytest.mark.slow

FLAGS = (
    "--train", "--center_loss", "--model", "lenet", "--batch_size", 1000, "--lr", 0.05,
    "--momentum", 0.9, "--lmbd", 0.1, "--lr_step", 2,
)  # fmt: skip
ON_MNIST5K = (*FLAGS, "--dataset", "mnist5k")
# With seed 0 a pooling meets two pixels that only rounding tells apart.
AUGMENTED = ("--augment", "--lr_schedule", "cosine", "--seed", 1)


def launch(cwd, servers, workers, *flags, **kwargs):
    """Start the launcher of a scheduler, servers and workers in a process of its own."""
    command = ("-m", "cluster.launch", "--servers", servers, "--workers", workers)
    return subprocess.Popen(
        [sys.executable, *map(str, (*command, ROOT / "main.py", *flags))],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True, **kwargs,
    )  # fmt: skip


def finish(process):
    """Wait for the launcher; returns what all processes left."""
    try:
        output = process.communicate(timeout=120)
    finally:
        process.kill()
    return Done(process.returncode, *output)


def parameters(folder, prefix="center-loss"):
    """What `prefix`, a run of rank 0 or of a single process, ended with."""
    content = (folder / "ckpt" / f"{prefix}-resume.params").read_bytes()
    return params.unpack(content)


def digests(done):
    """The parameters that a worker says it had after each epoch."""
    return re.findall(r"^\[rank [12]\] Epoch \[\d\]: parameters (\w+)$", done.out, re.M)


def digest(arrays):
    """The same of what rank 0 or a single process wrote."""
    parts = {}
    for part in ("network", "centers"):
        parts.update(
            (name.partition(".")[2], array)
            for name, array in arrays.items()
            if name.startswith(f"{part}.")
        )
    return hashlib.sha256(b"".join(array.tobytes() for array in parts.values())).hexdigest()[:12]


def assert_close(arrays, wanted, tolerance):
    assert arrays.keys() == wanted.keys()
    for name, array in wanted.items():
        difference = np.linalg.norm(arrays[name] - array)
        assert difference <= tolerance * np.linalg.norm(array), name


@pytest.mark.parametrize(
    "formulation, groups, tolerance",
    [
        ("paper", [(1, 2, ("--epochs", 1, *AUGMENTED))], 1e-4),
        ("hist", [(1, 2, ("--epochs", 1)), (2, 3, ("--epochs", 2, "--resume"))], 3e-3),
    ],
)
def test_synchronous_workers_train_like_one_process(tmp_path, formulation, groups, tolerance):
    """Also where two workers and a server begin, and three workers and two servers go on.

    Steps are few, because rounding soon decides which of two almost equal pixels a pooling takes.
    """
    flags = (*ON_MNIST5K, "--formulation", formulation)
    more = groups[0][2][2:]
    one = run(*flags, "--epochs", len(groups), *more, "--prefix", "one", cwd=tmp_path)
    assert one.status == 0, one.err
    for servers, workers, more in groups:
        done = finish(launch(tmp_path, servers, workers, *flags, "--kvstore", "dist_sync", *more))
        assert done.status == 0, done
        ended = digests(done)[-(workers - 1) :]
        assert ended == [digest(parameters(tmp_path))] * (workers - 1), done
    assert_close(parameters(tmp_path), parameters(tmp_path, "one"), tolerance)
    loss = [np.genfromtxt(tmp_path / "output" / f"{prefix}-history.csv", delimiter=",")[1:, 3:6]
            for prefix in ("one", "center-loss")]  # fmt: skip
    np.testing.assert_allclose(loss[1], loss[0], rtol=1e-3)


def test_asynchronous_workers_end_with_equal_parameters_and_learn(tmp_path):
    flags = (*ON_MNIST5K, "--kvstore", "dist_async", "--epochs", 3, "--batch_size", 100)
    done = finish(launch(tmp_path, 1, 2, *flags))
    assert done.status == 0, done
    assert digests(done)[-1] == digest(parameters(tmp_path))
    losses = np.genfromtxt(tmp_path / "output" / "center-loss-history.csv", delimiter=",")[1:, 4]
    assert losses[2] < 0.9 * losses[0]


def test_second_training_and_test_follow_in_the_same_command(tmp_path):
    """Only rank 0 has files; the others get network and flags from it."""
    write_digits(tmp_path / "digits")
    flags = (*FLAGS, "--data_dir", "digits", "--batch_size", 64, "--epochs", 1)
    actions = ("--second_train", "--test", "--eval_method", "knn")
    one = run(*flags, *actions, "--prefix", "one", cwd=tmp_path)
    assert one.status == 0, one.err
    done = finish(launch(tmp_path, 1, 2, *flags, *actions, "--kvstore", "dist_sync"))
    assert done.status == 0, done
    assert_close(
        parameters(tmp_path, "center-loss-second"), parameters(tmp_path, "one-second"), 3e-3
    )
    assert done.out.count("Test_acc") == done.out.count("[rank 0] Test_acc: ") == 1
    assert digests(done)[1] == digest(parameters(tmp_path, "center-loss-second"))
    assert all(line.startswith("[rank ") for line in done.out.splitlines() if line)


def roles(launcher):
    """The processes of a launcher, by their role."""
    found = {}
    for child in psutil.Process(launcher.pid).children():
        found.setdefault(child.environ()["DMLC_ROLE"], []).append(child)
    return found


def start_endless_training(folder):
    """Start one of two workers; gives its launcher and its processes after an epoch."""
    write_digits(folder / "digits")
    flags = (*FLAGS, "--data_dir", "digits", "--kvstore", "dist_sync", "--epochs", 10**6)
    launcher = launch(folder, 1, 2, *flags)
    while not (folder / "output" / "center-loss-history.csv").exists():
        assert launcher.poll() is None
        time.sleep(0.1)
    return launcher, roles(launcher), flags


@pytest.mark.parametrize("victim", ["scheduler", "server", "worker"])
def test_when_one_dies_all_end(tmp_path, victim):
    launcher, processes, flags = start_endless_training(tmp_path)
    processes[victim][-1].kill()
    done = finish(launcher)
    assert done.status == 1 and "Traceback" not in done.err
    assert f"launch: error: a {victim} (process " in done.err and "--resume" in done.err
    _, alive = psutil.wait_procs(sum(processes.values(), []), timeout=1)
    assert not alive
    # What was finished is kept, and a single process goes on with it.
    epochs = len((tmp_path / "output" / "center-loss-history.csv").read_text().splitlines()) - 1
    alone = [flag for flag in flags if flag not in ("--kvstore", "dist_sync", 10**6)]
    resumed = run(*alone, epochs + 2, "--resume", cwd=tmp_path)
    assert resumed.status == 0, resumed.err
    assert "devices of center-loss were" in resumed.err


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all(tmp_path, number, status):
    """Ctrl-C as a terminal does it, for the whole group in the foreground."""
    launcher, processes, _ = start_endless_training(tmp_path)
    (os.killpg if number == signal.SIGINT else os.kill)(launcher.pid, number)
    done = finish(launcher)
    assert done.status == status and "Traceback" not in done.err, done
    assert not psutil.wait_procs(sum(processes.values(), []), timeout=1)[1]


def test_an_error_of_one_worker_ends_all(tmp_path):
    flags = (*FLAGS, "--kvstore", "dist_sync", "--epochs", 1, "--data_dir", "nowhere")
    done = finish(launch(tmp_path, 1, 2, *flags))
    assert done.status == 1 and "Traceback" not in done.err
    assert "[rank 0] main.py: error: nowhere is not a folder" in done.err
    assert "launch: error: a worker (process " in done.err.splitlines()[-1]


def test_machines_are_reached_by_ssh(tmp_path):
    """With an ssh that stays on this machine."""
    write_digits(tmp_path / "digits")
    (tmp_path / "ssh").write_text('#!/bin/sh\nexec env -i PATH="$PATH" sh -c "$3"\n')
    (tmp_path / "ssh").chmod(0o755)
    command = [sys.executable, "-m", "cluster.launch", "--hosts", "one", "two", "--", "main.py"]
    flags = (*FLAGS, "--kvstore", "dist_sync", "--epochs", 1, "--data_dir", tmp_path / "digits")
    folders = ("--ckpt_dir", tmp_path / "ckpt", "--out_dir", tmp_path / "output")
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*command, *map(str, (*flags, *folders))], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done
    assert (tmp_path / "ckpt" / "center-loss.json").exists()


def test_without_the_launcher_a_line_says_so(tmp_path):
    assert_one_line(run("--train", "--kvstore", "dist_sync", cwd=tmp_path), "cluster.launch")


def test_servers_hold_centers_of_zeros_too():
    centers = mx.nd.array([[0, 0], [1, 2], [0, 0]])
    rows = with_every_row(centers)
    assert rows.indices.asnumpy().tolist() == [0, 1, 2]
    np.testing.assert_array_equal(rows.tostype("default").asnumpy(), centers.asnumpy())


def test_it_needs_a_training(tmp_path):
    done = run("--test", "--kvstore", "dist_sync", cwd=tmp_path)
    assert_one_line(done, "--train", status=2)
