"""Training by several processes on this machine: equal to one, and never waiting for the dead."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from unittest import mock

import mxnet as mx
import numpy as np
import psutil
import pytest
from helpers import ROOT, Done, assert_one_line, run, write_digits

from cluster import watch
from cluster.workers import with_every_row
from runs import params

pytestmark = pytest.mark.slow

FLAGS = (
    "--train", "--center_loss", "--model", "lenet", "--batch_size", 1000, "--lr", 0.05,
    "--momentum", 0.9, "--lmbd", 0.1, "--lr_step", 2,
)  # fmt: skip
ON_MNIST5K = (*FLAGS, "--dataset", "mnist5k")
ENV = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
# With seed 0 a pooling meets two pixels that only rounding tells apart.
AUGMENTED = ("--augment", "--lr_schedule", "cosine", "--seed", 1)


def launch(cwd, servers, workers, *flags, **kwargs):
    """Start the launcher of a scheduler, servers and workers in a process of its own."""
    command = ("-m", "cluster.launch", "--servers", servers, "--workers", workers)
    return subprocess.Popen(
        [sys.executable, *map(str, (*command, ROOT / "main.py", *flags))],
        cwd=cwd, env={**os.environ, **ENV}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True, **kwargs,
    )  # fmt: skip


def finish(process, status=0):
    """Wait for the launcher to end with this status; returns what all processes left."""
    try:
        output = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == status, output
    return Done(status, *output)


def parameters(folder, prefix="center-loss"):
    """What `prefix`, a run of rank 0 or of a single process, ended with."""
    content = (folder / "ckpt" / f"{prefix}-resume.params").read_bytes()
    return params.unpack(content)


def digests(done):
    """The parameters that a worker says it had after each epoch."""
    return re.findall(r"^\[rank [12]\] Epoch \[\d\]: parameters (\w+)$", done.out, re.M)


def digest(arrays):
    """The same of what rank 0 or a single process wrote."""
    sha256 = hashlib.sha256()
    for part in ("network.", "centers."):
        for array in (arrays[name] for name in arrays if name.startswith(part)):
            sha256.update(array.tobytes())
    return sha256.hexdigest()[:12]


def assert_same_losses(folder, *prefixes):
    loss, wanted = (
        np.genfromtxt(folder / "output" / f"{prefix}-history.csv", delimiter=",")[1:, 3:6]
        for prefix in prefixes
    )
    np.testing.assert_allclose(loss, wanted, rtol=1e-3)


def assert_close(arrays, wanted, tolerance):
    assert arrays.keys() == wanted.keys()
    for name, array in wanted.items():
        difference = np.linalg.norm(arrays[name] - array)
        assert difference <= tolerance * np.linalg.norm(array), name


def test_synchronous_workers_train_like_one_process(tmp_path):
    """Steps are few, because rounding soon decides which of two almost equal pixels a pooling
    takes."""
    flags = (*ON_MNIST5K, "--formulation", "paper", "--epochs", 1, *AUGMENTED)
    one = run(*flags, "--prefix", "one", cwd=tmp_path)
    assert one.status == 0, one.err
    done = finish(launch(tmp_path, 1, 2, *flags, "--kvstore", "dist_sync"))
    assert digests(done) == [digest(parameters(tmp_path))]
    assert_close(parameters(tmp_path), parameters(tmp_path, "one"), 1e-4)
    assert_same_losses(tmp_path, "center-loss", "one")


def test_other_workers_go_on_and_a_second_training_and_a_test_follow(tmp_path):
    """Two workers and a server begin, three workers and two servers go on."""
    actions = ("--second_train", "--test")
    one = run(*ON_MNIST5K, *actions, "--epochs", 2, "--prefix", "one", cwd=tmp_path)
    assert one.status == 0, one.err
    flags = (*ON_MNIST5K, "--kvstore", "dist_sync")
    finish(launch(tmp_path, 1, 2, *flags, "--epochs", 1))
    done = finish(launch(tmp_path, 2, 3, *flags, *actions, "--epochs", 2, "--resume"))
    for suffix, ended in (("", digests(done)[:2]), ("-second", digests(done)[-2:])):
        trained = parameters(tmp_path, f"center-loss{suffix}")
        assert ended == [digest(trained)] * 2
        assert_close(trained, parameters(tmp_path, f"one{suffix}"), 3e-3)
        assert_same_losses(tmp_path, f"center-loss{suffix}", f"one{suffix}")
    # Rank 0 alone evaluates.
    assert done.out.count("Test_acc") == done.out.count("[rank 0] Test_acc: ") == 1
    assert all(line.startswith("[rank ") for line in done.out.splitlines() if line)


def test_asynchronous_workers_end_with_equal_parameters_and_learn(tmp_path):
    flags = (*ON_MNIST5K, "--kvstore", "dist_async", "--epochs", 3, "--batch_size", 100)
    done = finish(launch(tmp_path, 1, 2, *flags))
    assert digests(done)[-1] == digest(parameters(tmp_path))
    losses = np.genfromtxt(tmp_path / "output" / "center-loss-history.csv", delimiter=",")[1:, 4]
    assert losses[2] < 0.9 * losses[0]


def endless(folder):
    """The flags of a training that does not end by itself."""
    write_digits(folder / "digits")
    return (*FLAGS, "--data_dir", "digits", "--kvstore", "dist_sync", "--epochs", 10**6)


def wait_for_an_epoch(folder, process):
    while not (folder / "output" / "center-loss-history.csv").exists():
        assert process.poll() is None
        time.sleep(0.1)


def start_by_hand(folder, roles, flags, change=""):
    """Start processes without the launcher, after a `change` in Python; `said` is what each
    printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    variables = {
        "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": port, "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": "2", **ENV,
    }  # fmt: skip
    program = f"import sys, main, cluster.watch as watch\n{change}\nsys.exit(main.main())"
    processes = []
    for path, role in ((folder / f"{number}.txt", role) for number, role in enumerate(roles)):
        with open(path, "w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *map(str, flags)], cwd=folder,
                env={**os.environ, **variables, "DMLC_ROLE": role}, stdout=file, stderr=file,
            )  # fmt: skip
        process.said = path.read_text
        processes.append(process)
    return processes


