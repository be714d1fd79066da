"""Train and test networks with softmax loss and center loss. `python main.py --help` tells how."""

import argparse
import atexit
import contextlib
import difflib
import math
import os
import re
import shlex
import sys
import traceback

import recipe
from cluster import meeting
from process.console import OutputLost, abandon_output, fail, note, occupy_closed_streams
from process.errors import Interrupted, UserError, noting_signals
from process.startup import how_to_install, prepare_matplotlib, prepare_mxnet


def main(argv=None):
    """Run the command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    with noting_signals():
        return answer(argv, args)


def answer(argv, args):
    """Do what the flags say, or say in one line what keeps that from its end."""
    # Each answer ends a cluster's process before the error is forgotten, and with it the
    # connection: its end would wait for the other workers, who wait for us.
    try:
        act(args)
    except UserError as error:
        return end(args, error)
    except Interrupted as interrupted:
        resume = ["--resume"] if interrupted.resume and not args.resume else []
        command = shlex.join(["python", "main.py", *argv, *resume])
        note(f"Interrupted: {interrupted.kept}. To go on: {command}")
        return end(args, status=128 + interrupted.signum)
    except KeyboardInterrupt:  # a second Ctrl-C
        return end(args, status=130)
    except OutputLost as error:
        abandon_output()
        return end(args, f"{error}; --resume goes on" if error.resume else error)
    except ModuleNotFoundError as error:
        return end(args, how_to_install(error))
    except OSError as error:
        return end(args, f"{error.filename}: {error.strerror}" if error.filename else error)
    except Exception as error:
        if lacks_memory(error):
            if not isinstance(error, MemoryError):
                atexit.register(os._exit, 1)  # MXNet's end would raise the error again
            advice = "try a lower --batch_size, --num_classes or --feature_size"
            return end(args, f"not enough memory: {advice}")
        if args.kvstore == "device":
            raise
        traceback.print_exc()  # the others must hear of a fault of this program, too
        return end(args, f"{type(error).__name__}, a fault of this program: see above")
    return 0


def lacks_memory(error):
    """Whether an error means that; MXNet has no class of its own for it."""
    signs = "emory|bad_alloc|AlignedMalloc|temporarily unavailable"
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and re.search(signs, str(error))
    )


def end(args, error=None, status=1):
    """Say what is wrong, and give the exit status."""
    if args.kvstore != "device":
        meeting.end(status, error)
    if error is not None:
        fail(error)
    return status


def act(args):
    """Do what the flags say."""
    alone = args.kvstore == "device"
    if not alone:
        decisive = ("kvstore", "train", "second_train", "prefix", "resume", "epochs")
        flags = {**{name: getattr(args, name) for name in decisive}, **args.given}
        member = meeting.join({f"--{name}": value for name, value in flags.items()})
    prepare_mxnet()
    prepare_matplotlib()
    # Not before the flags are known to be right: MXNet takes seconds to import.
    from cluster.workers import Alone, Workers, serve
    from evaluation import compare, test
    from inference.predict import image_files, predict
    from train import train

    if not alone and os.environ["DMLC_ROLE"] != "worker":
        serve()
        return
    workers = Alone() if alone else Workers(args.kvstore, member)
    if workers.leads:  # what would fail after a training fails before it
        for paths in (args.predict, args.unknown and [args.unknown]):
            if paths:
                image_files(paths)
        if args.export:
            from inference.export import export  # which needs more packages than the rest
    if args.train:
        train(args, workers)
    with after_training(args.train):
        if args.second_train:
            train(args, workers, second=True)
    with after_training(args.train or args.second_train):
        for action in (test, compare, predict):
            if getattr(args, action.__name__) and workers.leads:
                action(args)
        if args.export and workers.leads:
            export(args)
    workers.leave()


@contextlib.contextmanager
def after_training(trained):
    """Let what is interrupted now go on with --resume, if something was `trained` before."""
    try:
        yield
    except Interrupted as one:
        if trained:
            kept = one.kept if one.resume else "what was trained is kept"
            raise Interrupted(one.signum, kept, resume=True) from one
        raise


def parse(argv):
    """Parse the command line.

    Returns
    -------
    argparse.Namespace
        All flags; those of a recipe, which a run's record may decide, only where they were given,
        in the dict `given`.

    Raises
    ------
    SystemExit
        With status 2, after a line that says what is wrong.
    """
    parser = new_parser()
    args = parser.parse_args(argv)
    flags = vars(args)
    args.given = {name: flags.pop(name) for name in recipe.Recipe.names() if name in flags}
    check(args, parser.error)
    if args.prefix is None:
        softmax_only = args.train and not args.given.get("center_loss")
        args.prefix = "softmax-loss" if softmax_only else "center-loss"
    return args


def check(args, error):
    """Call `error` with a text where flags do not go together."""
    given = recipe.Recipe.merge(args.given)
    softmax_only = args.train and not given.center_loss and not args.resume
    actions = ("train", "second_train", "test", "compare", "predict", "export")
    if not any(getattr(args, name) for name in actions):
        error(f"nothing to do: give --{', --'.join(actions[:-1])} or --{actions[-1]}")
    if args.threshold is not None and args.reject is not None:
        error("--threshold and --reject both say where an image is unknown: give one")
    if args.threshold is not None and not args.predict:
        error("--threshold goes with --predict")
    if args.reject is not None and not (args.predict or args.unknown or args.export):
        error("--reject goes with --predict, --unknown or --export")
    if (args.invert or args.format != "text") and not args.predict:
        error("--invert and --format go with --predict")
    if args.unknown and not args.test:
        error("--unknown goes with --test")
    if given.num_classes * given.feature_size >= 2**31 - 1:
        error("--num_classes x --feature_size must stay below 2^31, the limit of MXNet")
    if given.center_loss and not args.train:
        error("--center_loss goes with --train")
    if softmax_only and given.eval_method == "knn":
        error("--eval_method knn needs centers: train with --center_loss")
    limited = args.threshold is not None or (args.reject is not None and not args.unknown)
    if softmax_only and limited:
        error("--threshold and --reject need centers: train with --center_loss")
    if softmax_only and args.second_train:
        error("--second_train needs centers: train with --center_loss")
    if args.resume and not (args.train or args.second_train):
        error("--resume goes with --train or --second_train")
    if args.kvstore != "device" and not (args.train or args.second_train):
        error(f"--kvstore {args.kvstore} goes with --train or --second_train")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and which knows what typos were meant to be."""

    def parse_args(self, argv):
        args, unknown = self.parse_known_args(argv)
        if unknown:
            hint = ""
            for word in unknown:
                flag = word.partition("=")[0].replace("-", "_").replace("__", "--", 1)
                close = difflib.get_close_matches(flag, self._option_string_actions, 1, 0.8)
                hint = hint or (f": did you mean {close[0]}?" if close else "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return args

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def new_parser():
    parser = Parser(
        prog="main.py",
        description="Train and use networks with softmax loss and center loss, on MNIST or on "
        "your own images.",
        epilog="Actions given together run in this order.",
        allow_abbrev=False,
    )

    def add(group, flag, text, **kwargs):
        default = kwargs.get("default", getattr(recipe.Recipe, flag[2:], None))
        shown = "" if default is None or default is False else f" (default: {default})"
        if flag[2:] in recipe.Recipe.names():
            kwargs["default"] = argparse.SUPPRESS  # what is absent was not given
        group.add_argument(flag, help=text + shown, **kwargs)

    # fmt: off
    group = parser.add_argument_group("actions")
    add(group, "--train", "train from scratch", action="store_true")
    add(group, "--second_train", "go on from the best network of a run with center loss alone; "
        "the centers stay fixed, and the new run is called <prefix>-second", action="store_true")
    add(group, "--test", "evaluate the best network of a run on the test set", action="store_true")
    add(group, "--compare", "evaluate runs on both sets by both methods, print tables, and draw "
        "their feature maps one under the other", type=prefix, nargs="+", metavar="PREFIX")
    add(group, "--predict", "say which class images are of: files, or folders of them",
        nargs="+", metavar="PATH")
    add(group, "--export", "write the best network of a run, its centers and the threshold as "
        "<prefix>.onnx in --out_dir", action="store_true")

    group = parser.add_argument_group("loss and network")
    add(group, "--center_loss", "train with softmax loss + center loss", action="store_true")
    add(group, "--formulation", "of the center loss: balanced between the classes of a batch, or "
        "the paper's", choices=recipe.FORMULATIONS)
    add(group, "--lmbd", "weight of the center loss", type=number(0))
    add(group, "--alpha", "learning rate of the centers", type=number(0))
    add(group, "--model", "network: LeNet++ of the paper, or the smaller and faster LeNet",
        choices=recipe.MODELS)
    add(group, "--no_bias", "feature layer and classifier without biases", action="store_true")
    add(group, "--num_classes", "number of classes; folders of images tell it",
        type=whole(*recipe.WHOLE["num_classes"]))
    add(group, "--image_size", "to how many pixels each side of a folder's images is brought",
        type=whole(*recipe.WHOLE["image_size"]))
    add(group, "--color", "keep the colours of a folder's images", action="store_true")
    add(group, "--feature_size", "number of features", type=whole(*recipe.WHOLE["feature_size"]))

    group = parser.add_argument_group("training")
    add(group, "--epochs", "how often to go through the training set "
        f"(default: {recipe.EPOCHS})", type=whole(1))
    add(group, "--batch_size", "images in a step",
        type=whole(*recipe.WHOLE["batch_size"]))
    add(group, "--lr", "learning rate", type=number(0, above=True))
    add(group, "--lr_step", "epochs after which both learning rates are multiplied by lr_factor",
        type=whole(*recipe.WHOLE["lr_step"]))
    add(group, "--lr_factor", "see --lr_step", type=number(0, above=True))
    add(group, "--lr_schedule", "how they fall: in steps, or within each step also along a cosine "
        "to zero", choices=recipe.LR_SCHEDULES)
    add(group, "--augment", "turn, slant, scale and shift the training images at random",
        action="store_true")
    add(group, "--momentum", "of SGD, for the network; in [0, 1)", type=momentum)
    add(group, "--wd", "weight decay", type=number(0))
    add(group, "--seed", "the same seed gives the same numbers",
        type=whole(*recipe.WHOLE["seed"]))
    add(group, "--resume", "go on after the last finished epoch; flags not given are those the "
        "run was begun with", action="store_true")

    group = parser.add_argument_group("evaluation and pictures")
    add(group, "--eval_method", "class prediction, or the nearest center",
        choices=recipe.EVAL_METHODS)
    add(group, "--plotting", "draw the features of each epoch, and GIFs of them",
        action="store_true")
    add(group, "--unknown", "with --test: how well these images of no class are told from the test "
        "images; images, a folder of them, or an IDX file", metavar="PATH")

    group = parser.add_argument_group("prediction")
    add(group, "--format", "of the lines", choices=("text", "csv", "json"), default="text")
    add(group, "--threshold", "call an image unknown whose nearest center is farther than this",
        type=number(0))
    add(group, "--reject", "the same, at the distance that this share of the test images exceeds, "
        "for example 0.05; also of --unknown, and kept by --export", type=share)
    add(group, "--invert", "turn dark images on light ground into light ones on dark, and the "
        "other way round", action="store_true")

    group = parser.add_argument_group("data and files")
    add(group, "--dataset", "mnist is downloaded if need be; mnist5k is 5,000 images of it that "
        "need no network; auto is mnist if it can be had, else mnist5k (default: that of the run, "
        "and auto for a new one)",
        choices=recipe.DATASETS)
    add(group, "--data_dir", "folder with the four IDX files of a data set, packed (.gz) or not, "
        "or with a folder of images for each class: train/<class>/* and test/<class>/*")
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


def whole(low, high=recipe.MOST):
    """A type for argparse: a whole number in [low, high]."""

    def convert(text):
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    convert.__name__ = "whole number"
    return convert


def number(low, above=False):
    """A type for argparse: a number at least or above `low` that fits MXNet's float32."""

    def convert(text):
        value = float(text)
        if not math.isfinite(value) or value < low or (above and value == low):
            bound = "above" if above else "at least"
            raise argparse.ArgumentTypeError(f"{text} is not a finite number {bound} {low}")
        if not recipe.fits(value):
            raise argparse.ArgumentTypeError(
                f"{text} is not between {recipe.TINY} and {recipe.HUGE}, as MXNet needs it"
            )
        return value

    convert.__name__ = "number"
    return convert


def momentum(text):
    value = number(0)(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not below 1")
    return value


def share(text):
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def truth(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text.lower() == "true"


def gpu_list(text):
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of GPUs such as 0,1")
    gpus = [int(part) for part in text.split(",")]
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
    occupy_closed_streams()
    sys.exit(main())
