"""The files of a run: parameters in MXNet's format, the record, and writing that loses nothing."""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import struct
import tempfile
from pathlib import Path

import mxnet as mx
import numpy as np

from runtime import UserError

# --- parameter files ---------------------------------------------------------------------------
#
# MXNet's own format, read and written here: its loader crashes on some damaged files and takes
# gigabytes for others, and its writer does not notice a full disk.

LIST_MAGIC, ARRAY_MAGIC, DENSE, FLOAT32 = 0x112, 0xF993FAC9, 0, 0


def pack_params(arrays):
    """Write float32 arrays in the format of ``mxnet.nd.save``.

    Parameters
    ----------
    arrays : dict of str to float32 array

    Returns
    -------
    bytes
    """
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))]
    for array in arrays.values():
        parts.append(struct.pack("<Iii", ARRAY_MAGIC, DENSE, array.ndim))
        parts.append(struct.pack(f"<{array.ndim}q", *array.shape))
        parts.append(struct.pack("<iii", mx.cpu().device_typeid, 0, FLOAT32))
        parts.append(np.ascontiguousarray(array, "<f4").tobytes())
    parts.append(struct.pack("<Q", len(arrays)))
    for name in map(str.encode, arrays):
        parts.append(struct.pack("<Q", len(name)) + name)
    return b"".join(parts)


def unpack_params(content):
    """Read what `pack_params`, or ``mxnet.nd.save`` since MXNet 1.0, wrote of float32 arrays.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    dict of str to float32 array

    Raises
    ------
    ValueError
        Anything else.
    """
    file = io.BytesIO(content)

    def read(form):
        values = struct.unpack(form, file.read(struct.calcsize(form)))
        return values if len(values) > 1 else values[0]

    try:
        magic, _, count = read("<QQQ")
        arrays = []
        for _ in range(count if magic == LIST_MAGIC else 0):
            magic, storage, ndim = read("<Iii")
            if magic != ARRAY_MAGIC or storage != DENSE or not 0 < ndim <= 4:
                raise ValueError("an array of an unknown kind")
            shape = tuple(read("<q") for _ in range(ndim))
            if read("<iii")[2] != FLOAT32 or min(shape) <= 0:
                raise ValueError("an array of an unknown type")
            size = 4 * np.prod(shape, dtype=object)
            data = file.read(min(size, len(content)))
            if len(data) < size:
                raise ValueError("it is truncated")
            arrays.append(np.frombuffer(data, "<f4").reshape(shape))
        if magic not in (LIST_MAGIC, ARRAY_MAGIC) or read("<Q") != len(arrays):
            raise ValueError("it is not a parameter file")
        names = [file.read(min(read("<Q"), len(content))).decode() for _ in arrays]
        if file.read(1) or len(set(names)) < len(names):
            raise ValueError("it holds more than its arrays")
    except struct.error as error:
        raise ValueError("it is truncated") from error
    return dict(zip(names, arrays))


# --- files of a run ----------------------------------------------------------------------------


def make_folder(folder):
    """Make a folder unless it is there, and see whether it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror})") from error


def write_atomically(path, content):
    """Write bytes beside `path`, then rename: whatever happens, `path` is whole, old or new."""
    write_new(path, content)
    rename_new(path)


def write_new(path, content):
    """Write bytes beside `path`, where `rename_new` finds them."""
    try:
        with open(new_name(path), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(new_name(path))
        raise UserError(f"{path} cannot be written ({error.strerror})") from error


def rename_new(path):
    try:
        os.replace(new_name(path), path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error


def new_name(path):
    return path.with_name(f"{path.name}.new")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Run:
    """The files of one run, all named after its prefix.

    In `ckpt_dir` stand the best network ``<prefix>-best.params`` and, if there are centers,
    ``<prefix>-feature_matrix.params``; ``<prefix>-resume.params``, what goes on from the last
    finished epoch; and ``<prefix>.json``, the record: what the run is, its history, and the
    SHA-256 of the three. In `out_dir` stand the pictures and the table of the history.

    An epoch's files belong together, so `commit` writes them as ``.new`` ones first, then replaces
    the record, and only then renames. A ``.new`` file that the record speaks of is as good as
    renamed; any other is a leftover.
    """

    def __init__(self, prefix, ckpt_dir, out_dir):
        self.prefix = prefix
        self.ckpt_dir = Path(ckpt_dir)
        self.out_dir = Path(out_dir)
        self.record = self.ckpt_dir / f"{prefix}.json"
        self.best = self.ckpt_dir / f"{prefix}-best.params"
        self.feature_matrix = self.ckpt_dir / f"{prefix}-feature_matrix.params"
        self.resume = self.ckpt_dir / f"{prefix}-resume.params"

    def picture(self, name):
        return self.out_dir / f"{self.prefix}-{name}"

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
                lock = stack.enter_context(open(path, "w"))
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
        dict or None
            None: there is no such run, or only the parameter files of the program of 2019.

        Raises
        ------
        UserError
            It is damaged.
        """
        try:
            content = self.record.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{self.record} cannot be read ({error.strerror})") from error
        try:
            record = json.loads(content)
            checksum = record.pop("checksum")
        except (ValueError, RecursionError, KeyError, AttributeError, TypeError):
            checksum = record = None
        if record is None or checksum != sha256(dump(record)):
            raise UserError(
                f"{self.record} is damaged: restore it, or delete it and train without --resume"
            )
        return record

    def commit(self, record, files):
        """Make a finished epoch the run's state, all of it or nothing.

        Parameters
        ----------
        record : dict
            ``sha256`` is brought up to date here.
        files : dict of Path to bytes
            What changed among the run's parameter files.
        """
        for path, content in files.items():
            write_new(path, content)
            record["sha256"][path.name] = sha256(content)
        write_atomically(self.record, dump({**record, "checksum": sha256(dump(record))}))
        self.settle(record)

    def settle(self, record):
        """Finish what a `commit` began before it was killed, and remove what it left."""
        for path in (self.best, self.feature_matrix, self.resume):
            new = new_name(path)
            if new.exists():
                if sha256(new.read_bytes()) == record["sha256"].get(path.name):
                    rename_new(path)
                else:
                    new.unlink()
            if path.name not in record["sha256"] and path.exists():
                path.unlink()  # of an earlier run of this name, as its centers here are

    def read_params(self, path, record):
        """Read a parameter file of this run.

        Parameters
        ----------
        path : Path
        record : dict or None
            The record, whose SHA-256 the file must have; None for the program of 2019's.

        Returns
        -------
        dict of str to float32 array

        Raises
        ------
        UserError
            The file is missing or damaged.
        """
        wanted = record["sha256"].get(path.name) if record else None
        for candidate in (path, new_name(path)):
            try:
                content = candidate.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise UserError(f"{candidate} cannot be read ({error.strerror})") from error
            if record and sha256(content) != wanted:
                continue
            try:
                return unpack_params(content)
            except ValueError as error:
                raise UserError(f"{candidate} is damaged: {error}") from error
        if path.exists():
            raise UserError(
                f"{path} is damaged: its SHA-256 is not the one that {self.record.name} keeps"
            )
        raise UserError(f"{path} is missing: train the run {self.prefix} first")


def dump(record):
    """The bytes of a record; floats come back from them bit for bit."""
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def history_csv(history):
    """The history, a dict an epoch, as the bytes of a table."""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    return file.getvalue().encode()