@pytest.fixture
def by_hand(tmp_path):
    """Scheduler, server, a worker and rank 0 of an endless training that has finished an epoch."""
    processes = start_by_hand(
        tmp_path, ["scheduler", "server", "worker", "worker"], endless(tmp_path)
    )
    try:
        wait_for_an_epoch(tmp_path, processes[-1])
        yield sorted(processes, key=lambda process: "[rank 0]" in process.said())
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_processes_hear_of_a_death(by_hand, tmp_path):
    scheduler, server, worker, rank_0 = by_hand
    worker.kill()
    for process, dead in ((scheduler, "worker 1"), (server, "scheduler"), (rank_0, "scheduler")):
        assert process.wait(timeout=30) == 1
        lines = process.said().splitlines()
        assert f"{dead} ended or cannot be reached" in lines[-1] and "--resume" in lines[-1]
        assert "error" not in "".join(lines[:-1])
    # What was finished is kept, and a single process goes on with it.
    epochs = len((tmp_path / "output" / "center-loss-history.csv").read_text().splitlines()) - 1
    flags = (*FLAGS, "--data_dir", "digits", "--resume", "--epochs", epochs + 2)
    resumed = run(*flags, cwd=tmp_path)
    assert resumed.status == 0, resumed.err
    assert "devices ['cpu(0)', 'cpu(0)']" in resumed.err


def test_a_signal_ends_rank_0_while_another_is_stopped(by_hand):
    _, server, worker, rank_0 = by_hand
    worker.send_signal(signal.SIGSTOP)
    time.sleep(1)
    rank_0.send_signal(signal.SIGINT)
    server.send_signal(signal.SIGTERM)
    assert (rank_0.wait(timeout=10), server.wait(timeout=10)) == (130, 143)
    assert "did not answer" in rank_0.said().splitlines()[-1]


