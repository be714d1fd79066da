"""Cut a validation set from MNIST's training set, to choose recipes without the test set.

`python -m experiments.validation FOLDER` writes four IDX files for `main.py --data_dir FOLDER`: the
first 50,000 training images to train, and the last 10,000 in the place of the test set, which is
left out. `--data_dir` names MNIST's own folder where it is not to be downloaded.
"""

import argparse
from pathlib import Path

import numpy as np

from experiments import answer
from process import arguments
from process.errors import UserError
from process.startup import prepare_mxnet

VALIDATION_SHARE = 6  # one image of so many


def cut(folder, data_dir):
    """Write the set.

    Parameters
    ----------
    folder : Path
        Where: a new one, or that of an earlier cut.
    data_dir : str or None
        Whence: a folder with four IDX files, or MNIST's usual place.

    Raises
    ------
    UserError
        The images cannot be read, the set cannot be written, or `folder` is where the images are.
    """
    prepare_mxnet()
    from data import load_dataset
    from datasets import mnist
    from process.files import make_folder, write_atomically
    from recipe import Network

    images, labels = load_dataset("mnist", data_dir, Network(num_classes=256)).train
    source = Path(data_dir) if data_dir else mnist.MNIST.home
    if folder.resolve() == source.resolve():
        raise UserError(f"{folder} holds the images themselves: choose another folder")
    if images.shape[1] != 1:
        raise UserError("the images are coloured, and this writes grey ones")
    first = len(labels) - len(labels) // VALIDATION_SHARE
    make_folder(folder)
    for name, rows in (("train", slice(first)), ("t10k", slice(first, None))):
        write_atomically(folder / f"{name}-images-idx3-ubyte", idx(images[rows, 0]))
        write_atomically(folder / f"{name}-labels-idx1-ubyte", idx(labels[rows]))


def idx(array):
    """The bytes of an IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.validation", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data_dir", type=arguments.path)
    args = parser.parse_args()
    answer("validation", cut, args.folder, args.data_dir)
