"""What is to be trained: a new run, a second training, or a run that goes on."""

import contextlib
from dataclasses import dataclass, replace
from typing import Optional

from data import count_classes, load_dataset
from datasets.dataset import Dataset
from process.console import say
from process.errors import UserError
from process.files import new_name
from recipe import EVAL_METHODS, Recipe
from runs.record import Record, Surroundings
from runs.run import SHIPPED, Run
from runs.size import check_split
from runs.trained import Trained, choose_dataset, open_run

PARTS = {"step": 3, "cosine": 1}  # by schedule: how many times --lr_step a training has
STEPS_TO_A_FALL = 2000  # at least, by default


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    Attributes
    ----------
    run : Run
    recipe : Recipe
    epochs : int
        How many the run is to have.
    first : int
        The epoch to begin with.
    dataset : datasets.dataset.Dataset
    contexts : list of mxnet.Context
        The devices that each batch is split over.
    record : Record or None
        What rank 0 goes on with; None at the others.
    source : Trained or None
        What a second training starts from, at rank 0.
    """

    run: Run
    recipe: Recipe
    epochs: int
    first: int
    dataset: Dataset
    contexts: list
    record: Optional[Record] = None
    source: Optional[Trained] = None


@contextlib.contextmanager
def planned(args, contexts, workers, second=False):
    """Decide what is to be trained, for all workers alike, and lock the run meanwhile.

    Parameters
    ----------
    args : argparse.Namespace
        All flags, as `main.parse` gives them.
    contexts : list of mxnet.Context
    workers : cluster.workers.Alone or Workers
        Rank 0 decides.
    second : bool
        Start from the best network of the run `prefix`, and write the run ``<prefix>-second``.

    Yields
    ------
    Plan or None
        None where all is finished already.

    Raises
    ------
    UserError
        Anything that the user can mend.
    """
    prefix = f"{args.prefix}-second" if second else args.prefix
    run = Run(prefix, args.ckpt_dir, args.out_dir)
    with run.locked() if workers.leads else contextlib.nullcontext():
        plan = decide(args, run, contexts, workers, second) if workers.leads else None
        shared = workers.broadcast(plan and shared_part(plan, args))
        if shared and not workers.leads:
            plan = follow(shared, args, run, contexts)
        if plan:
            check_split(plan.dataset.train, plan.recipe, len(contexts), workers.size)
        yield plan


def shared_part(plan, args):
    """What other workers must know of a plan, as JSON can hold it."""
    return {
        "recipe": vars(plan.recipe),
        "epochs": plan.epochs,
        "first": plan.first,
        "dataset": choose_dataset(args.dataset, args.data_dir, plan.record),
        "sha256": plan.record.dataset.sha256,
    }


def follow(shared, args, run, contexts):
    """The plan of rank 0, with this machine's data."""
    recipe = Recipe(**shared["recipe"])
    dataset = load_dataset(shared["dataset"], args.data_dir, recipe)
    if dataset.fingerprint.sha256 != shared["sha256"]:
        raise UserError(f"{dataset.name} has other images or labels here than at rank 0")
    return Plan(run, recipe, shared["epochs"], shared["first"], dataset, contexts)


def decide(args, run, contexts, workers, second):
    """The plan of rank 0; None where all is finished already."""
    try:
        run.recover(run.read_record())
    except UserError:
        if args.resume:  # without it a new run will take the place of what is damaged
            raise
    record = resumable(args, run, second) if args.resume else None
    source, recorded = None, None
    if record:  # whose flags lack a default --prepare
        recorded = {"prepare": record.recipe.prepare, **record.recipe.flags()}
    given = args.given
    if not record and second:
        first = Run(args.prefix, args.ckpt_dir, args.out_dir)
        source = open_run(first, given, needs_centers_for="--second_train")
        recorded = vars(source.network)
    elif not record:
        given = {**count_classes(args.data_dir), **given}
    prefix = run.prefix if record else args.prefix
    recipe = Recipe.merge(given, recorded, prefix, second=second)
    check_losses(recipe, args.second_train)
    epochs = args.epochs or (record and record.epochs)
    if record and is_finished(run, record, epochs):
        say(f"{run.prefix}: all {len(record.history)} epochs are finished")
        return None
    known = record or (source and source.record)
    chosen = choose_dataset(args.dataset, args.data_dir, known)
    dataset = load_dataset(chosen, args.data_dir, recipe)
    now = Surroundings.now(contexts, workers)
    if record:
        record.check_resumable(dataset, now)
        record.epochs = epochs
    else:
        if source:
            source.check_data(dataset, named=bool(args.dataset or args.data_dir))
        images = len(dataset.train.labels)
        if images < recipe.batch_size:  # by which a step is divided
            say(
                f"{dataset.name} has {images} training images, fewer than --batch_size "
                f"{recipe.batch_size}: with a lower one it learns faster"
            )
        epochs, lr_step = schedule(recipe, images, epochs, given.get("lr_step"))
        recipe = replace(recipe, lr_step=lr_step)
        origin = source and source.record and source.run.origin(source.record)
        record = Record(run.prefix, origin, recipe, epochs, dataset.fingerprint, now)
    first_epoch = len(record.history)
    return Plan(run, recipe, epochs, first_epoch, dataset, contexts, record, source)