def test_who_does_not_come_is_waited_for_some_time(tmp_path):
    change = "watch.NOTE_AFTER, watch.MEET_WITHIN = 2, 4"
    (server,) = start_by_hand(tmp_path, ["server"], (*FLAGS, "--kvstore", "dist_sync"), change)
    assert server.wait(timeout=100) == 1
    first, last = server.said().splitlines()
    missing = "for the scheduler at 127.0.0.1:"
    assert f"still waiting {missing}" in first and missing in last


def test_a_name_that_is_not_known_yet_is_tried_again(monkeypatch):
    answers = [socket.gaierror(), socket.gaierror(), "10.0.0.1"]
    monkeypatch.setattr(socket, "gethostbyname", mock.Mock(side_effect=answers))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert watch.resolve("scheduler") == "10.0.0.1"


@pytest.fixture
def launched(tmp_path):
    """The launcher of an endless training that has finished an epoch, and the processes that it
    started, which must end with it."""
    launcher = launch(tmp_path, 1, 2, *endless(tmp_path))
    wait_for_an_epoch(tmp_path, launcher)
    processes = psutil.Process(launcher.pid).children()
    yield launcher, processes
    assert not psutil.wait_procs(processes, timeout=1)[1]


def test_when_one_dies_the_launcher_ends_all(launched):
    launcher, processes = launched
    next(one for one in processes if one.environ()["DMLC_ROLE"] == "server").kill()
    done = finish(launcher, status=1)
    assert "Traceback" not in done.err
    assert "launch: error: process " in done.err and " (server) ended with signal 9" in done.err


def test_ctrl_c_ends_all(launched):
    """As a terminal does it, for the whole group in the foreground."""
    launcher, _ = launched
    os.killpg(launcher.pid, signal.SIGINT)
    done = finish(launcher, status=130)
    (line,) = done.err.splitlines()
    assert "To go on: python -m cluster.launch --servers 1 --workers 2 /" in line
    assert line.endswith("--resume")


def test_machines_are_reached_by_ssh(tmp_path):
    """With an ssh that stays on this machine."""
    write_digits(tmp_path / "digits")
    (tmp_path / "ssh").write_text('#!/bin/sh\nexec env -i PATH="$PATH" sh -c "$5"\n')
    (tmp_path / "ssh").chmod(0o755)
    hosts = ("--hosts", "one,two", "--address", "127.0.0.1")
    command = [sys.executable, "-m", "cluster.launch", *hosts, "main.py"]
    flags = (*FLAGS, "--kvstore", "dist_sync", "--epochs", 1, "--data_dir", tmp_path / "digits")
    folders = ("--ckpt_dir", tmp_path / "ckpt", "--out_dir", tmp_path / "output")
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*command, *map(str, (*flags, *folders))], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done
    assert (tmp_path / "ckpt" / "center-loss.json").exists()


def test_hosts_need_an_address():
    command = [sys.executable, "-m", "cluster.launch", "--hosts", "one", "main.py", "--train"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("cluster.launch: error: --hosts and --address go together (see --help)")


def test_without_the_launcher_a_line_says_so(tmp_path):
    assert_one_line(run("--train", "--kvstore", "dist_sync", cwd=tmp_path), "cluster.launch")


def test_a_role_without_kvstore_is_a_warning(tmp_path):
    done = run("--test", cwd=tmp_path, env={**os.environ, "DMLC_ROLE": "worker"})
    assert done.err.startswith("WARNING: DMLC_ROLE is set without --kvstore")


def test_servers_hold_centers_of_zeros_too():
    centers = mx.nd.array([[0, 0], [1, 2], [0, 0]])
    rows = with_every_row(centers)
    assert rows.indices.asnumpy().tolist() == [0, 1, 2]
    np.testing.assert_array_equal(rows.tostype("default").asnumpy(), centers.asnumpy())
