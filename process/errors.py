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
    """One of `SIGNALS` has come, whose number is the argument."""


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
        return f"Interrupted{where}: {command}", 128 + error.args[0]
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
    """Whether an error means that memory ran out, for which MXNet has no class of its own."""
    signs = "(?<!illegal m)emory|bad_alloc|AlignedMalloc|temporarily unavailable"
    said = isinstance(error, RuntimeError) and re.search(signs, str(error))
    return isinstance(error, MemoryError) or bool(said)


received = []  # the signals so far, which belong to the process


def handle_signals(handler):
    """Let `SIGNALS` call a handler; ignored ones stay ignored, as SIGHUP is under nohup."""
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


@contextlib.contextmanager
def noting_signals():
    """Meanwhile `SIGNALS` wait for `check_signals`; a second Ctrl-C or SIGTERM acts at once.

    A handler that raised could cut a step, or its exception be lost in some ``__del__``.
    """
    before = {}

    def note(signum, frame):
        received.append(signum)
        if signum in (signal.SIGINT, signal.SIGTERM):  # SIGXCPU comes again with every second
            signal.signal(signum, before[signum])

    received.clear()
    if threading.current_thread() is threading.main_thread():  # which alone may set handlers
        before = {signum: signal.getsignal(signum) or signal.SIG_DFL for signum in SIGNALS}
        handle_signals(note)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        received.clear()


def check_signals():
    """Raise `Interrupted` if a signal has come."""
    if received:
        raise Interrupted(received[0])
