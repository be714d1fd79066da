"""Reading and writing files so that nothing is lost, and nothing is read that has no end."""

import contextlib
import errno
import os
import stat
import tempfile

import psutil

from process.errors import UserError


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
        remove(new_name(path))  # it might be a link
        with open(new_name(path), "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(new_name(path))
        raise UserError(f"{path} cannot be written ({error.strerror})") from error


def rename_new(path):
    try:
        os.replace(new_name(path), path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error


def new_name(path):
    return path.with_name(f"{path.name}.new")


def remove(path):
    """Remove a file, or a link, unless it is not there."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def read_file(path):
    """The bytes of a file; raises OSError also where it is a device or a pipe, without an end, or
    more than half of what memory is free."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        if status.st_size > psutil.virtual_memory().available / 2:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        with open(number, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(number)
