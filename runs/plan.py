"""What is to be trained: a new run, a second training, or a run that goes on."""

import contextlib
import os
from dataclasses import dataclass, replace
from typing import Optional

from data import count_classes, load_dataset
from datasets.dataset import Dataset
from process.console import say
from process.errors import UserError
from recipe import EVAL_METHODS, Recipe
from runs.record import Record, Surroundings
from runs.run import SHIPPED, Run
from runs.size import check_split
from runs.trained import Trained, choose_data, open_run

# By schedule: how many times --lr_step a training has, and of how many epochs at least that is.
PARTS, SHORTEST = {"step": 3, "cosine": 1}, {"step": 10, "cosine": 5}
STEPS_TO_A_FALL = 2000  # at least, by default


@dataclass(frozen=True)
class Request:
    """What the user asks of a training: to train `run`.

    A second training starts from the best network of `source_run`, which is None otherwise. `given`
    are the flags of a recipe, `actions` the trainings of the command, this one among them. What was
    not given is None.
    """

    run: Run
    source_run: Optional[Run]
    actions: tuple
    resume: bool
    given: dict
    epochs: Optional[int]
    dataset: Optional[str]
    data_dir: Optional[str]

    def load(self, recipe, record=None):
        """The data set, that of the `record` where none is named; and its folder, if it has one."""
        dataset, data_dir = choose_data(self.dataset, self.data_dir, record)
        return load_dataset(dataset, data_dir, recipe), data_dir and os.path.abspath(data_dir)


@dataclass(frozen=True)
class Plan:
    """What is to be trained."""

    run: Run
    recipe: Recipe
    epochs: int  # how many the run is to have
    first_epoch: int  # the one to begin with
    dataset: Dataset
    record: Optional[Record] = None  # what rank 0 goes on with; None at the others
    source: Optional[Trained] = None  # what a second training starts from, at rank 0


@contextlib.contextmanager
def planned(request, contexts, workers):
    """Decide what is to be trained, for all workers alike, and lock the run meanwhile.

    Yields a Plan, or None where all is finished already; raises UserError for anything that the
    user can mend. Rank 0 of the `workers` decides; each splits its batches over the devices
    `contexts`.
    """
    with request.run.locked() if workers.leads else contextlib.nullcontext():
        plan = decide(request, Surroundings.now(contexts, workers)) if workers.leads else None
        told = workers.broadcast(plan and announcement(plan))
        if told and not workers.leads:
            plan = follow(told, request)
        if plan:
            check_split(plan.dataset.train, plan.recipe, len(contexts), workers.size)
        yield plan


def announcement(plan):
    """What other workers must know of a plan, as JSON can hold it."""
    return {
        "recipe": vars(plan.recipe),
        "epochs": plan.epochs,
        "first_epoch": plan.first_epoch,
        "dataset": plan.dataset.name,
        "data_dir": plan.record.data_dir,
        "sha256": plan.record.dataset.sha256,
    }


def follow(told, request):
    """The plan of rank 0, with this machine's data."""
    recipe = Recipe(**told["recipe"])
    dataset = load_dataset(told["dataset"], request.data_dir or told["data_dir"], recipe)
    if dataset.fingerprint.sha256 != told["sha256"]:
        raise UserError(f"{dataset.name} has other images or labels here than at rank 0")
    return Plan(request.run, recipe, told["epochs"], told["first_epoch"], dataset)


def decide(request, now):
    """The plan of rank 0, whose `Surroundings` are `now`; None where all is finished already."""
    run = request.run
    try:
        run.recover(run.read_record())
    except UserError:
        if request.resume:  # without it a new run will take the place of what is damaged
            raise
    record = resumable(request) if request.resume else None
    if record:
        return resumed(request, record, now)
    return second(request, now) if request.source_run else new(request, now)


def resumed(request, record, now):
    """The plan of a run that goes on; None where it is finished."""
    run = request.run
    recorded = {"prepare": record.recipe.prepare, **record.recipe.flags()}
    recipe = Recipe.merge(request.given, recorded, run.prefix, second=record.recipe.second)
    check_losses(recipe, request)
    begun_for, record.epochs = record.epochs, request.epochs or record.epochs
    if recipe.lr_schedule == "cosine" and recipe.lr_step == begun_for < record.epochs:
        say(
            f"{run.prefix}: its cosine ends after {begun_for} epochs, and begins again with "
            f"--lr_factor times the rate: a cosine of {record.epochs} epochs needs a new run"
        )
    if len(record.history) >= record.epochs and run.has_history(record):
        say(f"{run.prefix}: all {len(record.history)} epochs are finished")
        return None
    if not run.resume_params.exists():
        raise UserError(
            f"{run.resume_params} is missing, without which {run.prefix} cannot be resumed: "
            "shipped runs cannot"
        )
    dataset, record.data_dir = request.load(recipe, record)
    record.check_resumable(dataset, now)
    return Plan(run, recipe, record.epochs, len(record.history), dataset, record)


