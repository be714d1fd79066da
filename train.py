"""The actions that train: a network from scratch, or a second time with center loss alone."""

import contextlib
import time

import mxnet as mx
import numpy as np
from tqdm import tqdm

import plotting
from data import SPLITS, batches, load_dataset
from learner import Learner
from support.console import say
from support.errors import Interrupted, UserError
from support.network import centers_of, choose_contexts, restore
from support.recipe import EPOCHS, Recipe
from support.records import Epoch, Record, surroundings
from support.runs import SHIPPED, Run, find_run, open_run, write_atomically
from utils import check_finite, evaluate

READ_EVERY = 8  # steps between two looks at the losses


def train(args, workers, second=False):
    """Train a run, or train it a second time with center loss alone and fixed centers.

    Parameters
    ----------
    args : argparse.Namespace
        All flags, as `main.parse` gives them.
    workers : support.workers.Alone or Workers
        Rank 0 says what is trained, evaluates and writes the files.
    second : bool
        Start from the best network of the run `prefix`, and write the run ``<prefix>-second``.

    Raises
    ------
    UserError
        Anything that the user can mend. What was finished before is kept.
    Interrupted
        A signal came.
    """
    run = Run(f"{args.prefix}-second" if second else args.prefix, args.ckpt_dir, args.out_dir)
    with run.locked() if workers.leads else contextlib.nullcontext():
        job = Job.open(args, run, second) if workers.leads else None
        plan = workers.broadcast(job and job.plan)
        if plan is None:
            return
        recipe, epochs, first = Recipe(**plan["recipe"]), plan["epochs"], plan["first"]
        contexts = choose_contexts(args.use_gpu, args.gpus)
        dataset = load_dataset(args.dataset, args.data_dir, recipe.num_classes)
        if workers.broadcast(dataset.fingerprint)["sha256"] != dataset.fingerprint["sha256"]:
            raise UserError(f"{dataset.name} has other images or labels here than at rank 0")
        check_split(len(dataset.train.labels), recipe.batch_size, len(contexts), workers.size)
        learner = Learner(recipe, dataset.train.images.shape[1:], contexts, workers)
        if job:
            job.begin(learner, dataset)
        workers.begin(learner)
        for epoch in range(first, epochs):
            with telling_what_is_kept(run, epoch, workers.leads):
                began = time.time()
                losses, sizes = train_epoch(learner, dataset.train, epoch)
                if job:
                    job.report(learner, dataset, losses, sizes, time.time() - began)
                else:
                    say(f"Epoch [{epoch}]: parameters {learner.digest()}")
        if job:
            job.end()


def train_epoch(learner, split, epoch):
    """Go through the training set once.

    Nothing here waits for the step under way: the losses are looked at some steps later.

    Parameters
    ----------
    learner : Learner
    split : data.Split
        N images.
    epoch : int
        Which one: it decides the learning rates and the order.

    Returns
    -------
    losses : (steps, len(learner.recipe.losses)) float64
        The losses of each step, summed over its batch.
    sizes : (steps,) int64
        The number of images of each step.

    Raises
    ------
    UserError
        A loss is not finite.
    """
    learner.set_learning_rates(epoch)
    recipe, workers = learner.recipe, learner.workers
    order = shuffled(len(split.labels), recipe.seed, epoch)
    pending, losses, sizes = [], [], []

    def read(count):
        for sums in pending[:count]:
            losses.append(sum(one.asnumpy().astype(np.float64) for one in sums))
            check_finite(losses[-1], f"Epoch {epoch}, step {len(losses) - 1}: the loss")
        del pending[:count]

    bar = tqdm(total=len(order), desc=f"Epoch {epoch}", unit=" images", leave=False, disable=None)
    with bar:
        for slices in batches(
            split, recipe.batch_size, learner.contexts, order, workers.rank, workers.size
        ):
            pending.append(learner.step(slices))
            sizes.append(len(slices[0][2]))
            bar.update(sizes[-1])
            if len(pending) == 2 * READ_EVERY:
                read(READ_EVERY)
                bar.set_postfix(loss=f"{losses[-1].sum() / recipe.batch_size:.4f}", refresh=False)
        read(len(pending))
    losses = workers.finish_epoch(np.array(losses))
    mx.nd.waitall()
    return losses, np.array(sizes)


