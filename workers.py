"""Training by several processes, on one machine or many, around MXNet's parameter server.

Every worker takes its share of every batch. With ``dist_sync`` the servers add up the gradients
of all workers, who then make the same step; with ``dist_async`` each worker makes a step of its
own and the servers add up these steps, in the order in which they come. The centers live on the
servers row by row, so that a step moves those of its own batch only.
"""

import ctypes
import functools
import itertools
import json
import os
import signal
import sys
import threading

import mxnet as mx
import numpy as np
from mxnet.base import _LIB, check_call
from mxnet.kvstore.kvstore_server import KVStoreServer

from runtime import CLUSTER, note_signals

PLAN_BYTES = 2**14
SCHEDULER = 1  # ps-lite's number for it


class Exchange(mx.optimizer.Optimizer):
    """What a server makes of what the workers push: it keeps a sum, or subtracts it.

    Parameters
    ----------
    sync : bool
        Dense pushes are gradients, whose sum over the workers they pull again; otherwise, and
        for row-sparse pushes always, they are steps to be subtracted from the parameters.
    """

    def __init__(self, sync):
        super().__init__()
        self.sync = sync

    def create_state(self, index, weight):
        return None

    def update(self, index, weight, grad, state):
        if self.sync and grad.stype == "default":
            weight[:] = grad
        else:
            mx.nd.sgd_update(weight, grad, out=weight, lr=1, wd=0)


class Workers:
    """This worker among the others.

    Attributes
    ----------
    rank, size : int
        Which worker this is, and of how many. Rank 0 evaluates, and writes the files.
    """

    def __init__(self, kvstore):
        announce()
        self.stop_watching = watch()
        self.kv = mx.kv.create(kvstore)
        note_signals()
        self.sync = kvstore == "dist_sync"
        self.rank, self.size = self.kv.rank, self.kv.num_workers
        for name in ("stdout", "stderr"):
            setattr(sys, name, Tagged(getattr(sys, name), f"[rank {self.rank}] "))
        if self.rank == 0:
            self.kv.set_optimizer(Exchange(self.sync))
        self.kv._barrier()
        self.keys = itertools.count()

    def share(self, plan=None):
        """Give rank 0's `plan`, anything that JSON can hold, to every worker."""
        text = json.dumps(plan).encode().ljust(PLAN_BYTES)
        array = mx.nd.array(np.frombuffer(text, np.uint8))
        self.spread([array])
        return json.loads(array.asnumpy().astype(np.uint8).tobytes())

    def spread(self, arrays):
        """Overwrite `arrays`, copies of one on several devices, by rank 0's; returns their key."""
        key = next(self.keys)
        self.kv.init(key, arrays[0])
        self.kv.pull(key, out=arrays)
        return key

    def begin(self, learner, momentum):
        """Start every worker from rank 0's parameters and, if there is `momentum`, with that."""
        trainer = learner.trainers[0][0]
        keys = {p.name: self.spread(p.list_data()) for p in learner.net.collect_params().values()}
        self.network = [(keys[param.name], param) for param in trainer._params]
        for i, param in enumerate(trainer._params if momentum else ()):
            for updater, ctx in zip(trainer._updaters, param.list_ctx()):
                updater.states.setdefault(i, mx.nd.zeros(param.shape, ctx))
                updater.states_synced[i] = True
            self.spread([updater.states[i] for updater in trainer._updaters])
        self.centers = None
        if learner.center_loss is not None:
            (centers,) = learner.center_loss.collect_params().values()
            if centers.grad_req == "null":
                self.spread(centers.list_data())
            else:
                self.centers, self.centers_key = centers, next(self.keys)
                self.kv.init(self.centers_key, with_every_row(centers.list_data()[0]))
                self.pull_centers()

    def pull_centers(self, label=None):
        """Fetch the centers of these classes, an NDArray; by default all."""
        if self.centers is None:
            return
        if label is None:
            label = mx.nd.arange(self.centers.shape[0], dtype="int64")
        rows = mx.nd.sparse.zeros("row_sparse", self.centers.shape)
        self.kv.row_sparse_pull(self.centers_key, out=rows, row_ids=label.astype("int64"))
        for data in self.centers.list_data():
            data[rows.indices.as_in_context(data.context)] = rows.data.as_in_context(data.context)

    def step(self, learner):
        """Make a step from the gradients of all workers (sync), or from these alone (async)."""
        trainer, _, divisor = learner.trainers[0]
        if self.sync:
            trainer.allreduce_grads()
            for key, param in self.network:
                self.kv.push(key, param.list_grad()[0], priority=-key)
                self.kv.pull(key, out=param.list_grad(), priority=-key)
            trainer.update(divisor)
        else:
            before = [param.list_data()[0].copy() for _, param in self.network]
            trainer.step(divisor)
            for (key, param), old in zip(self.network, before):
                self.kv.push(key, old - param.list_data()[0], priority=-key)
                self.kv.pull(key, out=param.list_data(), priority=-key)
        if self.centers is not None:
            trainer, _, divisor = learner.trainers[1]
            trainer.allreduce_grads()
            gradient = self.centers.list_grad()[0]
            self.kv.push(self.centers_key, gradient * (trainer.learning_rate / divisor))

    def finish_epoch(self, losses):
        """Wait for every worker's last step, and fetch what all of them made.

        Parameters
        ----------
        losses : (steps, criteria) float array
            This worker's sums.

        Returns
        -------
        (steps, criteria) float64
            The sums of all workers.
        """
        total = mx.nd.zeros(losses.shape)
        key = self.spread([total])
        self.kv.push(key, mx.nd.array(losses))
        mx.nd.waitall()
        self.kv._barrier()
        self.kv.pull(key, out=total)
        for key, param in self.network if not self.sync else ():
            self.kv.pull(key, out=param.list_data())
        self.pull_centers()
        mx.nd.waitall()
        self.kv._barrier()  # the next epoch must not begin while someone still fetches this one
        return np.abs(total.asnumpy().astype(np.float64))  # dist_async subtracts

    def leave(self):
        """Wait until every worker is here; then end the servers."""
        self.kv._barrier()
        self.stop_watching()
        del self.kv  # the only reference: MXNet ends the servers when it goes