def new(request, now):
    """The plan of a new run."""
    recipe = Recipe.merge({**count_classes(request.data_dir), **request.given})
    check_losses(recipe, request)
    return begun(request, recipe, request.load(recipe), now)


def second(request, now):
    """The plan of a second training, which takes the network of the source as it is."""
    source = open_run(request.source_run, request.given, needs_centers_for="--second_train")
    recipe = Recipe.merge(
        request.given, vars(source.network), request.source_run.prefix, second=True
    )
    loaded = request.load(recipe, source.record)
    source.check_data(loaded[0], named=bool(request.dataset or request.data_dir))
    return begun(request, recipe, loaded, now, source)


def begun(request, recipe, loaded, now, source=None):
    """The plan of a run that has no epoch yet, on what `Request.load` gave."""
    dataset, data_dir = loaded
    images = len(dataset.train.labels)
    if images < recipe.batch_size:  # by which a step is divided
        say(
            f"{dataset.name} has {images} training images, fewer than --batch_size "
            f"{recipe.batch_size}: with a lower one it learns faster"
        )
    epochs, lr_step = schedule(recipe, images, request.epochs, request.given.get("lr_step"))
    recipe = replace(recipe, lr_step=lr_step)
    origin = source and source.record and source.run.origin(source.record)
    prefix, known = request.run.prefix, dataset.fingerprint
    record = Record(prefix, origin, recipe, epochs, known, now, data_dir)
    return Plan(request.run, recipe, epochs, 0, dataset, record, source)


def schedule(recipe, images, epochs=None, lr_step=None):
    """Decide how many epochs there are, and after how many the learning rates fall: two ints.

    What is not given, as `epochs` and `lr_step`, follows from the number of steps: the rates fall
    after 10 epochs by ``step``, and within 5 by ``cosine``, or after more, 100 at the most, where
    these have fewer than 2,000 steps. By ``step`` there are three such parts, by ``cosine`` one,
    as long as a given `lr_step`. With 60,000 training images in batches of 128 these are the
    numbers of 2019, 30 epochs and a fall after 10, or 5 epochs of a cosine.
    """
    steps = -(-images // recipe.batch_size)
    usual, parts = SHORTEST[recipe.lr_schedule], PARTS[recipe.lr_schedule]
    by_steps = min(100, max(usual, -(-STEPS_TO_A_FALL // steps)))
    epochs = epochs or (lr_step if parts == 1 and lr_step else parts * by_steps)
    if parts == 1:
        return epochs, lr_step or epochs
    # A fall that lies behind the last of the epochs that were given would be none.
    return epochs, lr_step or max(usual, min(by_steps, -(-epochs // parts)))


def check_losses(recipe, request):
    """Raise UserError where centers are wanted of a run that has none."""
    if "center" in recipe.losses:
        return
    if EVAL_METHODS[recipe.eval_method].needs_centers:
        raise UserError(
            f"--eval_method {recipe.eval_method} needs centers: train with --center_loss"
        )
    if "second_train" in request.actions:
        raise UserError("--second_train needs centers: train with --center_loss")


def resumable(request):
    """The record of the run that --resume goes on with; None where a new one is to be begun."""
    run, source_run = request.run, request.source_run
    record = run.read_record()
    if record is None:
        if Run(run.prefix, SHIPPED, run.out_dir).exists():
            say(f"{run.prefix}: shipped runs cannot be resumed, so a new one of this name is begun")
        return None
    if record.recipe.second != bool(source_run):
        raise UserError(
            f"{run.prefix} is a run of --{record.recipe.action}, which "
            f"--{'second_train' if source_run else 'train'} cannot go on with: choose another "
            "--prefix"
        )
    source = source_run and source_run.read_record()
    if source and record.started_from not in (None, source_run.origin(source)):
        if "train" not in request.actions:
            raise UserError(
                f"{run.prefix} was started from another {source_run.prefix} than there is now: "
                "begin anew without --resume, or choose another --prefix"
            )
        say(f"{run.prefix} was started from another {source_run.prefix}, so a new one is begun")
        return None
    return record