def schedule(recipe, images, epochs=None, lr_step=None):
    """Decide how many epochs there are, and after how many the learning rates fall.

    What is not given follows from the number of steps: the rates fall after 10 epochs, or after
    more, 100 at the most, where these have fewer than 2,000 steps. By ``step`` there are three
    such parts, by ``cosine`` one, as long as a given `lr_step`. With 60,000 images in
    batches of 128 these are the numbers of 2019: 30 epochs, and a fall after 10.

    Parameters
    ----------
    recipe : Recipe
    images : int
        Those of the training set.
    epochs, lr_step : int or None
        What the user gave.

    Returns
    -------
    epochs, lr_step : int
    """
    steps = -(-images // recipe.batch_size)
    usual, parts = Recipe().lr_step, PARTS[recipe.lr_schedule]
    by_steps = min(10 * usual, max(usual, -(-STEPS_TO_A_FALL // steps)))
    epochs = epochs or (lr_step if parts == 1 and lr_step else parts * by_steps)
    if parts == 1:
        return epochs, lr_step or epochs
    # A fall that lies behind the last of the epochs that were given would be none.
    return epochs, lr_step or max(usual, min(by_steps, -(-epochs // parts)))


def check_losses(recipe, second_train):
    """Raise UserError where centers are wanted of a run that has none."""
    if "center" in recipe.losses:
        return
    if EVAL_METHODS[recipe.eval_method].needs_centers:
        raise UserError(
            f"--eval_method {recipe.eval_method} needs centers: train with --center_loss"
        )
    if second_train:
        raise UserError("--second_train needs centers: train with --center_loss")


def is_finished(run, record, epochs):
    """Whether nothing of a run is left to do; raises UserError where it cannot go on."""
    if len(record.history) >= epochs and run.has_history(record):
        return True
    if not any(path.exists() for path in (run.resume, new_name(run.resume))):
        raise UserError(
            f"{run.resume} is missing, without which {run.prefix} cannot be resumed: "
            "shipped runs cannot"
        )
    return False


def resumable(args, run, second):
    """The record of the run that --resume goes on with; None where a new one is to be begun."""
    record = run.read_record()
    if record is None:
        if Run(run.prefix, SHIPPED, args.out_dir).exists():
            say(f"{run.prefix}: shipped runs cannot be resumed, so a new one of this name is begun")
        return None
    if record.recipe.second != second:
        raise UserError(
            f"{run.prefix} is a run of --{record.recipe.action}, which --"
            f"{'second_train' if second else 'train'} cannot go on with: choose another --prefix"
        )
    if second and not is_origin(Run(args.prefix, args.ckpt_dir, args.out_dir), record.started_from):
        if not args.train:
            raise UserError(
                f"{run.prefix} was started from another {args.prefix} than there is now: "
                "begin anew without --resume, or choose another --prefix"
            )
        say(f"{run.prefix} was started from another {args.prefix}, so a new one is begun")
        return None
    return record


def is_origin(run, started_from):
    """Whether a second training may have been started from what this run is now."""
    try:
        record = run.read_record()
    except UserError:
        record = None  # it is not needed to go on
    return not (record and started_from) or started_from == run.origin(record)
