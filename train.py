"""The actions that train: a network from scratch, or a second time with center loss alone."""

import argparse
import contextlib
import hashlib
import os
import platform
import sys
import time
from typing import NamedTuple, Optional

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from tqdm import tqdm

import plotting
import runs
from center_loss import CenterLoss
from data import SPLITS, batches, load_dataset
from runtime import Interrupted, UserError
from utils import (
    MODEL_FLAGS,
    adopt_flags,
    build,
    centers_of,
    check_finite,
    choose_contexts,
    evaluate,
    get_params,
    load_params,
    open_run,
    same_data,
    set_params,
    warn_of_other_data,
)
from workers import Workers, join

TRAINING_FLAGS = MODEL_FLAGS + (
    "formulation", "lmbd", "alpha", "lr", "lr_step", "lr_factor", "batch_size", "wd", "momentum",
    "seed", "eval_method", "plotting",
)  # fmt: skip
READ_EVERY = 8  # steps between two looks at the losses


def train(args, given, second=False):
    """Train a run, or train it a second time with center loss alone and fixed centers.

    Parameters
    ----------
    args : argparse.Namespace
        All flags.
    given : set of str
        The flags that the user gave; the others yield to what a run's record says.
    second : bool
        Start from the best network of the run `prefix`, and write the run ``<prefix>-second``.

    Raises
    ------
    UserError
        Anything that the user can mend. What was finished before is kept.
    Interrupted
        A signal came.
    """
    workers = join(args.kvstore)
    if workers and workers.rank:
        follow(args, workers)
        return
    run = runs.Run(f"{args.prefix}-second" if second else args.prefix, args.ckpt_dir, args.out_dir)
    with run.locked():
        record = run.read_record() if args.resume else None
        if record:
            names = TRAINING_FLAGS if second else (*TRAINING_FLAGS, "center_loss")
            args = adopt_flags(args, given, record, names)
            if "epochs" not in given:
                args.epochs = record["flags"]["epochs"]
            if len(record["history"]) >= args.epochs:
                print(f"{run.prefix}: all {len(record['history'])} epochs are finished")
                if workers:
                    workers.share(None)
                return
            run.settle(record)
        elif run.record.exists():
            print(f"{run.prefix}: a new run replaces the old one when its first epoch is finished")
        start, started_from = {}, None
        if second and not record:
            args, started_from, start = open_run(args, given, needs_centers_for="--second_train")
        if args.eval_method == "knn" and not (second or args.center_loss):
            raise UserError("--eval_method knn needs centers: train with --center_loss")
        contexts = choose_contexts(args.use_gpu, args.gpus)
        dataset = load_dataset(args.dataset, args.data_dir, args.num_classes)
        check_split(len(dataset.train.labels), args.batch_size, len(contexts), workers)
        learner = new_learner(args, dataset, contexts, second, workers)
        load_params(start, learner.net, learner.center_loss)
        if record:
            check_same_surroundings(record, dataset, contexts, workers)
            load_state(run.read_params(run.resume, record), learner, run.resume)
            record["flags"]["epochs"] = args.epochs
        else:
            warn_of_other_data(started_from, dataset)
            record = new_record(args, second, run, dataset, contexts, workers, started_from)
        first = len(record["history"])
        if workers:
            workers.share(
                {
                    "flags": record["flags"],
                    "second": second,
                    "first": first,
                    "data": dataset.record()["sha256"],
                }
            )
            workers.begin(learner, momentum=bool(first and args.momentum))
        print(
            f"{run.prefix}: {' + '.join(learner.criteria)} loss, {args.model} on {dataset.name} "
            f"({len(dataset.train.labels)} images) with {', '.join(map(str, contexts))}",
            flush=True,
        )
        for epoch in range(first, args.epochs):
            with telling_what_is_kept(run, epoch):
                accuracy = finish_epoch(args, run, record, dataset, learner, contexts, epoch)
            print(
                f"Epoch [{epoch}]: Loss={record['moving_loss']:.6f}, "
                f"Train-Acc={accuracy['train']:.6f}, Test-Acc={accuracy['test']:.6f}, "
                f"Epoch-time={record['history'][-1]['seconds']:.6f}",
                flush=True,
            )
        best = record["best"]
        print(
            f"Best test accuracy by {args.eval_method}: {best['accuracy']:.6f} "
            f"in epoch {best['epoch']}, kept in {run.best}; "
            f"last: {record['history'][-1][f'test_{args.eval_method}']:.6f}\n"
            f"History{' and pictures' * args.plotting}: {run.picture('*')}"
        )


