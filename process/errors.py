"""What ends the program early: errors that the user can mend, and signals."""

import contextlib
import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ended(Exception):
    """What ends the program before it has done all.

    Attributes
    ----------
    kept : str or None
        What is left of a training that was under way.
    resume : bool
        Whether --resume goes on with that.
    """

    kept = None
    resume = False

    def __str__(self):
        return "; ".join(filter(None, (super().__str__(), self.kept)))


class UserError(Ended):
    """Something that the person at the keyboard can mend; its text is one line that says how."""


class Interrupted(Ended):
    """SIGINT or SIGTERM has come."""

    def __init__(self, signum):
        super().__init__(signum)
        self.signum = signum


# The signals so far, and what they did before; both belong to the process, as signals do.
received, before = [], {}


@contextlib.contextmanager
def noting_signals():
    """Meanwhile SIGINT and SIGTERM wait for `check_signals`; a second one acts as it did before."""
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
    """Note signals from now on, but for those that are ignored, as Ctrl-C is in the background.

    An exception raised by the handler itself could cut a step, or be lost in some ``__del__``.
    """

    def note(signum, frame):
        received.append(signum)
        signal.signal(signum, before[signum])

    for signum in SIGNALS:
        if before[signum] is not signal.SIG_IGN:
            signal.signal(signum, note)


def let_signals_end():
    """Let a signal that is not ignored end this process at once from here on."""
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)


def check_signals():
    """Raise `Interrupted` if a signal has come."""
    if received:
        raise Interrupted(received[0])
