"""What --augment costs a training: LeNet++ and LeNet, batch 128

Turns as those of the training throughput: an evaluation and then an epoch, of which the epoch is
timed.
"""

from benchmarks.harness import Child, median, ratio, take_turns
from benchmarks.training import CALLED, IMAGES, environment
from process.console import table


def run(smoke):
    turns = 1 if smoke else 15
    rows = [compare(model, 128 if smoke else IMAGES[model], turns) for model in CALLED]
    header = ["network", "images/s without", "images/s with", "a step with / without"]
    return f"{turns} turns.\n\n{table(header, rows)}"


def compare(model, images, turns):
    """A row of the table."""
    command = ("benchmarks.contenders", "ours", images, "--model", model)
    env = environment({})
    with Child(*command, env=env) as without, Child(*command, "--augment", env=env) as augmented:
        seconds = take_turns({"without": without, "with": augmented}, turns)
    rates = [median([images / s for s in values]) for values in seconds.values()]
    return [CALLED[model], *rates, ratio(seconds["with"], seconds["without"])]
