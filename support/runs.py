"""What a run is on disk: its files, and writing that loses nothing."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from support import params
from support.console import say, warn
from support.errors import UserError
from support.files import (
    make_folder,
    new_name,
    read_file,
    remove,
    rename_new,
    write_atomically,
    write_new,
)
from support.recipe import Network
from support.records import OtherVersion, Record, sha256

MNIST_SHAPE = (1, 28, 28)
SHIPPED = Path(__file__).parent.parent / "shipped"  # trained runs that come with the program

# --- files of a run ----------------------------------------------------------------------------


def holds(path, digest):
    """Whether a file can be read and has this SHA-256."""
    try:
        return sha256(read_file(path)) == digest
    except OSError:
        return False


class Run:
    """The files of one run, all named after its prefix.

    In `ckpt_dir` stand the best network ``<prefix>-best.params`` and, if there are centers,
    ``<prefix>-feature_matrix.params``; ``<prefix>-resume.params``, what goes on from the last
    finished epoch; and ``<prefix>.json``, the record, with the SHA-256 of the three. In `out_dir`
    stand the pictures and the table of the history.

    An epoch's files belong together, so `commit` writes them as ``.new`` ones first, then replaces
    the record, and only then renames. A ``.new`` file that the record speaks of is as good as
    renamed; any other is a leftover.
    """

    def __init__(self, prefix, ckpt_dir, out_dir):
        self.prefix = prefix
        self.ckpt_dir = Path(ckpt_dir)
        self.out_dir = Path(out_dir)
        self.record_path = self.ckpt_dir / f"{prefix}.json"
        self.best = self.ckpt_dir / f"{prefix}-best.params"
        self.feature_matrix = self.ckpt_dir / f"{prefix}-feature_matrix.params"
        self.resume = self.ckpt_dir / f"{prefix}-resume.params"

    def picture(self, name):
        return self.out_dir / f"{self.prefix}-{name}"

    def exists(self):
        """Whether there is a record, or a network that the program of 2019 left."""
        return self.record_path.exists() or self.best.exists()

    @contextlib.contextmanager
    def locked(self):
        """Make the folders and keep every other process from training this run meanwhile.

        Raises
        ------
        UserError
            Another process does, or a folder cannot be written.
        """
        make_folder(self.ckpt_dir)
        make_folder(self.out_dir)
        path = self.ckpt_dir / f"{self.prefix}.lock"
        with contextlib.ExitStack() as stack:
            try:
                # Not through a link, which may lead to a file that is worth something.
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
                lock = stack.enter_context(open(os.open(path, flags, 0o666), "w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"another process is training {self.prefix} in {self.ckpt_dir}: "
                    "wait for it, or choose another --prefix"
                ) from error
            except OSError as error:
                raise UserError(f"{path} cannot be locked ({error.strerror})") from error
            yield

    def read_record(self):
        """Read the record.

        Returns
        -------
        Record or None
            None: there is no such run, or only the parameter files of the program of 2019.

        Raises
        ------
        UserError
            It is damaged, or another version's.
        """
        try:
            return Record.from_bytes(read_file(self.record_path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{self.record_path} cannot be read ({error.strerror})") from error
        except OtherVersion as error:
            raise UserError(
                f"{self.record_path} was written by another version of this program: "
                "choose another --prefix, or delete it and train without --resume"
            ) from error
        except ValueError as error:
            raise UserError(
                f"{self.record_path} is damaged: restore it, or delete it and train without "
                "--resume"
            ) from error

    def origin(self, record):
        """How a second training records that it starts from this run, whose record is given."""
        digest = record.sha256[self.best.name]
        return {"prefix": self.prefix, "epoch": record.best["epoch"], "sha256": digest}

    def commit(self, record, files):
        """Make a finished epoch the run's state, all of it or nothing.

        Parameters
        ----------
        record : Record
            Its `sha256` is brought up to date here.
        files : dict of Path to dict of str to float32 array
            The parameters of those of the run's files that change.
        """
        try:
            for path, arrays in files.items():
                content = params.pack(arrays)
                write_new(path, content)
                record.sha256[path.name] = sha256(content)
            write_atomically(self.record_path, record.to_bytes())
        except UserError:
            for path in (*files, self.record_path):
                remove(new_name(path))
            raise
        self.recover(record)

    def recover(self, record):
        """Finish what a `commit` began before it was killed, and remove what it left.

        `record` is the run's, or None where no epoch was ever committed.
        """
        kept = record.sha256 if record else {}
        for path in (self.best, self.feature_matrix, self.resume):
            new = new_name(path)
            if os.path.lexists(new):
                if holds(new, kept.get(path.name)):
                    rename_new(path)
                else:
                    remove(new)
            if record and path.name not in kept:
                remove(path)  # of an earlier run of this name, as its centers here are
        remove(new_name(self.record_path))

    def read_params(self, path, record):
        """Read a parameter file of this run.

        Parameters
        ----------
        path : Path
        record : Record or None
            Whose SHA-256 the file must have; None for the program of 2019's.

        Returns
        -------
        dict of str to float32 array

        Raises
        ------
        UserError
            The file is missing or damaged.
        """
        wanted = record.sha256.get(path.name) if record else None
        for candidate in (path, new_name(path)) if record else (path,):
            try:
                content = read_file(candidate)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise UserError(f"{candidate} cannot be read ({error.strerror})") from error
            if record and sha256(content) != wanted:
                continue
            try:
                return params.unpack(content)
            except ValueError as error:
                raise UserError(f"{candidate} is damaged: {error}") from error
        if path.exists():
            raise UserError(
                f"{path} is damaged: its SHA-256 is not the one that {self.record_path.name} keeps"
            )
        raise UserError(
            f"{path} is missing: train the run {self.prefix} first, or say with --ckpt_dir where "
            f"it is (this is {self.ckpt_dir.absolute()})"
        )


# --- trained runs ------------------------------------------------------------------------------


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
