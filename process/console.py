"""What the program says: lines on standard output; warnings, errors and bars on standard error."""

import contextlib
import csv
import io
import os
import sys
import threading
import time

from process.errors import Ended

LOCK = threading.RLock()  # between progress bars

tag = ""  # in front of every line, where several processes write to one terminal


class OutputLost(Ended):
    """Standard output cannot be written any more: its reader has gone, or the disk is full."""


def say(text, exact=False):
    """Print to standard output, now; with `exact` the bytes of file names stay as they are, unless
    they go to a terminal."""
    try:
        if exact and hasattr(sys.stdout, "buffer") and not sys.stdout.isatty():
            sys.stdout.buffer.write(f"{text}\n".encode("utf-8", "surrogateescape"))
            sys.stdout.flush()
        else:
            write(text, sys.stdout)
    except BrokenPipeError as error:
        raise OutputLost("the output was closed") from error
    except (OSError, ValueError) as error:
        raise OutputLost(f"the output cannot be written ({error})") from error


def note(text):
    """Print to standard error, if that is possible: nothing said there is worth an end."""
    with contextlib.suppress(OSError, ValueError):
        write(text, sys.stderr)


def warn(text):
    note(f"WARNING: {printable(text)}")


def fail(text):
    note(f"main.py: error: {printable(text)}")


def write(text, stream):
    if stream is None:  # it was closed before the program began
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    tagged = "\n".join(f"{tag}{line}" for line in text.split("\n"))
    # A path may hold any character, and a terminal take only some.
    print(tagged.encode(encoding, "backslashreplace").decode(encoding), file=stream)
    if hasattr(stream, "flush"):
        stream.flush()


def table(header, rows):
    """Rows of cells as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def aligned(rows):
    """Rows as text, each column as wide as it must be."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(" ".join(map(str.rjust, row, widths)) for row in rows)


def as_csv(rows):
    """Rows as the text of a CSV file."""
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


def is_harmless(name):
    """Whether a terminal can show a name as it is; joiners are not printable, but emoji and some
    scripts are written with them."""
    return name.translate(dict.fromkeys((0x200C, 0x200D))).isprintable()


def printable(text):
    """A text that may hold anything, such as a path, as one line that harms no terminal."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return "".join(shown)


def say_when_it_ends(seconds):
    """Say how long it takes yet, from half a minute on."""
    if seconds < 30:
        return
    end = time.strftime(
        "%H:%M" if seconds < 80_000 else "%d %b %H:%M", time.localtime(time.time() + seconds)
    )
    minutes = max(1, round(seconds / 60))
    hours = f"{minutes // 60} h {minutes % 60} min" if minutes >= 120 else f"{minutes} min"
    say(f"About {hours} left, until {end}")


def progress(items=None, disable=None, **kwargs):
    """A progress bar of tqdm, by default where there is a terminal; it may be lost."""
    from tqdm import tqdm

    # Its own is a semaphore too, of which Python 3.14 warns where the process ends early.
    tqdm.set_lock(LOCK)
    return tqdm(items, file=Lossy(sys.stderr), leave=False, disable=disable, **kwargs)


class Lossy:
    """A stream whose failures are nobody's concern."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)

    def flush(self):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.stream.flush()

    def isatty(self):
        return getattr(self.stream, "isatty", lambda: False)()

    def __getattr__(self, name):
        return getattr(self.stream, name)


def occupy_closed_streams():
    """Keep the numbers of closed standard streams, or a file opened later would get what is said
    there, by MXNet for example."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def abandon_output():
    """Let what cannot be written vanish, so that the end of the process does not try it again."""
    with contextlib.suppress(OSError, ValueError):  # it may be no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
