"""What a run is on disk: its files, and writing that loses nothing."""

import contextlib
import fcntl
import os
from pathlib import Path

from process.errors import UserError
from process.files import (
    claim,
    claimed,
    make_folder,
    new_name,
    read_file,
    remove_new,
    rename_new,
    write_atomically,
    write_new,
)
from runs import params
from runs.record import Origin, OtherVersion, Record, sha256

OUTPUTS = (  # of a run, in --out_dir, behind its prefix
    "history.csv", "curves.png", "train.gif", "test.gif", "epochs.html",  # of a training
    "test.png", "test.html", "test.csv", "test.features.csv",  # of --test
)  # fmt: skip
SHIPPED = Path(__file__).parent.parent / "shipped"  # trained runs that come with the program


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
        self.best_params = self.ckpt_dir / f"{prefix}-best.params"
        self.feature_matrix = self.ckpt_dir / f"{prefix}-feature_matrix.params"
        self.resume_params = self.ckpt_dir / f"{prefix}-resume.params"
        self.folder = self.out_dir / prefix  # where the frames of the epochs go
        self.onnx = self.out_dir / f"{prefix}.onnx"  # what --export writes
        self.onnx_facts = self.out_dir / f"{prefix}.onnx.json"

    def picture(self, name):
        return self.out_dir / f"{self.prefix}-{name}"

    def outputs(self):
        """The pictures and tables of this run that are there, and what was exported from it."""
        noted = claimed(self.out_dir)
        paths = [*map(self.picture, OUTPUTS), self.onnx, self.onnx_facts]
        return [path for path in paths if path.name in noted and os.path.lexists(path)]

    def claim(self):
        """Make `out_dir`, and see that nothing is in the way of this run's pictures and tables:
        raises UserError."""
        names = [self.picture(name).name for name in OUTPUTS]
        # Versions that kept no list of what they wrote wrote a history.
        begun = self.record_path.exists() and self.picture("history.csv").exists()
        claim(self.out_dir, [self.prefix, *names], older=names if begun else ())

    def exists(self):
        """Whether there is a record, or a network that the program of 2019 left."""
        return self.record_path.exists() or self.best_params.exists()

    def has_history(self, record):
        """Whether the table of the history, which an epoch writes last, is up to date."""
        try:
            return read_file(self.picture("history.csv")) == record.history_csv()
        except OSError:
            return False

    @contextlib.contextmanager
    def locked(self):
        """Make the folders, and keep every other process from training this run, or one of its name
        elsewhere whose pictures go to the same folder, meanwhile.

        Raises UserError where another process does, a folder cannot be written, or the pictures
        that are there are of another run.
        """
        self.claim()
        make_folder(self.ckpt_dir)
        locks = self.ckpt_dir / f"{self.prefix}.lock", self.out_dir / f".{self.prefix}.lock"
        with contextlib.ExitStack() as stack:
            for path in locks:
                try:
                    lock = stack.enter_context(open(path, "a+b"))
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise UserError(
                        f"another process is training {self.prefix} in {path.parent}: "
                        "wait for it, or choose another --prefix"
                    ) from error
                except OSError as error:
                    raise UserError(f"{path} cannot be locked ({error.strerror})") from error
            self.own_pictures(lock)
            yield

    def own_pictures(self, lock):
        """Note in the lock where the run is whose pictures lie in `out_dir`, unless that is another
        one, which is there yet."""
        lock.seek(0)
        here, there = os.path.realpath(self.ckpt_dir), os.fsdecode(lock.read())
        owner = Path(os.path.normpath(self.out_dir / there))
        if there and os.path.realpath(owner) != here and (owner / self.record_path.name).exists():
            raise UserError(
                f"{self.out_dir} has the pictures of {self.prefix} in {owner}: "
                "choose another --prefix or --out_dir"
            )
        lock.truncate(0)
        lock.write(os.fsencode(os.path.relpath(here, os.path.realpath(self.out_dir))))
        lock.flush()

    def read_record(self):
        """The record; None where there is no such run, or only the files of the program of 2019.

        Raises UserError where it is damaged, another version's, or another run's.
        """
        try:
            record = Record.from_bytes(read_file(self.record_path))
        except FileNotFoundError:
            return None
        except OtherVersion as error:
            raise UserError(
                f"{self.record_path} was written by another version of this program ({error}): "
                "choose another --prefix, or delete it and train without --resume"
            ) from error
        except ValueError as error:
            raise UserError(
                f"{self.record_path} is damaged: restore it, or delete it and train without "
                "--resume"
            ) from error
        if record.prefix != self.prefix:  # its files have other names, too
            raise UserError(
                f"{self.record_path} is the record of the run {record.prefix}: give its files "
                "these names back, or choose another --prefix"
            )
        return record

    def origin(self, record):
        """How a second training records that it starts from this run, whose record is given."""
        return Origin(self.prefix, record.best.epoch, record.sha256[self.best_params.name])

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
            remove_new([*files, self.record_path])
            raise
        self.recover(record)

    def recover(self, record):
        """Finish what a `commit` began before it was killed, and remove what it left.

        `record` is the run's, or None where no epoch was ever committed.
        """
        kept = record.sha256 if record else {}
        for path in (self.best_params, self.feature_matrix, self.resume_params):
            new = new_name(path)
            if os.path.lexists(new):
                wanted = kept.get(path.name)
                if wanted and new.is_file() and sha256(read_file(new)) == wanted:
                    rename_new(path)
                else:
                    new.unlink()
            if record and path.name not in kept:
                path.unlink(missing_ok=True)  # left by an earlier run of this name
        new_name(self.record_path).unlink(missing_ok=True)

    def read_params(self, path, record):
        """The arrays of a parameter file of this run, which must have the SHA-256 that the record,
        None for the program of 2019's, keeps; raises UserError where it is missing or damaged."""
        wanted = record.sha256.get(path.name) if record else None
        for candidate in (path, new_name(path)) if record else (path,):
            try:
                content = read_file(candidate)
            except FileNotFoundError:
                continue
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
