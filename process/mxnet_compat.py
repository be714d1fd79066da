"""Import this before MXNet: it lends MXNet 1.9.1, of 2022, what the machine of today lacks.

That is names of NumPy, the standard library's distutils, and in slim containers two libraries of
GCC. This file needs nothing else of this project: copy it into yours.
"""

import contextlib
import ctypes
import os
import re
import sys
import types
from pathlib import Path

import numpy

GCC_LIBRARIES = ("libquadmath.so.0", "libgomp.so.1")  # which MXNet's wheel expects of the system
KEPT = {"bool": bool, "Inf": numpy.inf}  # MXNet takes them from NumPy at any time
TAKEN_AT_IMPORT = {
    "PZERO": 0.0, "NZERO": -0.0, "PINF": numpy.inf, "NINF": -numpy.inf,
    "NaN": numpy.nan, "NAN": numpy.nan,
    # functions that MXNet only lists, for its users to call
    **dict.fromkeys(
        ("alltrue", "in1d", "mirr", "msort", "npv", "pmt", "ppmt", "product", "pv", "rate",
         "round_", "sometrue", "trapz")
    ),
}  # fmt: skip


@contextlib.contextmanager
def lent(names, values):
    """For a while, give a dict those of the values whose names it lacks."""
    given = {name: value for name, value in values.items() if name not in names}
    names.update(given)
    try:
        yield
    finally:
        for name in given:
            del names[name]


def old_distutils():
    """What MXNet takes of distutils, which Python 3.12 dropped, by the names of its modules."""
    version = types.ModuleType("distutils.version")
    version.StrictVersion = version.LooseVersion = numbers_of
    return {"distutils": types.ModuleType("distutils"), "distutils.version": version}


def numbers_of(version):
    """The numbers of a version, which can be compared."""
    return [int(number) for number in re.findall(r"\d+", version)]


def borrow(library):
    """Load a library from the wheel that brought a copy of it, unless the system has it.

    Wheels such as SciPy's and scikit-learn's hold their copy under a name of its own. The loader
    gives it to MXNet only by its usual name, so that is written into a copy in memory.
    """
    with contextlib.suppress(OSError):
        ctypes.CDLL(library)
        return
    stem, _, version = library.partition(".so")
    for folder in map(Path, sys.path):
        for path in sorted(folder.glob(f"*.libs/{stem}-*.so{version}*")):
            with contextlib.suppress(OSError, AttributeError):  # a Python without memfd_create
                load(path.read_bytes().replace(*same_length(path.name, library)))
                return


def same_length(old, new):
    """Two names as the loader knows them, the shorter `new` one filled up."""
    old, new = os.fsencode(old), os.fsencode(new)
    return old + b"\0", new.ljust(len(old), b"\0") + b"\0"


def load(content):
    """Load a library from memory."""
    file = os.memfd_create("library")  # stays open: the loader knows the library by this path
    os.write(file, content)
    ctypes.CDLL(f"/proc/self/fd/{file}")


if sys.platform == "linux":
    for library in GCC_LIBRARIES:
        borrow(library)
for name, value in KEPT.items():
    vars(numpy).setdefault(name, value)
with lent(vars(numpy), TAKEN_AT_IMPORT), lent(sys.modules, old_distutils()):
    import mxnet  # noqa: F401
