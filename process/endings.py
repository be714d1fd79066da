"""What a failure means to the user: one line, and an exit status."""

import atexit
import os
import re
import shlex

from process.console import OutputLost, abandon_output
from process.errors import Interrupted, UserError
from process.startup import how_to_install


def explain(error, argv):
    """Say what ended the program.

    Parameters
    ----------
    error : BaseException
    argv : list of str
        The command line, which is repeated where it can go on.

    Returns
    -------
    line : str or None
        None of a second Ctrl-C, and of a fault of this program.
    status : int or None
        None of a fault of this program.
    """
    if isinstance(error, UserError):
        return str(error), 1
    if isinstance(error, Interrupted):
        resume = ["--resume"] if error.resume and "--resume" not in argv else []
        command = shlex.join(["python", "main.py", *argv, *resume])
        where = f": {error.kept}. To go on" if error.kept else ". The same command again"
        return f"Interrupted{where}: {command}", 128 + error.signum
    if isinstance(error, KeyboardInterrupt):
        return None, 130
    if isinstance(error, OutputLost):
        abandon_output()
        return f"{error.args[0]}{'; --resume goes on' * error.resume}", 1
    if isinstance(error, ModuleNotFoundError):
        return how_to_install(error), 1
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error), 1
    if lacks_memory(error):
        if not isinstance(error, MemoryError):
            atexit.register(os._exit, 1)  # MXNet's end would raise the error again
        advice = "try a lower --batch_size, --num_classes or --feature_size"
        return f"not enough memory: {advice}", 1
    return None, None


def lacks_memory(error):
    """Whether an error means that memory ran out; MXNet has no class of its own for it."""
    signs = "(?<!illegal m)emory|bad_alloc|AlignedMalloc|temporarily unavailable"
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and re.search(signs, str(error)) is not None
    )