def follow(args, workers):
    """Train as the worker of rank 0 does, without evaluating or writing anything.

    Parameters
    ----------
    args : argparse.Namespace
        All flags; what the run depends on is taken from rank 0.
    workers : Workers

    Raises
    ------
    UserError
        Anything that the user can mend.
    Interrupted
        A signal came.
    """
    plan = workers.share()
    if plan is None:
        return
    args = argparse.Namespace(**{**vars(args), **plan["flags"]})
    contexts = choose_contexts(args.use_gpu, args.gpus)
    dataset = load_dataset(args.dataset, args.data_dir, args.num_classes)
    if dataset.record()["sha256"] != plan["data"]:
        raise UserError(f"{dataset.name} has other images or labels here than at rank 0")
    check_split(len(dataset.train.labels), args.batch_size, len(contexts), workers)
    learner = new_learner(args, dataset, contexts, plan["second"], workers)
    workers.begin(learner, momentum=bool(plan["first"] and args.momentum))
    for epoch in range(plan["first"], args.epochs):
        set_learning_rates(learner, args, epoch)
        order = shuffled(len(dataset.train.labels), args.seed, epoch)
        try:
            train_epoch(learner, dataset.train, args.batch_size, contexts, order, f"Epoch {epoch}")
        except Interrupted as one:
            raise Interrupted(one.signum, "rank 0 keeps the finished epochs", True) from one
        print(f"Epoch [{epoch}]: parameters {digest(learner)}", flush=True)


@contextlib.contextmanager
def telling_what_is_kept(run, epoch):
    """Add to what ends an epoch early what is left of the run, and whether --resume goes on."""
    kept = f"{run.prefix} is kept up to epoch {epoch - 1}" if epoch else "no epoch is finished yet"
    try:
        yield
    except Interrupted as interrupted:
        resume = epoch > 0 or not run.record.exists()  # the record of an older run is not ours
        raise Interrupted(interrupted.signum, kept, resume) from interrupted
    except UserError as error:
        raise UserError(f"{error}; {kept}") from error


# --- the epoch loop ----------------------------------------------------------------------------


def finish_epoch(args, run, record, dataset, learner, contexts, epoch):
    """Train an epoch, evaluate, draw, and commit: the last is what makes it count.

    Returns
    -------
    dict of str to float
        Accuracies of ``train`` and ``test`` by the chosen method.
    """
    set_learning_rates(learner, args, epoch)
    order = shuffled(len(dataset.train.labels), args.seed, epoch)
    began = time.time()
    losses, sizes = train_epoch(
        learner, dataset.train, args.batch_size, contexts, order, f"Epoch {epoch}"
    )
    seconds = time.time() - began
    for value in losses.sum(axis=1) / sizes:
        moving = record["moving_loss"]
        record["moving_loss"] = value if moving is None else 0.99 * moving + 0.01 * value
    accuracy, maps, centers = {}, {}, centers_of(learner.center_loss)
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        accuracies, maps[name] = evaluate(learner.net, centers, split, contexts[0])
        accuracy.update((f"{name}_{method}", value) for method, value in accuracies.items())
    means = dict(zip(learner.criteria, losses.sum(axis=0) / sizes.sum()))
    row = {
        "epoch": epoch,
        "dataset": dataset.name,
        "lr": learner.trainers[0][0].learning_rate,
        "loss": record["moving_loss"],
        "softmax_loss": means.get("softmax"),
        "center_loss": means.get("center"),
        "train_softmax": accuracy["train_softmax"],
        "test_softmax": accuracy["test_softmax"],
        "train_knn": accuracy.get("train_knn"),
        "test_knn": accuracy.get("test_knn"),
        "seconds": round(seconds, 6),
    }
    record["history"].append(row)
    draw(args, run, record, dataset, maps, last=epoch == args.epochs - 1)
    save(record, run, learner, row[f"test_{args.eval_method}"])
    return {name: row[f"{name}_{args.eval_method}"] for name in maps}


def train_epoch(learner, split, batch_size, contexts, order, name):
    """Go through the training set once.

    Nothing here waits for the step under way: the losses are looked at some steps later.

    Parameters
    ----------
    learner : Learner
    split : data.Split
        N images.
    batch_size : int
    contexts : list of mxnet.Context
    order : (N,) int array
        The rows in the order of this epoch.
    name : str
        Of the epoch, for progress bar and messages.

    Returns
    -------
    losses : (steps, len(learner.criteria)) float64
        The losses of each step, summed over its batch.
    sizes : (steps,) int64
        The number of images of each step.

    Raises
    ------
    UserError
        A loss is not finite.
    """
    pending, losses, sizes = [], [], []
    workers = learner.workers
    rank, size = (workers.rank, workers.size) if workers else (0, 1)

    def read(count):
        for sums in pending[:count]:
            losses.append(sum(one.asnumpy().astype(np.float64) for one in sums))
            check_finite(losses[-1], f"{name}, step {len(losses) - 1}: the loss")
        del pending[:count]

    with tqdm(total=len(order), desc=name, unit=" images", leave=False, disable=None) as bar:
        for slices in batches(split, batch_size, contexts, order, rank, size):
            if workers:
                for _, label, _ in slices:
                    workers.pull_centers(label)
            pending.append(train_step(learner, slices))
            sizes.append(len(slices[0][2]))
            bar.update(sizes[-1])
            if len(pending) == 2 * READ_EVERY:
                read(READ_EVERY)
                bar.set_postfix(loss=f"{losses[-1].sum() / batch_size:.4f}", refresh=False)
        read(len(pending))
    if workers:
        losses = workers.finish_epoch(np.array(losses))
    mx.nd.waitall()
    return np.array(losses), np.array(sizes)


