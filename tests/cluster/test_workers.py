"""Training by several processes on this machine: equal to one, and never waiting for the dead."""

import contextlib
import hashlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import mxnet as mx
import numpy as np
import psutil
import pytest
from helpers import ROOT, Done, assert_one_line, environments, run, start, write_digits

from cluster import scheduler
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


def launch(cwd, servers, workers, *flags, last=(), **others):
    """Start a scheduler, servers and workers; returns their processes, the workers last.

    `last` are more flags, and `others` other variables, for the last worker.
    """
    *envs, env = environments(servers, workers)
    started = [start(*flags, cwd=cwd, env=one) for one in envs]
    return [*started, start(*flags, *last, cwd=cwd, env={**env, **others})]


def finish(processes):
    """Wait for all processes; returns what each of them left."""
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [Done(p.returncode, *output) for p, output in zip(processes, outputs)]


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
        assert [one.status for one in done] == [0] * len(done), done
        followers = [one for one in done[1 + servers :] if "[rank 0]" not in one.out]
        ended = {digests(one)[-1] for one in followers}
        assert len(followers) == workers - 1 and ended == {digest(parameters(tmp_path))}, done
    assert_close(parameters(tmp_path), parameters(tmp_path, "one"), tolerance)
    loss = [np.genfromtxt(tmp_path / "output" / f"{prefix}-history.csv", delimiter=",")[1:, 3:6]
            for prefix in ("one", "center-loss")]  # fmt: skip
    np.testing.assert_allclose(loss[1], loss[0], rtol=1e-3)


def test_asynchronous_workers_end_with_equal_parameters_and_learn(tmp_path):
    flags = (*ON_MNIST5K, "--kvstore", "dist_async", "--epochs", 3, "--batch_size", 100)
    done = finish(launch(tmp_path, 1, 2, *flags))
    assert [one.status for one in done] == [0] * len(done), done
    (other,) = (digests(one) for one in done[2:] if "[rank 0]" not in one.out)
    assert other[-1] == digest(parameters(tmp_path))
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
    assert [one.status for one in done] == [0] * len(done), done
    assert_close(
        parameters(tmp_path, "center-loss-second"), parameters(tmp_path, "one-second"), 3e-3
    )
    leader, other = sorted(done[2:], key=lambda one: "[rank 0]" not in one.out)
    assert "[rank 0] Test_acc: " in leader.out and "Test_acc" not in other.out
    assert digests(other)[1] == digest(parameters(tmp_path, "center-loss-second"))
    assert all(line.startswith(("worker: waiting", "[rank ")) for line in other.out.splitlines())


@pytest.mark.parametrize("victim, called", [(0, "scheduler"), (1, "a server"), (3, "rank ")])
def test_when_one_dies_the_others_say_who_and_end(tmp_path, victim, called):
    write_digits(tmp_path / "digits")
    flags = (*FLAGS, "--data_dir", "digits", "--kvstore", "dist_sync", "--epochs", 10**6)
    processes = launch(tmp_path, 1, 2, *flags)
    wait_for_an_epoch(tmp_path, processes)
    dead = processes.pop(victim)
    dead.kill()
    began = time.monotonic()
    for done in finish(processes):
        assert done.status == 1 and "Traceback" not in done.err
        last = done.err.strip().splitlines()[-1]
        assert f"main.py: error: {called}" in last.replace("the s", "s") and "--resume" in last
    assert time.monotonic() - began < 60
    dead.communicate()
    # What was finished is kept, and a single process goes on with it.
    epochs = len((tmp_path / "output" / "center-loss-history.csv").read_text().splitlines()) - 1
    alone = [flag for flag in flags if flag not in ("--kvstore", "dist_sync", 10**6)]
    resumed = run(*alone, epochs + 2, "--resume", cwd=tmp_path)
    assert resumed.status == 0, resumed.err
    assert "devices of center-loss were" in resumed.err


def wait_for_an_epoch(folder, processes):
    while not (folder / "output" / "center-loss-history.csv").exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)


def opened_by(process):
    return [file.path for file in psutil.Process(process.pid).open_files()]


