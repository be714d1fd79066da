"""What ends a run early: errors that the user can mend, and signals."""

import contextlib
import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class UserError(Exception):
    """Something that the person at the keyboard can mend; its text is one line that says how."""


class Interrupted(Exception):
    """SIGINT or SIGTERM has come."""

    def __init__(self, signum, kept="nothing was begun", resume=False):
        super().__init__(signum, kept, resume)
        self.signum = signum
        self.kept = kept  # what is left of the run, in words
        self.resume = resume  # whether --resume goes on with it


# The signals so far, and what they did before; both belong to the process, as signals do.
received, before = [], {}


@contextlib.contextmanager
def noting_signals():
    """Meanwhile SIGINT and SIGTERM wait for `check_signals`; a second one acts as it did before."""
    received.clear()
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers belong to the main thread
        return
    before.update((one, signal.getsignal(one) or signal.SIG_DFL) for one in SIGNALS)
    note_signals()
    try:
        yield
    finally:
        for one in SIGNALS:
            signal.signal(one, before[one])
        received.clear()


def note_signals():
    """Note signals from now on.

    An exception raised by the handler itself could cut a step, or be lost in some ``__del__``.
    """

    def note(signum, frame):
        received.append(signum)
        signal.signal(signum, before[signum])

    for one in SIGNALS:
        signal.signal(one, note)


def check_signals():
    """Raise `Interrupted` if a signal has come."""
    if received:
        raise Interrupted(received[0])