def train_step(learner, slices):
    """Make one step; returns the sums of the losses, (len(criteria),), one NDArray a device."""
    device_losses = backward(learner, slices)
    if learner.workers:
        learner.workers.step(learner)
    else:
        for trainer, _, divisor in learner.trainers:
            trainer.step(divisor)
    return [mx.nd.concat(*[loss.sum() for loss in losses], dim=0) for losses in device_losses]


def backward(learner, slices):
    """Give the parameters their gradients; returns the losses, a list a device, each (b,)."""
    device_losses = []
    with autograd.record():
        for image, label, batch_label in slices:
            output, feature = learner.net(image)
            device_losses.append(
                [loss(output, feature, label, batch_label) for loss in learner.criteria.values()]
            )
    autograd.backward([loss for losses in device_losses for loss in losses])
    return device_losses


def set_learning_rates(learner, args, epoch):
    factor = args.lr_factor ** (epoch // args.lr_step)
    for trainer, lr, _ in learner.trainers:
        trainer.set_learning_rate(lr * factor)


def shuffled(size, seed, epoch):
    """The order of an epoch: it depends on nothing else, so a resumed run has the same."""
    return np.random.RandomState([seed, epoch]).permutation(size)


# --- what is trained ---------------------------------------------------------------------------


class Learner(NamedTuple):
    """A network with the losses and the optimizers that train it.

    Attributes
    ----------
    net : FeatureNet
    center_loss : CenterLoss or None
    criteria : dict of str to function
        Losses by name, functions of (output, feature, label, batch_label) that give (B,).
    trainers : list of (gluon.Trainer, float, int)
        Each with its learning rate and with what its gradients are divided by; the first is the
        network's.
    workers : Workers, optional
        Those that train the same network together.
    """

    net: gluon.HybridBlock
    center_loss: Optional[CenterLoss]
    criteria: dict
    trainers: list
    workers: Optional[Workers] = None


def new_learner(args, dataset, contexts, second, workers=None):
    """Make what `train` or, if `second`, second_train trains, initialized from the seed."""
    net, center_loss = build(args, dataset, contexts, centered=second or args.center_loss)
    # Of dist_async's workers each makes steps of its own, which together must decay as one does.
    wd = args.wd / workers.size if workers and not workers.sync else args.wd
    sgd = {"learning_rate": args.lr, "wd": wd, "momentum": args.momentum}
    criteria = {}
    if not second:
        cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()
        cross_entropy.hybridize(static_alloc=True)
        criteria["softmax"] = lambda output, feature, label, whole: cross_entropy(output, label)
    if center_loss is not None:
        criteria["center"] = lambda output, feature, label, whole: center_loss(
            feature, label, whole
        )
    # Center loss alone gives the classifier no gradient, and weight decay must not wear it away.
    trainers = [(new_trainer(net.features if second else net, **sgd), args.lr, args.batch_size)]
    if second:
        center_loss.collect_params().setattr("grad_req", "null")  # or all would meet at one point
    elif center_loss is not None:
        # The paper's update is a mean already, which Gluon's Trainer must not divide again.
        divisor = 1 if args.formulation == "paper" else args.batch_size
        trainers.append((new_trainer(center_loss, learning_rate=args.alpha), args.alpha, divisor))
    return Learner(net, center_loss, criteria, trainers, workers)


def new_trainer(block, **sgd):
    # Updates stay with the Trainer, where `save` finds the momentum, not with a kvstore.
    return gluon.Trainer(block.collect_params(), "sgd", sgd, update_on_kvstore=False)


def check_split(size, batch_size, devices, workers=None):
    smallest = min(size % batch_size or batch_size, batch_size, size)
    if smallest // (workers.size if workers else 1) < devices:
        raise UserError(
            f"{size} images in batches of {batch_size} leave one of {smallest}, too small for "
            f"{devices} devices{' of each worker' * bool(workers)}: choose another --batch_size"
        )


# --- records -----------------------------------------------------------------------------------


def new_record(args, second, run, dataset, contexts, workers, started_from):
    """The record of a run that has no epoch yet; `started_from` is that of another run, or None."""
    flags = ("epochs", *TRAINING_FLAGS, *(() if second else ("center_loss",)))
    return {
        "prefix": run.prefix,
        "action": "second_train" if second else "train",
        "started_from": started_from
        and {"prefix": started_from["prefix"], "epoch": started_from["best"]["epoch"]},
        "flags": {name: getattr(args, name) for name in flags},
        "dataset": dataset.record(),
        **surroundings(contexts, workers),
        "best": None,
        "moving_loss": None,
        "history": [],
        "sha256": {},
    }


def surroundings(contexts, workers):
    """What the numbers of a run depend on beside its flags and data."""
    return {
        "versions": {
            "python": platform.python_version(),
            "mxnet": mx.__version__,
            "numpy": np.__version__,
        },
        "threads": os.environ["OMP_NUM_THREADS"],
        "devices": [str(ctx) for ctx in contexts] * (workers.size if workers else 1),
    }


def check_same_surroundings(record, dataset, contexts, workers):
    """Refuse to resume with other data; warn of what may change the last bits."""
    if not same_data(record, dataset):
        raise UserError(
            f"--dataset or --data_dir contradicts the run {record['prefix']}: it was trained on "
            f"{record['dataset']['name']}, and this is {dataset.name} with other images or labels"
        )
    for name, value in surroundings(contexts, workers).items():
        if record[name] != value:
            print(
                f"WARNING: {name} of {record['prefix']} were {record[name]}, now {value}: "
                "it will not end with the bits it would have had",
                file=sys.stderr,
            )


def save(record, run, learner, accuracy):
    """Commit a finished epoch; a better network than all before becomes the best one."""
    network = get_params(learner.net)
    centers = {} if learner.center_loss is None else get_params(learner.center_loss)
    state = {f"network.{name}": array for name, array in network.items()}
    state.update((f"centers.{name}", array) for name, array in centers.items())
    trainer = learner.trainers[0][0]
    names = structural_names(learner.net)
    for i, momentum in trainer._updaters[0].states.items():
        if momentum is not None:
            state[f"momentum.{names[trainer._params[i].name]}"] = momentum.asnumpy()
    files = {run.resume: runs.pack_params(state)}
    if record["best"] is None or accuracy > record["best"]["accuracy"]:
        record["best"] = {"epoch": record["history"][-1]["epoch"], "accuracy": accuracy}
        files[run.best] = runs.pack_params(network)
        if centers:
            files[run.feature_matrix] = runs.pack_params(centers)
    run.commit(record, files)


def load_state(arrays, learner, source):
    """Put back what `save` kept for --resume."""
    parts = {"network": {}, "centers": {}, "momentum": {}}
    for key, array in arrays.items():
        part, _, name = key.partition(".")
        parts[part][name] = array
    set_params(learner.net, parts["network"], source)
    if learner.center_loss is not None:
        set_params(learner.center_loss, parts["centers"], source)
    trainer = learner.trainers[0][0]
    names = structural_names(learner.net)
    for updater, ctx in zip(trainer._updaters, trainer._contexts):
        for i, param in enumerate(trainer._params):
            momentum = parts["momentum"].get(names[param.name])
            if momentum is not None:
                updater.states[i] = mx.nd.array(momentum, ctx)
                updater.states_synced[i] = True


def digest(learner):
    """A few digits that tell whether two workers have the same parameters."""
    arrays = {**get_params(learner.net), **get_params(learner.center_loss or gluon.Block())}
    return hashlib.sha256(runs.pack_params(arrays)).hexdigest()[:12]


def structural_names(net):
    """A Trainer knows parameters by names that count the networks made before; files do not."""
    return {param.name: name for name, param in net._collect_params_with_prefix().items()}


def draw(args, run, record, dataset, maps, last):
    """Write the table of the history and the pictures of an epoch; the last makes GIFs of them."""
    runs.write_atomically(run.picture("history.csv"), runs.history_csv(record["history"]))
    row = record["history"][-1]
    for split in maps if args.plotting else ():
        picture = plotting.feature_map(
            maps[split], getattr(dataset, split).labels, args.num_classes,
            f"{run.prefix}\n{dataset.name}, {SPLITS[split]} set, epoch {row['epoch']}: "
            f"accuracy {row[f'{split}_{args.eval_method}']:.4f} ({args.eval_method})",
        )  # fmt: skip
        runs.write_atomically(run.picture(f"{split}-epoch-{row['epoch']}.png"), picture)
    if last:
        curves = plotting.curves(record["history"], f"{run.prefix}, {dataset.name}")
        runs.write_atomically(run.picture("curves.png"), curves)
        for split in maps if args.plotting else ():
            frames = [run.picture(f"{split}-epoch-{i}.png") for i in range(args.epochs)]
            frames = [frame for frame in frames if frame.is_file()]
            runs.write_atomically(run.picture(f"{split}.gif"), plotting.gif(frames))
