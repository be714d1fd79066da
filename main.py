"""Train and test networks with softmax loss and center loss. `python main.py --help` tells how."""

import argparse
import math
import os
import shlex
import sys

from runtime import Interrupted, UserError, check_cluster, note_signals, prepare_mxnet


def main(argv=None):
    """Run the command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args, given = parse(argv)
    status = act(argv, args, given)
    if status and args.kvstore != "device":
        sys.stdout.flush()
        os._exit(status)  # MXNet's own end would wait for the other workers, who wait for us
    return status


def act(argv, args, given):
    """Do what the flags say; returns the exit status."""
    note_signals()
    sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold any character
    try:
        if args.kvstore != "device":
            check_cluster()
        prepare_mxnet()
        # Not before the flags are known to be right: MXNet takes seconds to import.
        from evaluation import compare, test
        from train import train
        from workers import join, serve

        if args.kvstore != "device" and os.environ["DMLC_ROLE"] != "worker":
            serve()
            return 0

        if args.train:
            train(args, given)
        if args.second_train:
            train(args, given, second=True)
        workers = join(args.kvstore)
        if args.test and not (workers and workers.rank):
            test(args, given)
        if args.compare and not (workers and workers.rank):
            compare(args, given)
        if workers:
            workers.leave()
        sys.stdout.flush()
    except UserError as error:
        print(f"main.py: error: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        resume = ["--resume"] if interrupted.resume and not args.resume else []
        command = shlex.join(["python", "main.py", *argv, *resume])
        print(f"Interrupted: {interrupted.kept}. To go on: {command}", file=sys.stderr)
        return 128 + interrupted.signum
    except RuntimeError as error:
        if "emory" not in str(error):  # MXNet has no class for it
            raise
        advice = "try a lower --batch_size, --num_classes or --feature_size"
        print(f"main.py: error: not enough memory: {advice}", file=sys.stderr, flush=True)
        os._exit(1)  # MXNet's own end would raise the error again
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("main.py: error: the output was closed; --resume goes on", file=sys.stderr)
        return 1
    return 0


def parse(argv):
    """Parse the command line.

    Returns
    -------
    args : argparse.Namespace
        All flags.
    given : set of str
        Those that were given, not left at their defaults.

    Raises
    ------
    SystemExit
        With status 2, after a line that says what is wrong.
    """
    parser = new_parser()
    args = parser.parse_args(argv)
    if not (args.train or args.second_train or args.test or args.compare):
        parser.error("nothing to do: give --train, --second_train, --test or --compare")
    if args.num_classes * args.feature_size >= 2**31 - 1:
        parser.error("--num_classes x --feature_size must stay below 2^31, the limit of MXNet")
    softmax_only = args.train and not args.center_loss and not args.resume
    if args.center_loss and not args.train:
        parser.error("--center_loss goes with --train")
    if softmax_only and args.eval_method == "knn":
        parser.error("--eval_method knn needs centers: train with --center_loss")
    if softmax_only and args.second_train:
        parser.error("--second_train needs centers: train with --center_loss")
    if args.resume and not (args.train or args.second_train):
        parser.error("--resume goes with --train or --second_train")
    if args.kvstore != "device" and not (args.train or args.second_train):
        parser.error(f"--kvstore {args.kvstore} goes with --train or --second_train")
    if args.prefix is None:
        args.prefix = "softmax-loss" if args.train and not args.center_loss else "center-loss"
    # argparse puts defaults only where the namespace has nothing yet.
    given = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(args))))
    return args, {name for name, value in vars(given).items() if value is not None}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def new_parser():
    parser = Parser(
        prog="main.py",
        description="Train and test networks with softmax loss and center loss on MNIST.",
        epilog="Actions given together run in the order train, second_train, test, compare.",
        allow_abbrev=False,
    )

    def add(group, flag, text, **kwargs):
        default = kwargs.get("default")
        shown = "" if default is None or default is False else " (default: %(default)s)"
        group.add_argument(flag, help=text + shown, **kwargs)

    # fmt: off
    group = parser.add_argument_group("actions")
    add(group, "--train", "train from scratch", action="store_true")
    add(group, "--second_train", "go on from the best network of a run with center loss alone; "
        "the centers stay fixed, and the new run is called <prefix>-second", action="store_true")
    add(group, "--test", "evaluate the best network of a run on the test set", action="store_true")
    add(group, "--compare", "evaluate runs on both sets by both methods, print tables, and draw "
        "their feature maps one under the other", type=prefix, nargs="+", metavar="PREFIX")

    group = parser.add_argument_group("loss and network")
    add(group, "--center_loss", "train with softmax loss + center loss", action="store_true")
    add(group, "--formulation", "of the center loss: balanced between the classes of a batch, or "
        "the paper's", choices=("hist", "paper"), default="hist")
    add(group, "--lmbd", "weight of the center loss", type=number(0), default=1.0)
    add(group, "--alpha", "learning rate of the centers", type=number(0), default=0.5)
    add(group, "--model", "network: LeNet++ of the paper, or the smaller and faster LeNet",
        choices=("lenetplus", "lenet"), default="lenetplus")
    add(group, "--no_bias", "feature layer and classifier without biases", action="store_true")
    add(group, "--num_classes", "number of classes", type=whole(2, 10**7), default=10)
    add(group, "--feature_size", "number of features", type=whole(1, 10**5), default=2)

    group = parser.add_argument_group("training")
    add(group, "--epochs", "how often to go through the training set", type=whole(1), default=30)
    add(group, "--batch_size", "images in a step", type=whole(1), default=128)
    add(group, "--lr", "learning rate", type=number(0, above=True), default=0.1)
    add(group, "--lr_step", "epochs after which both learning rates are multiplied by lr_factor",
        type=whole(1), default=10)
    add(group, "--lr_factor", "see --lr_step", type=number(0, above=True), default=0.1)
    add(group, "--momentum", "of SGD, for the network; in [0, 1)", type=momentum, default=0.0)
    add(group, "--wd", "weight decay", type=number(0), default=1e-4)
    add(group, "--seed", "the same seed gives the same numbers", type=whole(0), default=0)
    add(group, "--resume", "go on after the last finished epoch; flags not given are those the "
        "run was begun with", action="store_true")

    group = parser.add_argument_group("evaluation and pictures")
    add(group, "--eval_method", "class prediction, or the nearest center",
        choices=("softmax", "knn"), default="softmax")
    add(group, "--plotting", "draw the features of each epoch, and GIFs of them",
        action="store_true")

    group = parser.add_argument_group("data and files")
    add(group, "--dataset", "mnist is downloaded if need be; mnist5k is 5,000 images of it that "
        "need no network; auto is mnist if it can be had, else mnist5k",
        choices=("auto", "mnist", "mnist5k"), default="auto")
    add(group, "--data_dir", "folder with the four IDX files of a data set, packed (.gz) or not")
    add(group, "--prefix", "names every file of a run (default: center-loss; softmax-loss for "
        "--train without --center_loss)", type=prefix)
    add(group, "--ckpt_dir", "folder of the trained networks", default="ckpt")
    add(group, "--out_dir", "folder of pictures and histories", default="output")

    group = parser.add_argument_group("devices")
    add(group, "--use_gpu", "use a GPU if there is one", type=truth, nargs="?", const=True,
        default=False, metavar="True|False")
    add(group, "--gpus", "split each batch over these GPUs, for example 0,1", type=gpu_list)
    add(group, "--kvstore", "how gradients are exchanged: within this process (device), or "
        "between several processes, whose DMLC_* variables say where they are",
        choices=("device", "dist_sync", "dist_async"), default="device")
    # fmt: on
    return parser


def whole(low, high=2**31 - 1):
    """A type for argparse: a whole number in [low, high]."""

    def convert(text):
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    convert.__name__ = "whole number"
    return convert


def number(low, above=False):
    """A type for argparse: a finite number, at least or above `low`."""

    def convert(text):
        value = float(text)
        if not math.isfinite(value) or value < low or (above and value == low):
            bound = "above" if above else "at least"
            raise argparse.ArgumentTypeError(f"{text} is not a finite number {bound} {low}")
        return value

    convert.__name__ = "number"
    return convert


def momentum(text):
    value = number(0)(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not below 1")
    return value


def truth(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text.lower() == "true"


def gpu_list(text):
    gpus = [whole(0)(part) for part in text.split(",")]
    if len(set(gpus)) < len(gpus):
        raise argparse.ArgumentTypeError(f"{text} names a GPU twice")
    return gpus


def prefix(text):
    if not text.isprintable() or not text.strip() or "/" in text or len(text.encode()) > 200:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a part of file names: up to 200 bytes, and no /"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
