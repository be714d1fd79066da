"""Training by one process or by several, on one machine or many, behind one interface.

Several are built around MXNet's parameter server. Every worker takes its share of every batch.
With ``dist_sync`` the servers add up the gradients of all workers, who then make the same step;
with ``dist_async`` each worker makes a step of its own and the servers add up these steps, in the
order in which they come. The centers live on the servers row by row, so that a step moves those
of its own batch only.
"""

import itertools
import json
import os

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.kvstore.kvstore_server import KVStoreServer

from cluster.watch import Watch
from process import console
from process.console import warn

MESSAGE_BYTES = 2**14


class Alone:
    """A process that trains by itself: worker `rank` of `size`, an int each; it `leads` where it
    has rank 0, which evaluates, and writes the files."""

    rank, size, leads = 0, 1, True

    def broadcast(self, value):
        """Rank 0's `value`, anything that JSON can hold."""
        return value

    def new_trainer(self, params, **sgd):
        """A Trainer of the network's parameters."""
        # Updates stay with the Trainer, where --resume finds the momentum, not with a kvstore.
        return gluon.Trainer(params, "sgd", sgd, update_on_kvstore=False)

    def new_center_trainer(self, params, **sgd):
        """A Trainer of the centers."""
        return self.new_trainer(params, **sgd)

    def begin(self, learner):
        """Start every worker from rank 0's parameters and momentum."""

    def fetch_centers(self, label):
        """Get the present centers of these classes, (b,) NDArray."""

    def finish_epoch(self, losses):
        """Wait for every worker's last step, and fetch what all of them made; from this worker's
        sums `losses`, (steps, losses) float, make those of all workers, in float64."""
        return losses

    def leave(self):
        """Wait until every worker is here; then end the servers."""


class Workers(Alone):
    """This worker among the others; `kvstore` is dist_sync or dist_async."""

    def __init__(self, kvstore, watch):
        self.sync = kvstore == "dist_sync"
        self.new_key = itertools.count().__next__
        self.kv = mx.kv.create(kvstore)
        self.rank, self.size = self.kv.rank, self.kv.num_workers
        self.leads = self.rank == 0
        console.tag = f"[rank {self.rank}] "
        self.watch = watch
        watch.follow(self.kv, self.leads)
        if self.leads:
            self.kv.set_optimizer(Exchange(self.sync))
        self.kv._barrier()

    def broadcast(self, value):
        # Of a fixed size, which the others must know before they receive it.
        text = json.dumps(value).encode().ljust(MESSAGE_BYTES)
        array = mx.nd.array(np.frombuffer(text, np.uint8))
        self.broadcast_arrays([array])
        return json.loads(array.asnumpy().astype(np.uint8).tobytes())

    def broadcast_arrays(self, arrays):
        """Overwrite `arrays`, copies of one on several devices, by rank 0's; returns their key."""
        key = self.new_key()
        self.kv.init(key, plain(arrays[0]))
        self.pull(key, arrays)
        return key

    def pull(self, key, arrays, priority=0):
        """Overwrite `arrays`, copies of one on several devices, by what the servers have."""
        buffer = mx.nd.empty(arrays[0].shape, dtype=arrays[0].dtype)
        self.kv.pull(key, out=buffer, priority=priority)
        for array in arrays:
            buffer.copyto(array)

    def new_trainer(self, params, **sgd):
        if self.sync:
            return SyncTrainer(self, params, sgd)
        # Each makes steps of its own, which together must decay as one does.
        return AsyncTrainer(self, params, {**sgd, "wd": sgd["wd"] / self.size})

    def new_center_trainer(self, params, **sgd):
        return CenterTrainer(self, params, sgd)

    def begin(self, learner):
        params = learner.net.collect_params()
        keys = {name: self.broadcast_arrays(param.list_data()) for name, param in params.items()}
        for arrays in learner.momentum().values():
            self.broadcast_arrays(arrays)
        self.trainers = learner.trainers
        for trainer, _, _ in self.trainers:
            trainer.begin(keys)
        if learner.center_loss is not None and len(self.trainers) == 1:  # they are fixed
            for param in learner.center_loss.collect_params().values():
                self.broadcast_arrays(param.list_data())

    def fetch_centers(self, label):
        for trainer, _, _ in self.trainers[1:]:
            trainer.fetch(label)

    def finish_epoch(self, losses):
        total = mx.nd.zeros(losses.shape)
        key = self.broadcast_arrays([total])
        # A server adds up what it is sent with dist_sync, and subtracts it with dist_async.
        self.kv.push(key, mx.nd.array(losses if self.sync else -losses))
        mx.nd.waitall()
        self.kv._barrier()
        self.kv.pull(key, out=total)
        for trainer, _, _ in self.trainers:
            trainer.fetch()
        mx.nd.waitall()
        self.kv._barrier()  # the next epoch must not begin while someone still fetches this one
        return total.asnumpy().astype(np.float64)

    def leave(self):
        self.kv._barrier()
        self.watch.leave()
        del self.kv  # the only reference: MXNet ends the servers when it goes


