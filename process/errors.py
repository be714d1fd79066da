"""What ends the program early, and what that means to the user: one line, and an exit status."""

import atexit
import contextlib
import os
import re
import shlex
import signal
import threading

from process.libraries import how_to_install

# Ctrl-C, kill, a terminal that is closed, and what schedulers of jobs send before their limit.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)


class Ended(Exception):
    """What ends the program before it has done all."""

    kept = None  # in words, what is left of a training that was under way
    resume = False  # whether --resume goes on with that

    def __str__(self):
        return "; ".join(filter(None, (super().__str__(), self.kept)))


class UserError(Ended):
    """Something that the person at the keyboard can mend; its text is one line that says how."""


class OutputLost(Ended):
    """Standard output cannot be written any more: its reader has gone, or the disk is full."""


class Interrupted(Ended):
    """One of `SIGNALS` has come."""

    def __init__(self, signum):
        super().__init__(signum)
        self.signum = signum


def explain(error, argv):
    """Say what ended the command `argv`: a line, None for a second Ctrl-C, and an exit status.

    Both are None for a bug.
    """
    if isinstance(error, UserError):
        return str(error), 1
    if isinstance(error, Interrupted):
        resume = ["--resume"] if error.resume and "--resume" not in argv else []
        start = os.environ.get("STARTED_BY", "python main.py")  # which cluster.launch sets
        command = f"{start} {shlex.join([*argv, *resume])}"
        where = f": {error.kept}. To go on" if error.kept else ". The same command again"
        return f"Interrupted{where}: {command}", 128 + error.signum
    if isinstance(error, KeyboardInterrupt):
        return None, 130
    if isinstance(error, OutputLost):
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


# The signals so far, and what they did before; both belong to the process, as signals do.
received, before = [], {}


@contextlib.contextmanager
def noting_signals():
    """Meanwhile `SIGNALS` wait for `check_signals`; a second Ctrl-C or SIGTERM acts at once."""
    received.clear()
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers belong to the main thread
        return
    before.update((signum, signal.getsignal(signum) or signal.SIG_DFL) for signum in SIGNALS)
    note_signals()
    try:
        yield
    finally:
        for signum in SIGNALS:
            signal.signal(signum, before[signum])
        received.clear()


def note_signals():
    """Note signals from now on, but for those that are ignored, as SIGHUP is under nohup.

    An exception raised by the handler itself could cut a step, or be lost in some ``__del__``.
    """

    def note(signum, frame):
        received.append(signum)
        if signum in (signal.SIGINT, signal.SIGTERM):  # SIGXCPU comes again with every second
            signal.signal(signum, before[signum])

    for signum in SIGNALS:
        if before[signum] is not signal.SIG_IGN:
            signal.signal(signum, note)


def check_signals():
    """Raise `Interrupted` if a signal has come."""
    if received:
        raise Interrupted(received[0])
