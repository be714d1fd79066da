"""Several processes: what a step sends, dense and row-sparse

Two workers and a server of MXNet's parameter server on this machine, each worker pushing the
gradients of the centers of a batch of 128 labels and pulling these centers. The bytes are those
that the loopback device counted.
"""

import csv
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.harness import ROOT
from process.console import table
from process.startup import prepare_mxnet

FEATURE_SIZE, STEPS, SHARE = 128, 10, 64


def run(smoke):
    rows = []
    for num_classes in (1000,) if smoke else (1000, 10_000, 100_000):
        sent = {kind: bytes_a_step(kind, num_classes) for kind in ("dense", "row_sparse")}
        model = {
            "dense": 2 * 2 * 4 * num_classes * FEATURE_SIZE,
            "row_sparse": 2 * 2 * (4 * FEATURE_SIZE + 8) * SHARE + 2 * 8 * SHARE,
        }
        rows += [
            (f"{num_classes:,} x {FEATURE_SIZE}", kind, f"{sent[kind]:,.0f}", f"{model[kind]:,}",
             f"{sent[kind] / model[kind]:.2f}")
            for kind in sent
        ]  # fmt: skip
    header = ("centers", "kind", "bytes a step", "by arithmetic", "ratio")
    return (
        f"{table(header, rows)}\n\nBy arithmetic, for W = 2 workers: dense W x (push + pull) x 4 "
        f"x C x d; row-sparse, with b = {SHARE} labels a worker, W x (push + pull) x b x (4 x d + "
        "8), and W x 8 x b for the indices that a pull asks for."
    )


def environments(servers, workers):
    """The environments of a scheduler, servers and workers on this machine, in this order."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_SERVER": str(servers),
        "DMLC_NUM_WORKER": str(workers),
    }
    roles = ["scheduler"] + ["server"] * servers + ["worker"] * workers
    return [{**env, "DMLC_ROLE": role} for role in roles]


def launch(workers, command, cwd):
    """Run `command` as scheduler, server and workers at once; returns what the workers print."""
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=cwd, env={**env, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
        )
        for env in environments(1, workers)
    ]  # fmt: skip
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"{command} failed")
    return outputs[2:]


def seconds_an_epoch(workers, epochs):
    """The median seconds of a training epoch of LeNet on mnist5k, by rank 0's history."""
    flags = ("--train", "--center_loss", "--dataset", "mnist5k", "--model", "lenet",
             "--kvstore", "dist_sync", "--epochs", str(epochs))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        launch(workers, [str(ROOT / "main.py"), *flags], folder)
        path = Path(folder, "output", "center-loss-history.csv")
        with open(path, newline="") as file:
            seconds = sorted(float(row["seconds"]) for row in csv.DictReader(file))
    return seconds[len(seconds) // 2]


def bytes_a_step(kind, num_classes):
    """What the loopback device carries for a step of two workers."""
    command = ["-m", "benchmarks.cluster", kind, str(num_classes)]
    outputs = launch(2, command, ROOT)
    return next(float(text) for text in outputs if text.strip())


def exchange(kind, num_classes):
    """One worker's steps; the worker of rank 0 prints the bytes of one step of both."""
    import mxnet as mx
    import numpy as np

    kv = mx.kv.create("dist_sync")
    if kv.rank == 0:
        kv.set_optimizer(mx.optimizer.SGD(learning_rate=1))
    kv._barrier()
    weight = mx.nd.ones((num_classes, FEATURE_SIZE))
    kv.init(0, weight if kind == "dense" else weight.tostype("row_sparse"))
    rows = np.random.RandomState(kv.rank).choice(num_classes, SHARE, replace=False)
    rows.sort()
    gradient = mx.nd.ones((SHARE, FEATURE_SIZE))
    if kind == "row_sparse":
        gradient = mx.nd.sparse.row_sparse_array((gradient, rows), shape=weight.shape)
    else:
        gradient = weight
    # A barrier and the pause after it make sure that only the steps lie between two counts.
    kv._barrier()
    time.sleep(1)
    before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
    kv._barrier()
    for _ in range(STEPS):
        kv.push(0, gradient)
        if kind == "row_sparse":
            out = mx.nd.sparse.zeros("row_sparse", weight.shape)
            kv.row_sparse_pull(0, out=out, row_ids=mx.nd.array(rows, dtype="int64"))
        else:
            kv.pull(0, out=weight)
        mx.nd.waitall()
    kv._barrier()
    time.sleep(1)
    sent = psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before
    if kv.rank == 0:
        print(sent / STEPS)
    kv._barrier()


if __name__ == "__main__":
    prepare_mxnet()
    if os.environ["DMLC_ROLE"] == "worker":
        exchange(sys.argv[1], int(sys.argv[2]))
    else:
        from cluster.workers import serve

        serve()