class SharedTrainer(gluon.Trainer):
    """A Trainer whose parameters or gradients go through the servers."""

    def __init__(self, workers, params, sgd):
        super().__init__(params, "sgd", sgd, update_on_kvstore=False)
        self.workers = workers
        self.trained = list(params.values())

    def begin(self, keys):
        """Take the keys, by name, of parameters that the servers hold already."""
        self.keyed = [(keys[param.name], param) for param in self.trained]

    def fetch(self):
        """Get the present parameters."""


class SyncTrainer(SharedTrainer):
    """Steps by the sum of all workers' gradients."""

    def step(self, divisor):
        self.allreduce_grads()
        for key, param in self.keyed:
            self.workers.kv.push(key, plain(param.list_grad()[0]), priority=-key)
            self.workers.pull(key, param.list_grad(), priority=-key)
        self.update(divisor)


class AsyncTrainer(SharedTrainer):
    """Steps by this worker's gradients, and sends the step."""

    def step(self, divisor):
        before = [param.list_data()[0].copy() for param in self.trained]
        super().step(divisor)
        for (key, param), old in zip(self.keyed, before):
            self.workers.kv.push(key, old - param.list_data()[0], priority=-key)
            self.workers.pull(key, param.list_data(), priority=-key)

    def fetch(self):
        for key, param in self.keyed:
            self.workers.pull(key, param.list_data())


class CenterTrainer(SharedTrainer):
    """Sends the steps of a batch's centers to the servers, which hold all centers."""

    def begin(self, keys):
        (self.centers,) = self.trained
        self.key = self.workers.new_key()
        self.workers.kv.init(self.key, with_every_row(self.centers.list_data()[0]))
        self.fetch()

    def step(self, divisor):
        self.allreduce_grads()
        gradient = self.centers.list_grad()[0]
        self.workers.kv.push(self.key, gradient * (self.learning_rate / divisor))

    def fetch(self, label=None):
        """Get the present centers of these classes, an NDArray; by default all."""
        if label is None:
            label = mx.nd.arange(self.centers.shape[0], dtype="int64")
        rows = mx.nd.sparse.zeros("row_sparse", self.centers.shape)
        self.workers.kv.row_sparse_pull(self.key, out=rows, row_ids=label.astype("int64"))
        for data in self.centers.list_data():
            data[rows.indices.as_in_context(data.context)] = rows.data.as_in_context(data.context)


class Exchange(mx.optimizer.Optimizer):
    """What a server makes of what the workers push.

    If `sync`, a dense push is a gradient, whose sum over the workers they pull again. Otherwise,
    and always if it is row-sparse, it is a step, which is subtracted from the parameters.
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


def plain(array):
    """A copy in MXNet's own layout, the only one that a kvstore takes: oneDNN has others."""
    return array * 1


def with_every_row(array):
    """A row-sparse copy that holds rows of zeros too, as a server must."""
    every = mx.nd.arange(len(array), dtype="int64")
    return mx.nd.sparse.row_sparse_array((array, every), shape=array.shape)


def join(kvstore):
    """Take this process's part in a training: an Alone or Workers; None where this was a server
    or the scheduler, and the workers have left."""
    if kvstore == "device":
        if "DMLC_ROLE" in os.environ:
            warn("DMLC_ROLE is set without --kvstore dist_sync or dist_async: this trains alone")
        return Alone()
    watch = Watch()
    console.tag = f"[{watch.role}] "
    watch.start()
    watch.find_scheduler()
    if watch.role == "worker":
        return Workers(kvstore, watch)
    server = KVStoreServer(mx.kv.create("dist"))
    watch.follow(server)
    server.run()
    watch.leave()
    return None