def with_every_row(array):
    """A row-sparse copy that holds rows of zeros too, as a server must."""
    every = mx.nd.arange(len(array), dtype="int64")
    return mx.nd.sparse.row_sparse_array((array, every), shape=array.shape)


@functools.lru_cache(maxsize=1)  # ps-lite starts once in a process
def join(kvstore):
    """Become a worker among others.

    Parameters
    ----------
    kvstore : {'device', 'dist_sync', 'dist_async'}

    Returns
    -------
    Workers, or None where this process trains alone (``device``)
    """
    return None if kvstore == "device" else Workers(kvstore)


def serve():
    """Be the server or the scheduler that ``DMLC_ROLE`` asks for, until the workers have left."""
    announce()
    stop_watching = watch()
    KVStoreServer(mx.kv.create("dist")).run()
    stop_watching()


def announce():
    """Say who is waited for, and let signals end the wait."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_DFL)  # a handler of Python's would wait as long as we do
    role, host, port, servers, workers = (os.environ[name] for name in ("DMLC_ROLE", *CLUSTER))
    print(
        f"{role}: waiting for the scheduler at {host}:{port}, {servers} server(s) and "
        f"{workers} worker(s)",
        flush=True,
    )


def watch():
    """End this process when another one dies; returns a function that ends the watch.

    The scheduler hears everyone's heart beat, the others hear the scheduler's: so it is the first
    to end, and they follow. Nothing in MXNet would ever tell a worker that waits for a dead one.
    """
    handle, role = ctypes.c_void_p(), os.environ["DMLC_ROLE"]
    # Only a worker's key-value store waits for the others at its creation, and at its end, which
    # this one does not have. That of a worker would be too late: some may die while others wait.
    os.environ["DMLC_ROLE"] = "scheduler"
    check_call(_LIB.MXKVStoreCreate(b"dist", ctypes.byref(handle)))
    os.environ["DMLC_ROLE"] = role
    if role == "scheduler":
        nodes = {8 + 2 * i: f"server {i}" for i in range(int(os.environ["DMLC_NUM_SERVER"]))}
        nodes.update({9 + 2 * i: f"rank {i}" for i in range(int(os.environ["DMLC_NUM_WORKER"]))})
    else:
        nodes = {SCHEDULER: "the scheduler"}
    timeout, done = int(os.environ["PS_HEARTBEAT_TIMEOUT"]), threading.Event()

    def is_silent(node):
        count = ctypes.c_int()
        check_call(_LIB.MXKVStoreGetNumDeadNode(handle, node, ctypes.byref(count), timeout))
        return count.value > 0

    def look():
        before = set()
        while not done.wait(1):
            silent = {name for node, name in nodes.items() if is_silent(node)}
            # Once is not enough: for a moment, just when all have met, ps-lite calls all silent.
            for name in silent & before:
                print(
                    f"main.py: error: {name} has ended or cannot be reached: start all "
                    "processes again, with --resume",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
                os._exit(1)
            before = silent

    thread = threading.Thread(target=look, daemon=True)
    thread.start()

    def stop():
        done.set()
        thread.join()

    return stop


class Tagged:
    """A text stream that puts a tag in front of every line."""

    def __init__(self, stream, tag):
        self.stream, self.tag, self.fresh = stream, tag, True

    def write(self, text):
        for line in text.splitlines(keepends=True):
            self.stream.write(self.tag + line if self.fresh else line)
            self.fresh = line.endswith("\n")
        return len(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)
