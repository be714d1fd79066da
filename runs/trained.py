"""The one door to a trained run: it is found, read, checked, and given the data that fit it."""

import os
from typing import NamedTuple, Optional

import mxnet as mx
import numpy as np

from data import load_dataset
from datasets import mnist
from datasets.dataset import POLARITY, Reading, edges, light_on_dark
from learner import build, build_center_loss, centers_of, set_params
from models import FeatureNet
from process.console import say, warn
from process.errors import UserError
from recipe import DATASETS, Network, Recipe
from runs.record import Record
from runs.run import SHIPPED, Run
from utils import classify

MNIST_SHAPE = (1, 28, 28)


class Trained(NamedTuple):
    """The best network of a run, as it was read."""

    run: Run
    record: Optional[Record]  # None for a run of the program of 2019
    network: Network
    params: dict  # of str to float32 array, those of the network
    centers: Optional[dict]  # like `params`

    @property
    def dataset(self):
        """The fingerprint of what the run was trained on; None for a run of 2019."""
        return self.record and self.record.dataset

    @property
    def classes(self):
        """The classes that the run was trained on, (K,) int; None where they are unknown."""
        return self.dataset and np.array(self.dataset.classes)

    @property
    def image_shape(self):
        """(C, H, W) of the images that the network takes."""
        return tuple(self.dataset.shape) if self.dataset else MNIST_SHAPE

    @property
    def light_on_dark(self):
        """Whether the images of training were that; None where it is unknown, or where they do
        not agree."""
        return self.dataset and light_on_dark(self.dataset.edge)

    @property
    def prepares(self):
        """Whether image files are prepared as MNIST's digits were.

        They are where the run was trained on IDX files of 28 x 28 whose edges are black, as the
        characters of MNIST and EMNIST are, but not those of Fashion-MNIST.
        """
        if self.network.prepare != "auto":
            return self.network.prepare == "mnist"
        known = self.dataset
        return self.image_shape == MNIST_SHAPE and (
            known is None or (known.names is None and known.edge == 0)
        )

    @property
    def reading(self):
        """How data are read for the run, a `datasets.dataset.Reading`."""
        trained_on = (self.dataset.name,) if self.dataset else ()
        return Reading(self.image_shape, self.prepares, self.names, trained_on)

    @property
    def method(self):
        """The evaluation method by which the best network was chosen."""
        return (self.record.recipe if self.record else Recipe).eval_method

    def count_unlike(self, images):
        """How many of images (N, C, H, W) have light edges where those of training had dark ones,
        or the other way round."""
        light_on_dark = self.light_on_dark
        return 0 if light_on_dark is None else ((edges(images) < 128) != light_on_dark).sum()

    def warn_of_unlike(self, count, which):
        """Warn of so many images that `count_unlike` found, if any."""
        if count:
            warn(
                f"{count} {which} are {POLARITY[not self.light_on_dark]}, unlike those of "
                "training: invert them, or let --prepare mnist find the ink in both"
            )

    @property
    def names(self):
        """The names of all classes, numbers where they have no others."""
        numbers = list(map(str, range(self.network.num_classes)))
        return (self.dataset and self.dataset.names) or numbers

    def threshold(self, reject):
        """See `Record.threshold`."""
        if self.record is None:
            raise UserError(
                f"{self.run.prefix} has no record, so no distances are known: train it again"
            )
        return self.record.threshold(reject)

    def check_data(self, dataset, named):
        """Say so where the run is used on other data than it was trained on.

        `named` says whether the user named it. Raises UserError where the classes have other names,
        the test images are those of training, or the run was trained on a folder that has the name
        of another data set.
        """
        prefix = self.run.prefix
        if self.record is None or self.record.same_data(dataset):
            return
        if self.dataset.sha256 == mnist.FINGERPRINT and dataset.name == "mnist5k":
            raise UserError(
                f"{prefix} was trained on MNIST, whose training set has all images of mnist5k: "
                f"no test could be made with them. {mnist.MNIST.where_it_goes()}"
            )
        if not named:
            raise UserError(
                f"{prefix} was trained on a folder {self.dataset.name}, which had other images or "
                f"labels than {self.record.data_dir or 'the data set'} has: say with --data_dir "
                "where it is"
            )
        theirs = dataset.names or list(map(str, range(self.network.num_classes)))
        if self.names != theirs:
            raise UserError(
                f"{prefix} was trained on the classes {', '.join(self.names)}, and {dataset.name} "
                f"has {', '.join(theirs)}: choose another --data_dir or --prefix"
            )
        warn(
            f"{prefix} was trained on {self.dataset.name}, and is now used on other data: "
            f"{dataset.name}"
        )
        unlike = self.count_unlike(dataset.test.images)
        self.warn_of_unlike(unlike, f"test images of {dataset.name}")

    def copy_to(self, net, center_loss=None):
        """Put the network and the centers into blocks."""
        set_params(net, self.params, self.run.best_params)
        if center_loss is not None:
            set_params(center_loss, self.centers, self.run.feature_matrix)

    def on(self, ctx, image_shape=None):
        """The run on a device, ready to answer."""
        net = build(self.network, image_shape or self.image_shape, [ctx])
        center_loss = build_center_loss(self.network, [ctx]) if self.centers else None
        self.copy_to(net, center_loss)
        return Loaded(net, centers_of(center_loss), self.classes, ctx)