def test_a_signal_ends_a_worker_that_waits_for_another(tmp_path):
    """MXNet keeps its main thread, in which Python's handlers run."""
    write_digits(tmp_path / "digits")
    flags = (*FLAGS, "--kvstore", "dist_sync", "--data_dir", "digits", "--epochs", 10**6)
    processes = launch(tmp_path, 1, 2, *flags)
    try:
        wait_for_an_epoch(tmp_path, processes)
        lock = str(tmp_path / "ckpt" / "center-loss.lock")
        leader, follower = sorted(processes[2:], key=lambda one: lock not in opened_by(one))
        leader.send_signal(signal.SIGSTOP)
        time.sleep(2)
        follower.send_signal(signal.SIGTERM)
        _, err = follower.communicate(timeout=60)
        assert follower.returncode == 143 and "rank 0 keeps the finished epochs" in err
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_ends_before_all_have_met_ends_all(tmp_path, number):
    flags = (*FLAGS, "--kvstore", "dist_sync", "--data_dir", "digits")
    processes = [start(*flags, cwd=tmp_path, env=env) for env in environments(1, 2)[:-1]]
    dead = processes.pop()
    while not any(
        one.status == "ESTABLISHED" for one in psutil.Process(dead.pid).net_connections("tcp")
    ):
        assert dead.poll() is None
        time.sleep(0.1)
    time.sleep(1)  # what it says of itself to the scheduler
    dead.send_signal(number)
    for done in finish(processes):
        assert_one_line(done, f"a worker (process {dead.pid} on ", "--resume")
    dead.communicate()


def assert_all_say(done, *words):
    assert [one.status for one in done] == [1] * len(done), done
    for one in done:
        line = re.sub(r"^\[rank \d\] ", "", one.err.strip())
        assert_one_line(Done(one.status, one.out, line), *words)


@pytest.mark.parametrize(
    "data_dir, words", [("others", "other images or labels here than at rank 0"),
                        ("nowhere", "nowhere is not a folder")],
)  # fmt: skip
def test_an_error_of_one_worker_is_said_by_all(tmp_path, data_dir, words):
    write_digits(tmp_path / "digits")
    write_digits(tmp_path / "others", train=128)
    flags = (*FLAGS, "--kvstore", "dist_sync", "--epochs", 1, "--data_dir", "here/digits")
    processes = []
    for number, env in enumerate(environments(1, 2)):
        folder = tmp_path / str(number)
        (folder / "here").mkdir(parents=True)
        wanted = data_dir if number == 3 else "digits"
        (folder / "here" / "digits").symlink_to(tmp_path / wanted)
        processes.append(start(*flags, cwd=folder, env=env))
    done = finish(processes)
    assert [one.status for one in done] == [1] * 4, done
    for one in done:
        assert words.replace("nowhere", "here/digits") in one.err.splitlines()[-1], done


@pytest.mark.parametrize(
    "last, words",
    [
        (["--kvstore", "dist_async"], ["--kvstore is dist_", "but dist_"]),
        (["--second_train"], ["--second_train is ", ", but "]),
        (["--seed", 3], ["--seed is ", "not given"]),
    ],
)
def test_flags_that_do_not_agree_are_named_by_all(tmp_path, last, words):
    flags = (*FLAGS, "--data_dir", "digits", "--kvstore", "dist_sync", "--epochs", 1)
    began = time.monotonic()
    done = finish(launch(tmp_path, 1, 2, *flags, last=last))
    assert_all_say(done, *words, "at a worker (process ", "start all processes with the same flags")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("name", ["DMLC_NUM_WORKER", "DMLC_NUM_SERVER"])
def test_numbers_of_processes_that_do_not_agree_are_named_by_all(tmp_path, name):
    flags = (*FLAGS, "--data_dir", "digits", "--kvstore", "dist_sync", "--epochs", 1)
    done = finish(launch(tmp_path, 1, 2, *flags, **{name: "3"}))
    assert_all_say(done, f"{name} is ", " at the scheduler, but 3 at a worker (process ")


def test_one_worker_too_many_is_refused_and_troubles_nobody(tmp_path):
    write_digits(tmp_path / "digits")
    flags = (*FLAGS, "--data_dir", "digits", "--kvstore", "dist_sync", "--epochs", 10**6)
    processes = launch(tmp_path, 1, 1, *flags)
    wait_for_an_epoch(tmp_path, processes)
    (port,) = {int(text) for text in re.findall(r"127.0.0.1:(\d+)", processes[0].stdout.readline())}
    *_, env = environments(1, 1)
    for line in (b"GET / HTTP/1.1\r\n\r\n", b"[" * 50_000 + b"\n", b"x" * 70_000):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(line)
            with contextlib.suppress(ConnectionResetError):
                assert not stranger.recv(100)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b'{"leave": true}\n{"error": "no"}\n')
    extra = run(*flags, cwd=tmp_path, env={**env, "DMLC_PS_ROOT_PORT": str(port)})
    assert_one_line(extra, "all 1 worker(s) that DMLC_NUM_WORKER asks for are there already")
    assert all(process.poll() is None for process in processes)
    processes[2].terminate()
    for done in finish(processes)[:2]:
        assert "rank 0: interrupted" in done.err