def shuffled(size, seed, epoch):
    """The order of an epoch: it depends on nothing else, so a resumed run has the same."""
    return np.random.RandomState([seed, epoch]).permutation(size)


def check_split(size, batch_size, devices, workers=1):
    smallest = min(size % batch_size or batch_size, batch_size, size)
    if smallest // workers < devices:
        raise UserError(
            f"{size} images in batches of {batch_size} leave one of {smallest}, too small for "
            f"{devices} devices{' of each worker' * (workers > 1)}: choose another --batch_size"
        )


@contextlib.contextmanager
def telling_what_is_kept(run, epoch, leads):
    """Add to what ends an epoch early what is left of the run, and whether --resume goes on."""
    if not leads:
        kept, resume = "rank 0 keeps the finished epochs", True
    elif epoch:
        kept, resume = f"{run.prefix} is kept up to epoch {epoch - 1}", True
    else:  # the record of an older run is not ours
        kept, resume = "no epoch is finished yet", not run.record.exists()
    try:
        yield
    except Interrupted as interrupted:
        raise Interrupted(interrupted.signum, kept, resume) from interrupted
    except UserError as error:
        raise UserError(f"{error}; {kept}") from error


# --- what rank 0 does beside -------------------------------------------------------------------


class Job:
    """A training as rank 0 has it: what it starts from, and what is told and kept of it."""

    def __init__(self, run, recipe, epochs, record=None, started_from=None):
        self.run, self.recipe, self.epochs, self.record = run, recipe, epochs, record
        self.started_from = started_from  # a support.runs.Trained, or None
        self.plan = {
            "recipe": vars(recipe),
            "epochs": epochs,
            "first": len(record.history) if record else 0,
        }

    @classmethod
    def open(cls, args, run, second):
        """Find out what is to be trained; None where all epochs are finished already."""
        record = run.read_record() if args.resume else None
        if record:
            recipe = Recipe.merge(args.given, record.recipe.flags(), run.prefix, second=second)
            epochs = record.epochs if args.epochs is None else args.epochs
            if len(record.history) >= epochs:
                say(f"{run.prefix}: all {len(record.history)} epochs are finished")
                return None
            run.recover(record)
            return cls(run, recipe, epochs, record)
        if run.record.exists():
            say(f"{run.prefix}: a new run replaces the old one when its first epoch is finished")
        elif args.resume and Run(run.prefix, SHIPPED, args.out_dir).exists():
            say(f"{run.prefix}: shipped runs cannot be resumed, so a new one of this name is begun")
        trained, network = None, {}
        if second:
            first = find_run(args.prefix, args.ckpt_dir, args.out_dir)
            trained = open_run(first, args.given, needs_centers_for="--second_train")
            network = vars(trained.network)
        recipe = Recipe.merge(args.given, network, args.prefix, second=second)
        if recipe.eval_method == "knn" and "center" not in recipe.losses:
            raise UserError("--eval_method knn needs centers: train with --center_loss")
        epochs = EPOCHS if args.epochs is None else args.epochs
        return cls(run, recipe, epochs, started_from=trained)

    def begin(self, learner, dataset):
        """Give the learner what it starts from, and say what is begun."""
        run, record, first = self.run, self.record, self.started_from
        now = surroundings(learner.contexts, learner.workers)
        if record:
            record.check(dataset, now)
            learner.load_state(run.read_params(run.resume, record), run.resume)
            record.epochs = self.epochs
        else:
            origin = None
            if first:
                restore(first, learner.net, learner.center_loss)
                first.warn_of_other_data(dataset)
                origin = first.record and {
                    "prefix": first.record.prefix, "epoch": first.record.best["epoch"]
                }  # fmt: skip
            fingerprint = dataset.fingerprint
            self.record = Record(run.prefix, origin, self.recipe, self.epochs, fingerprint, now)
        say(
            f"{run.prefix}: {' + '.join(self.recipe.losses)} loss, {self.recipe.model} on "
            f"{dataset.name} ({len(dataset.train.labels)} images) with "
            f"{', '.join(map(str, learner.contexts))}"
        )

    def report(self, learner, dataset, losses, sizes, seconds):
        """Evaluate an epoch, draw it, and commit it: the last is what makes it count."""
        record, recipe = self.record, self.recipe
        for loss in losses.sum(axis=1) / sizes:
            record.observe(loss)
        means = dict(zip(recipe.losses, losses.sum(axis=0) / sizes.sum()))
        accuracy, maps, centers = {}, {}, centers_of(learner.center_loss)
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            by_method, maps[name] = evaluate(learner.net, centers, split, learner.contexts[0])
            accuracy.update((f"{name}_{method}", value) for method, value in by_method.items())
        epoch = Epoch(
            epoch=len(record.history),
            dataset=dataset.name,
            lr=learner.trainers[0][0].learning_rate,
            loss=record.moving_loss,
            softmax_loss=means.get("softmax"),
            center_loss=means.get("center"),
            train_softmax=accuracy["train_softmax"],
            test_softmax=accuracy["test_softmax"],
            train_knn=accuracy.get("train_knn"),
            test_knn=accuracy.get("test_knn"),
            seconds=round(seconds, 6),
        )
        best = record.append(epoch)
        self.draw(dataset, maps)
        self.save(learner, best)
        say(
            f"Epoch [{epoch.epoch}]: Loss={epoch.loss:.6f}, "
            f"Train-Acc={epoch.accuracy('train', recipe.eval_method):.6f}, "
            f"Test-Acc={epoch.accuracy('test', recipe.eval_method):.6f}, "
            f"Epoch-time={epoch.seconds:.6f}"
        )

    def save(self, learner, best):
        """Commit a finished epoch; a better network than all before becomes the best one."""
        files = {self.run.resume: learner.state()}
        if best:
            network, centers = learner.parameters()
            files[self.run.best] = network
            if centers:
                files[self.run.feature_matrix] = centers
        self.run.commit(self.record, files)

    def draw(self, dataset, maps):
        """Write the table of the history and the pictures of an epoch, at the end GIFs of them.

        Parameters
        ----------
        dataset : data.Dataset
        maps : dict of str to (N, feature_size) float32
            The features of ``train`` and ``test``.
        """
        run, record, recipe = self.run, self.record, self.recipe
        write_atomically(run.picture("history.csv"), record.history_csv())
        epoch = record.history[-1]
        for split in maps if recipe.plotting else ():
            accuracy = epoch.accuracy(split, recipe.eval_method)
            picture = plotting.feature_map(
                maps[split], getattr(dataset, split).labels, recipe.num_classes,
                f"{run.prefix}\n{dataset.name}, {SPLITS[split]} set, epoch {epoch.epoch}: "
                f"accuracy {accuracy:.4f} ({recipe.eval_method})",
            )  # fmt: skip
            write_atomically(run.picture(f"{split}-epoch-{epoch.epoch}.png"), picture)
        if len(record.history) == self.epochs:
            curves = plotting.curves(record.history, f"{run.prefix}, {dataset.name}")
            write_atomically(run.picture("curves.png"), curves)
            for split in maps if recipe.plotting else ():
                frames = [run.picture(f"{split}-epoch-{i}.png") for i in range(self.epochs)]
                frames = [frame for frame in frames if frame.is_file()]
                write_atomically(run.picture(f"{split}.gif"), plotting.gif(frames))

    def end(self):
        """Say how it went."""
        record, method = self.record, self.recipe.eval_method
        say(
            f"Best test accuracy by {method}: {record.best['accuracy']:.6f} "
            f"in epoch {record.best['epoch']}, kept in {self.run.best}; "
            f"last: {record.history[-1].accuracy('test', method):.6f}\n"
            f"History{' and pictures' * self.recipe.plotting}: {self.run.picture('*')}"
        )
