"""Train what no flag of `main.py` asks for, to see what an effect is due to.

`python -m experiments.controls CONTROL` takes the flags of a training by `main.py`, and trains as
that does, except for one thing:

- `feature-bias`, `classifier-bias`: only this layer has a bias; the bias of the other stays 0.
- `both-losses`: a second training has both losses, and trains all that the first training did.
  Its run is called `<prefix>-both-losses`.
"""

import argparse
import dataclasses
import functools
import sys

import main
from process.startup import prepare_mxnet
from recipe import Recipe

SUFFIXES = {"both-losses": "-both-losses"}  # of second trainings, in the place of "-second"


def freeze_bias(of_classifier):
    """Let networks be made whose classifier, or feature layer, keeps a bias of 0."""
    import learner

    def new_net(network, original=learner.new_net):
        net = original(network)
        (net.output if of_classifier else net.features[-1]).bias.grad_req = "null"
        return net

    learner.new_net = new_net


def go_on_with_both_losses():
    """Let a second training be one more first training, from the best network of a run."""
    import train

    def new_learner(recipe, *args, original=train.Learner):
        return original(dataclasses.replace(recipe, second=False, center_loss=True), *args)

    def run_of(args, prefix=None, original=main.run_of):
        return original(args, prefix and args.prefix + SUFFIXES["both-losses"])

    train.Learner, main.run_of = new_learner, run_of
    Recipe.losses = ("softmax", "center")


CHANGES = {
    "feature-bias": functools.partial(freeze_bias, of_classifier=True),
    "classifier-bias": functools.partial(freeze_bias, of_classifier=False),
    "both-losses": go_on_with_both_losses,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.controls", description=__doc__)
    parser.add_argument("control", choices=CHANGES)
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="those of main.py")
    args = parser.parse_args()
    prepare_mxnet()
    CHANGES[args.control]()
    sys.exit(main.main(args.flags))
