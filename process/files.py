"""Reading and writing files: nothing is lost, and pipes and devices are refused."""

import contextlib
import errno
import os
import stat
import tempfile

from process.errors import UserError

CLAIMED = ".written"  # in a folder for output: what this program wrote there, a line each


def make_folder(folder):
    """Make a folder unless it is there, and see whether it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror})") from error


def claim(folder, names, older=()):
    """Make a folder for output, and note in it that these names are written there.

    Raises UserError where something is in the way that no earlier call has noted, unless its name
    is among `older`, from versions that noted nothing.
    """
    make_folder(folder)
    noted = claimed(folder)
    for name in names:
        if os.path.lexists(folder / name) and name not in noted.union(older):
            raise UserError(
                f"{folder / name} is in the way, and not known to be of this program: move it, or "
                "choose another --prefix or --out_dir"
            )
    with open(folder / CLAIMED, "ab") as file:
        file.write(b"".join(os.fsencode(f"{name}\n") for name in names if name not in noted))


def claimed(folder):
    """The names that `claim` noted in a folder."""
    try:
        return set(os.fsdecode(read_file(folder / CLAIMED)).split("\n"))
    except OSError:
        return set()


def write_atomically(path, content):
    """Write bytes beside `path`, then rename: whatever happens, `path` is whole, old or new."""
    write_together({path: content})


def write_together(contents):
    """Write bytes to paths that belong together: all beside their places before one is renamed.

    Raises UserError where one cannot be written, as on a full disk; all old ones are kept then.
    """
    try:
        for path, content in contents.items():
            write_new(path, content)
        for path in contents:
            rename_new(path)
    finally:  # also after a second Ctrl-C
        remove_new(contents)


def write_new(path, content):
    """Write bytes beside `path`, where `rename_new` or `remove_new` finds them."""
    try:
        with open(new_name(path), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error


def remove_new(paths):
    """Remove what `write_new` left of files that will not be renamed."""
    for path in paths:
        with contextlib.suppress(OSError):
            new_name(path).unlink(missing_ok=True)


def rename_new(path):
    """Put what `write_new` wrote into its place, where a power cut finds it, too."""
    try:
        os.replace(new_name(path), path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error
    with contextlib.suppress(OSError):  # some file systems do not know that for folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def new_name(path):
    return path.with_name(f"{path.name}.new")


@contextlib.contextmanager
def open_regular(path):
    """Open a file for reading; raises OSError also where it is a pipe or a device, which may keep
    its reader waiting for ever."""
    with open(path, "rb", opener=lambda name, how: os.open(name, how | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        yield file


def read_file(path):
    """The bytes of a regular file."""
    with open_regular(path) as file:
        return file.read()
