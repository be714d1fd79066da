"""Image sets, read whole into memory as uint8, and the batches cut from them."""

import os
from pathlib import Path

import mxnet as mx
import numpy as np

import models
from datasets import folders, idx, layouts, mnist, mnist5k, tables
from datasets.dataset import DEFAULT, Dataset, Reading, Split, check_dataset, edge_of, is_uneven
from process.console import warn
from process.errors import UserError, check_signals
from recipe import MODELS

SECONDS_TO_TRY = 15  # how long `auto` lets a download take
COPIED_AT_ONCE = 2**21  # pixels of images that wait for their step


def load_dataset(dataset, data_dir, network=DEFAULT, reading=None):
    """Load a set by name, or from a folder: a Dataset, uint8 images and int32 labels.

    Parameters
    ----------
    dataset : str
        ``auto``, or one of `READERS`.
    data_dir : str or None
        A folder with four IDX files, with a folder of images for each class, or with a table; it
        goes before `dataset`.
    network : recipe.Network
        Labels must lie in [0, num_classes).
    reading : datasets.dataset.Reading, optional
        How trained runs read their data; without it the set is to be trained on, and images of
        folders are brought to the network's size and colour.

    Raises UserError where the data cannot be had, is damaged, or does not fit.
    """
    to_train = reading is None
    if data_dir is not None:
        loaded = read_folder(Path(data_dir), reading or Reading.to_train(network))
    else:
        loaded = read_named(dataset)
    check_signals()
    check_dataset(loaded, network, to_train)
    loaded = loaded.as_bytes()
    check_smallest(loaded, network)
    if to_train and is_uneven(loaded.train.labels):
        warn(
            f"{loaded.name}: a class has ten times as many images as another, and accuracies are "
            "those of all images: see each class in --test"
        )
    return loaded


def check_smallest(dataset, network):
    """Raise UserError where the images are too small for the layers of the network."""
    net = getattr(models, MODELS[network.model])(network.num_classes, network.feature_size)
    try:
        net.largest_layer(dataset.shape)
    except mx.MXNetError as error:
        rows, columns = dataset.shape[1:]
        raise UserError(
            f"{dataset.name}: images of {rows} x {columns} pixels are too small for --model "
            f"{network.model}: enlarge them"
        ) from error


def read_named(name):
    """A set that is downloaded, or comes with a package. For ``auto``, MNIST where it is there or
    can be had in `SECONDS_TO_TRY`; otherwise, with a warning, the 5,000 images of it."""
    if name == "auto":
        try:
            return Dataset("mnist", *read_idx(mnist.fetch(mnist.MNIST, SECONDS_TO_TRY)))
        except UserError as error:
            mnist5k.say_why(error)
            name = "mnist5k"
    return Dataset(name, *map(Split._make, READERS[name]()))


def read_idx(folder):
    """Both parts of a folder with four IDX files."""
    return [Split(*idx.read_split(folder, split)) for split in idx.NAMES]


# By --dataset: functions without arguments that give images (N, C, H, W) and labels (N,) of the
# training set, and of the test set.
READERS = {
    "mnist": lambda: read_idx(mnist.fetch(mnist.MNIST)),
    "fashion_mnist": lambda: read_idx(mnist.fetch(mnist.FASHION_MNIST)),
    "mnist5k": mnist5k.read,
}


def count_classes(data_dir):
    """The flag num_classes, in a dict, where it follows from folders of images."""
    counted = data_dir and layouts.holds_images(Path(data_dir))
    return {"num_classes": len(layouts.class_names(Path(data_dir)))} if counted else {}


def read_folder(folder, reading):
    """Read the four IDX files of a folder, its folders of images, or a table; the set is called as
    the folder or the file is."""
    name = os.fsencode(os.path.basename(os.path.realpath(folder))).decode(errors="replace")
    if layouts.holds_images(folder):
        return folders.read(folder, name, reading)
    place = idx.find_folder(folder)
    table = tables.find(folder) if folder.exists() and not place else None
    if table:
        parts = tables.read(folder, table, reading.sets_apart(name))
        return Dataset(name, *map(Split._make, parts))
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder: --data_dir wants one with four IDX files, with a folder of "
            "images for each class, with mnist.npz, or with train.csv"
        )
    return Dataset(name, *read_idx(place or folder))


# --- batches -----------------------------------------------------------------------------------


def warp(images, affine, ground=0.0):
    """Apply maps of `datasets.warps.random_warps` to images, (b, C, H, W) float32.

    What was outside becomes as bright as the `ground`.
    """
    grid = mx.nd.GridGenerator(affine, "affine", images.shape[2:])
    if not ground:
        return mx.nd.BilinearSampler(images, grid)
    return mx.nd.BilinearSampler(images - ground, grid) + ground


def batches(split, batch_size, contexts, order=None, rank=0, workers=1, warps=None):
    """Cut batches, each split over the workers, and a worker's share over its devices.

    Parameters
    ----------
    split : Split
    batch_size : int
        Images in a batch over all workers; the last batch may hold fewer.
    contexts : list of mxnet.Context
        The devices; every batch must have an image for each.
    order : (N,) int array, optional
        The rows in the order in which they are cut.
    rank, workers : int
        Whose share it is, and of how many.
    warps : (N, 6) float32, optional
        How to augment the images, in their order in the batches: see `datasets.warps.random_warps`.
        Where that leaves no pixels, images become as bright as the edges of `split` are.

    Yields a list with one (image, label, batch_labels) for each device: image (b, C, H, W) float32,
    pixel / 255; label (b,) int32; batch_labels (B,) int32, the labels of the whole batch. Raises
    Interrupted before the next batch, if a signal has come.
    """
    order = np.arange(len(split.labels)) if order is None else order
    cuts = [[] for _ in contexts]
    for start in range(0, len(order), batch_size):
        places = np.arange(start, min(start + batch_size, len(order)))
        share = np.array_split(places, workers)[rank]
        for cut, part in zip(cuts, np.array_split(share, len(contexts))):
            cut.append((slice(places[0], places[-1] + 1), slice(part[0], part[-1] + 1)))
    ground = 0.0 if warps is None else edge_of(split) / 255
    devices = [
        slices_for(ctx, split, order, cut, warps, ground) for ctx, cut in zip(contexts, cuts)
    ]
    for slices in zip(*devices):
        yield list(slices)


def slices_for(ctx, split, order, cuts, warps, ground):
    """Yield what one device gets of each batch; `cuts` say for each where in `order` the batch
    lies, and where the device's part of it.
    """
    labels = mx.nd.array(split.labels[order], ctx, dtype="int32")
    warps = None if warps is None else mx.nd.array(warps, ctx)
    copied, images = 0, None  # MXNet finishes what is under way before it copies: so copy seldom
    for number, (batch, part) in enumerate(cuts):
        check_signals()
        size = part.stop - part.start
        if number == copied:
            together = max(1, COPIED_AT_ONCE // (size * split.images[0].size))
            copied, first = number + together, 0
            rows = np.concatenate([order[place] for _, place in cuts[number:copied]])
            images = mx.nd.array(split.images[rows], ctx, dtype="uint8").astype("float32") / 255
        image, label = images[first : first + size], labels[part]
        first += size
        if warps is not None:
            image = warp(image, warps[part], ground)
        yield image, label, label if batch == part else labels[batch]