class Loaded(NamedTuple):
    """A `models.FeatureNet` on a device, its centers, (num_classes, d) float32 or None, and the
    classes that it was trained on, (K,) int or None."""

    net: FeatureNet
    centers: Optional[np.ndarray]
    classes: Optional[np.ndarray]
    ctx: mx.Context

    def answer(self, images):
        """The `utils.Answers` to images (N, C, H, W) uint8."""
        return classify(self.net, self.centers, images, self.ctx, self.classes)


def open_run(run, given, needs_centers_for=None, tell=say):
    """Find a run, the user's or a shipped one, and read its best network: a Trained.

    `given` are the flags that the user gave, `needs_centers_for` is one that a run without centers
    is refused for, and `tell` says where a shipped run is taken. Raises UserError where files are
    missing or damaged, or a flag contradicts them.
    """
    found, shipped = run, Run(run.prefix, SHIPPED, run.out_dir)
    if not run.exists() and shipped.best_params.exists():  # some are shipped without weights
        found = shipped
        tell(
            f"{run.prefix}: there is no run of this name in {run.ckpt_dir}, so the shipped one is "
            "used"
        )
    while True:
        record = found.read_record()
        network = Network.merge(given, record.recipe.flags() if record else {}, run.prefix)
        try:
            return read_best(found, record, network, needs_centers_for)
        except UserError:
            if record == found.read_record():
                raise
            # The run is being trained, and has just finished an epoch: read it again.


def read_best(run, record, network, needs_centers_for):
    """Read the network and the centers that a record speaks of, or the program of 2019 left."""
    path = run.feature_matrix
    centered = path.name in record.sha256 if record else path.exists()
    params = run.read_params(run.best_params, record)
    if needs_centers_for and not centered:
        raise UserError(
            f"{run.prefix} was trained with softmax loss alone and has no feature matrix, "
            f"whose centers {needs_centers_for} needs: train with --center_loss"
        )
    centers = run.read_params(path, record) if centered else None
    return Trained(run, record, network, params, centers)


def choose_data(dataset, data_dir, *records):
    """The `dataset` and the `data_dir` for `data.load_dataset`: those of the flags, which may be
    None, or else what the runs of these records, if any, were trained on, where it is still there;
    raises UserError where they do not tell."""
    records = list(filter(None, records))
    if dataset or data_dir or not records:
        return dataset or "auto", data_dir
    name, prefix, missing = records[0].dataset.name, records[0].prefix, ""
    if len({record.dataset.sha256 for record in records}) == 1:
        folders = [record.data_dir for record in records if record.data_dir]
        for folder in filter(os.path.exists, folders):
            return "auto", folder
        if name in DATASETS and not folders:
            return name, None
        missing = f" in {folders[0]}, which is not there now" if folders else ""
    raise UserError(
        f"{prefix} was trained on {name}{missing}: say with --data_dir where that is, or what else "
        "is to be used"
    )


def load_data(trained, dataset, data_dir):
    """Load the data for trained runs: what the flags name, or else what they were trained on.

    Raises UserError where the data cannot be had, or do not fit one of the runs.
    """
    chosen = choose_data(dataset, data_dir, *(each.record for each in trained))
    first = min(trained, key=lambda each: each.network.num_classes)
    known = sum((each.reading.trained_on for each in trained), ())
    loaded = load_dataset(*chosen, first.network, first.reading._replace(trained_on=known))
    for each in trained:
        if loaded.files and each.reading[:2] != first.reading[:2]:
            raise UserError(
                f"{first.run.prefix} and {each.run.prefix} take pictures in different ways: give "
                "each a --test of its own"
            )
        each.check_data(loaded, named=bool(dataset or data_dir))
    return loaded
