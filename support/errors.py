"""What ends a run early: errors that the user can mend, and signals."""

import signal

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


received = []  # the signals so far; they belong to the process, and so does this list


def note_signals():
    """From now on let SIGINT and SIGTERM wait for `check_signals`; a second one acts at once.

    An exception raised by the handler itself could cut a step, or be lost in some ``__del__``.
    """

    def note(signum, frame):
        received.append(signum)
        signal.signal(signum, signal.SIG_DFL)

    for one in SIGNALS:
        signal.signal(one, note)


def check_signals():
    """Raise `Interrupted` if a signal has come."""
    if received:
        raise Interrupted(received[0])
