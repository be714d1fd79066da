"""What a training says: how it begins, each epoch, and how it ended."""

import math

from process.console import say
from recipe import EVAL_METHODS, Recipe

GUESSING = 0.97  # of the loss of guessing: above it a network has hardly learnt
CLASSES_A_FEATURE = 10  # more classes than so many times the features lie close together
MANY_IMAGES = 3 * 10**5  # that LeNet++ trains on a CPU in some ten minutes
CHOOSERS = {"val": "validation", "test": "test"}


def say_how_it_begins(plan, contexts, replaces):
    """Say what is trained on what, and what follows from the number of images and classes.

    `replaces` says whether there is another run of this name.
    """
    run, recipe, data = plan.run, plan.recipe, plan.dataset
    if replaces:
        say(f"{run.prefix}: a new run replaces the old one when its first epoch is finished")
    images, classes = len(data.train.labels), len(data.classes)
    say(
        f"{run.prefix}: {' + '.join(recipe.losses)} loss, {recipe.model} on {data.name} "
        f"({images} images) with {', '.join(map(str, contexts))}"
    )
    if recipe.lr_step > Recipe().lr_step:
        how = {"step": "after", "cosine": "within"}[recipe.lr_schedule]
        steps = -(-images // recipe.batch_size)
        say(
            f"{plan.epochs} epochs of {steps} steps; the learning rates fall {how} {recipe.lr_step}"
        )
    slow = recipe.model == "lenetplus" and contexts[0].device_type == "cpu"
    if slow and (plan.epochs - plan.first_epoch) * images > MANY_IMAGES:
        say("LeNet++ takes long on a CPU: --model lenet has a fortieth of its operations")
    if not plan.first_epoch and classes > CLASSES_A_FEATURE * recipe.feature_size:
        say(
            f"{recipe.feature_size} features are few for {classes} classes: a larger "
            "--feature_size separates them better"
        )


def say_epoch(record):
    """Say how the last epoch went, in the line of 2019."""
    epoch, method = record.history[-1], record.recipe.eval_method
    say(
        f"Epoch [{epoch.epoch}]: Loss={epoch.loss:.6f}, "
        f"Train-Acc={epoch.accuracy('train', method):.6f}, "
        f"Test-Acc={epoch.accuracy('test', method):.6f}, "
        f"Epoch-time={epoch.seconds:.6f}"
    )


def say_how_it_ended(run, record, files):
    """Say how accurate the best and the last epoch are, and which of the files to open."""
    last, best, chooser = record.history[-1], record.best, record.chooser
    words = EVAL_METHODS[record.recipe.eval_method].words
    say(
        f"Best {CHOOSERS[chooser]} accuracy by {words}: {best.accuracy:.4f} in epoch {best.epoch}, "
        f"kept in {run.best_params}; last: {last.accuracy(chooser, record.recipe.eval_method):.4f}"
    )
    accuracies = {each.words: last.accuracy("test", name) for name, each in EVAL_METHODS.items()}
    known = [f"{value:.4f} by {words}" for words, value in accuracies.items() if value is not None]
    say(f"Test set, last epoch: {', '.join(known)}")
    for path in filter(lambda path: path.exists(), files):
        say(f"Open {path}")
    if still_guesses(record):
        say(
            f"{run.prefix}: the softmax loss is still that of guessing among "
            f"{record.recipe.num_classes} classes: try more --epochs with a larger --lr_step, "
            "a lower --lr, a smaller --batch_size, or a larger --feature_size"
        )


def still_guesses(record):
    """Whether the softmax loss of the last epoch is that of equal probabilities, ln of the number
    of classes that are there."""
    loss = record.history[-1].softmax_loss
    return loss is not None and loss > GUESSING * math.log(len(record.dataset.classes))
