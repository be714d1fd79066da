"""A trained run: its best network, read and checked."""

from typing import NamedTuple, Optional

import numpy as np

from process.console import say, warn
from process.errors import UserError
from recipe import Network
from runs.record import Record
from runs.run import SHIPPED, Run

MNIST_SHAPE = (1, 28, 28)


class Trained(NamedTuple):
    """The best network of a run, as it was read.

    Attributes
    ----------
    run : Run
    record : Record or None
        None for a run of the program of 2019.
    network : Network
    params : dict of str to float32 array
        The network's.
    centers : dict of str to float32 array, or None
    """

    run: Run
    record: Optional[Record]
    network: Network
    params: dict
    centers: Optional[dict]

    @property
    def classes(self):
        """The classes that the run was trained on, (K,) int; None where they are unknown."""
        known = self.record and self.record.dataset.get("classes")
        return known and np.array(known)

    @property
    def image_shape(self):
        """(C, H, W) of the images that the network takes."""
        return tuple(self.record.dataset.get("shape", MNIST_SHAPE) if self.record else MNIST_SHAPE)

    @property
    def light_on_dark(self):
        """Whether the images of training were that; None where it is unknown."""
        edge = self.record and self.record.dataset.get("edge")
        return None if edge is None else edge < 128

    def is_unlike(self, edges):
        """Which images, whose edges' brightness is given, are light where training's were dark."""
        known = self.light_on_dark is not None
        return known & ((edges < 128) != self.light_on_dark)

    def name_of(self, j):
        names = self.record and self.record.dataset.get("names")
        return names[j] if names else str(j)

    def threshold(self, share):
        """See `Record.threshold`."""
        if self.record is None:
            raise UserError(f"{self.run.prefix} has no record, which keeps distances: train it")
        return self.record.threshold(share)

    def check_data(self, dataset):
        """Say so where the run was trained on other data than it is used on; refuse other classes.

        Raises
        ------
        UserError
            The names of the classes are others.
        """
        if self.record and not self.record.same_data(dataset):
            ours = [self.name_of(j) for j in range(self.network.num_classes)]
            theirs = dataset.names or list(map(str, range(self.network.num_classes)))
            if ours != theirs:
                raise UserError(
                    f"{self.run.prefix} was trained on the classes {', '.join(ours)}, and "
                    f"{dataset.name} has {', '.join(theirs)}: choose another --data_dir or --prefix"
                )
            warn(
                f"{self.run.prefix} was trained on {self.record.dataset['name']}, and is now used "
                f"on other data: {dataset.name}"
            )


def locate_run(prefix, ckpt_dir, out_dir):
    """The run of this name: the user's own or, where there is none, the one that is shipped."""
    own, shipped = Run(prefix, ckpt_dir, out_dir), Run(prefix, SHIPPED, out_dir)
    # Of some runs the record alone is shipped.
    return own if own.exists() or not shipped.best.exists() else shipped


def find_run(prefix, ckpt_dir, out_dir, tell=say):
    """`locate_run`, which tells where it takes a shipped one."""
    run = locate_run(prefix, ckpt_dir, out_dir)
    if run.ckpt_dir == SHIPPED:
        tell(f"{prefix}: there is no run of this name in {ckpt_dir}, so the shipped one is used")
    return run


def open_run(run, given, needs_centers_for=None):
    """Read the best network of a run.

    Parameters
    ----------
    run : Run
    given : dict
        The flags that the user gave.
    needs_centers_for : str, optional
        A flag that a run without centers is refused for.

    Returns
    -------
    Trained

    Raises
    ------
    UserError
        Its files are missing or damaged, or a flag contradicts them.
    """
    while True:
        record = run.read_record()
        recorded = record.recipe.flags() if record else {}
        network = Network.merge(given, recorded, run.prefix)
        if record:
            centered = run.feature_matrix.name in record.sha256
        else:  # perhaps a run of the program of 2019
            centered = run.feature_matrix.exists()
        if needs_centers_for and not centered and (record or run.best.exists()):
            raise UserError(
                f"{run.prefix} was trained with softmax loss alone and has no feature matrix, "
                f"whose centers {needs_centers_for} needs: train with --center_loss"
            )
        try:
            arrays = run.read_params(run.best, record)
            centers = run.read_params(run.feature_matrix, record) if centered else None
        except UserError:
            if record == run.read_record():
                raise
            continue  # the run is being trained, and has just finished an epoch: read it again
        return Trained(run, record, network, arrays, centers)