def limit_files(count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def test_too_low_a_limit_of_open_files_is_one_line(tmp_path):
    """MXNet would abort the scheduler."""
    env, *_ = environments(1, 2)
    flags = ("--train", "--kvstore", "dist_sync")
    done = run(*flags, cwd=tmp_path, env=env, preexec_fn=lambda: limit_files(30))
    assert_one_line(done, "need up to 52 open files", "may have 30", "ulimit -n")


def test_who_comes_late_hears_the_reason_too_and_strangers_do_not_keep_it(tmp_path):
    """The three others are enough to see that the numbers differ. The scheduler may open fewer
    files than there are strangers."""
    scheduler, _, *workers = environments(1, 2)
    flags = ("--train", "--kvstore", "dist_sync")
    process = start(*flags, cwd=tmp_path, env=scheduler, preexec_fn=lambda: limit_files(60))
    address = process.stdout.readline().split()[3].split(":")
    address = (address[0], int(address[1]))
    silent = [socket.create_connection(address) for _ in range(300)]
    with socket.create_connection(address) as late:
        processes = [process] + [
            start(*flags, cwd=tmp_path, env={**env, "DMLC_NUM_WORKER": count})
            for env, count in zip(workers, "23")
        ]
        line = process.stderr.readline()
        assert "DMLC_NUM_WORKER is 2 at the scheduler, but 3 at" in line
        began = time.monotonic()
        role = {"role": "server", "flags": {}, "DMLC_NUM_SERVER": "1", "DMLC_NUM_WORKER": "2"}
        late.sendall(json.dumps({"hello": role, "process": "late"}).encode() + b"\n")
        late.settimeout(60)
        assert b"DMLC_NUM_WORKER is 2 at the scheduler, but 3 at" in late.recv(1000)
    assert_all_say(finish(processes[1:]), "DMLC_NUM_WORKER is 2 at the scheduler, but 3 at")
    assert process.wait(timeout=60) == 1 and time.monotonic() - began < 10
    for connection in silent:
        connection.close()


def test_who_comes_after_the_complaint_hears_who_is_missing(capfd):
    class Writer(list):
        write = list.append

    there = scheduler.Scheduler(("127.0.0.1", 0))
    there.numbers = {"DMLC_NUM_SERVER": "1", "DMLC_NUM_WORKER": "2"}
    there.wanted = {"server": 1, "worker": 2}
    hello = {"process": "late", "role": "worker", "flags": {}, **there.numbers}
    assert not there.welcome(Writer(), **hello).writer
    there.complain()
    (line,) = there.welcome(Writer(), **hello).writer
    assert json.loads(line) == {"note": "the scheduler is still waiting for 1 server(s)"}
    assert "still waiting for 1 server(s) and 1 worker(s)" in capfd.readouterr().err
    there.listener.close()


def test_who_says_no_hello_is_closed(monkeypatch):
    """Whoever sends blanks too."""
    monkeypatch.setattr(scheduler, "HELLO_WITHIN", 1)
    monkeypatch.setattr(scheduler, "MAX_STRANGERS", 20)
    one = scheduler.Scheduler(("127.0.0.1", 0))
    hello = {"DMLC_NUM_SERVER": "1", "DMLC_NUM_WORKER": "1"}
    threading.Thread(target=one.meet, args=[hello], daemon=True).start()
    connections = [socket.create_connection(one.listener.getsockname()) for _ in range(30)]
    began = time.monotonic()
    for connection in connections:
        connection.settimeout(5)
        with contextlib.suppress(ConnectionError):
            connection.send(b" ")
            assert connection.recv(1) == b""
    assert time.monotonic() - began < 4
    assert not one.members and not one.met.is_set()
    one.met.set()  # its thread ends
    for connection in connections:
        connection.close()


def test_a_fault_of_the_program_in_one_worker_ends_all(tmp_path):
    write_digits(tmp_path / "digits")
    flags = (*FLAGS, "--data_dir", "digits", "--kvstore", "dist_sync", "--epochs", "9")
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import main"
    script += """
from process.startup import prepare_mxnet
import os
role = os.environ.pop("DMLC_ROLE"); prepare_mxnet(); os.environ["DMLC_ROLE"] = role
import train
def broken(*args): raise TypeError("no such thing")
train.train_epoch = broken
main.main(sys.argv[1:])
"""
    *envs, env = environments(1, 2)
    processes = [start(*flags, cwd=tmp_path, env=one) for one in envs]
    command = [sys.executable, "-c", script, *map(str, flags)]
    processes.append(
        subprocess.Popen(command, cwd=tmp_path, env=env, stdout=-1, stderr=-1, text=True)
    )
    for done in finish(processes):
        assert done.status == 1
        line = done.err.strip().splitlines()[-1]
        assert "TypeError, a fault of this program: see above" in line, done.err


@pytest.mark.parametrize("line", [b"HTTP/1.1 400 Bad Request\r\n", b"0\n"])
def test_what_is_no_scheduler_is_named(tmp_path, line):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        *_, env = environments(1, 1)
        process = start(
            "--train", "--kvstore", "dist_sync",
            cwd=tmp_path, env={**env, "DMLC_PS_ROOT_PORT": str(port)},
        )  # fmt: skip
        connection, _ = server.accept()
        with connection:
            connection.sendall(line)
            (done,) = finish([process])
    assert_one_line(done, f"what answers at 127.0.0.1:{port} is no scheduler")


def test_a_host_may_be_named(tmp_path):
    write_digits(tmp_path / "digits")
    flags = (*FLAGS, "--data_dir", "digits", "--kvstore", "dist_sync", "--epochs", 1)
    commands = environments(1, 1)
    processes = [
        start(*flags, cwd=tmp_path, env={**env, "DMLC_PS_ROOT_URI": "localhost"})
        for env in commands
    ]
    done = finish(processes)
    assert [one.status for one in done] == [0] * 3, done
    assert done[0].out.startswith("scheduler: waiting at 127.0.0.1:")


def test_ctrl_c_on_the_line_of_the_page_ends_all(tmp_path):
    """As a terminal does it: SIGINT for the whole group in the foreground."""
    write_digits(tmp_path / "digits")
    page = (ROOT / "docs" / "several_machines.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\(trap .*\)$", page, re.M)
    line = line.replace("python main.py", f"{sys.executable} {ROOT / 'main.py'} --data_dir digits")
    (export,) = set(re.findall(r"^export .*127\.0\.0\.1.*$", page, re.M))
    port = re.search(r"ROOT_PORT=(\d+)", export).group(1)
    free = environments(1, 2)[0]["DMLC_PS_ROOT_PORT"]
    shell = subprocess.Popen(
        ["bash", "-c", f"{export.replace(port, free)}\n{line}"],
        cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    for text in shell.stdout:
        if "Epoch [0]" in text:
            break
    children = psutil.Process(shell.pid).children(recursive=True)
    assert len(children) >= 4
    os.killpg(shell.pid, signal.SIGINT)
    _, err = shell.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive and "Traceback" not in err


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("DMLC_PS_ROOT_URI", "", "Several machines"),
        ("DMLC_PS_ROOT_URI", "no.such.host.invalid", "DMLC_PS_ROOT_URI"),
        ("DMLC_PS_ROOT_URI", "a..b", "no name of a machine"),
        ("DMLC_PS_ROOT_PORT", "70000", "Several machines"),
        ("DMLC_NUM_SERVER", "0", "Several machines"),
        ("DMLC_NUM_WORKER", "two", "Several machines"),
    ],
)
def test_a_wrong_environment_is_one_line(tmp_path, monkeypatch, name, value, words):
    variables = {"URI": "127.0.0.1", "PORT": "9000"}
    for variable, default in variables.items():
        monkeypatch.setenv(f"DMLC_PS_ROOT_{variable}", default)
    monkeypatch.setenv("DMLC_NUM_SERVER", "1")
    monkeypatch.setenv("DMLC_NUM_WORKER", "1")
    monkeypatch.setenv("DMLC_ROLE", "worker")
    monkeypatch.setenv(name, value)
    done = run("--train", "--kvstore", "dist_sync", cwd=tmp_path)
    assert_one_line(done, name, words)


def test_a_port_in_use_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        env = {
            **os.environ, "DMLC_ROLE": "scheduler", "DMLC_PS_ROOT_URI": "127.0.0.1",
            "DMLC_PS_ROOT_PORT": str(taken.getsockname()[1]), "DMLC_NUM_SERVER": "1",
            "DMLC_NUM_WORKER": "1",
        }  # fmt: skip
        done = run("--train", "--kvstore", "dist_sync", cwd=tmp_path, env=env)
    assert_one_line(done, "in use", "DMLC_PS_ROOT_PORT")


def test_servers_hold_centers_of_zeros_too():
    centers = mx.nd.array([[0, 0], [1, 2], [0, 0]])
    rows = with_every_row(centers)
    assert rows.indices.asnumpy().tolist() == [0, 1, 2]
    np.testing.assert_array_equal(rows.tostype("default").asnumpy(), centers.asnumpy())


def test_it_needs_a_training(tmp_path):
    done = run("--test", "--kvstore", "dist_sync", cwd=tmp_path)
    assert_one_line(done, "--train", status=2)
