"""What the program says: lines on standard output; warnings, errors and bars on standard error."""

import contextlib
import csv
import io
import os
import re
import sys
import threading
import time

from process.errors import OutputLost

CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f]")  # characters that a terminal obeys
FORMULA = re.compile(r"[=@].|[+-](?![\d.,]+$).")  # at the beginning of a spreadsheet's cell
LOCK = threading.RLock()  # between progress bars

tag = ""  # in front of every line, where several processes write to one terminal


def say(text):
    """Print to standard output, now; raises OutputLost where that cannot be written any more."""
    try:
        write(text, sys.stdout)
    except (OSError, ValueError) as error:
        give_up(sys.stdout)
        closed = isinstance(error, BrokenPipeError)
        fault = "was closed" if closed else f"cannot be written ({error})"
        raise OutputLost(f"the output {fault}") from error


def note(text):
    """Print to standard error; a note that cannot be printed does not end the program."""
    try:
        write(text, sys.stderr)
    except (OSError, ValueError):
        give_up(sys.stderr)


def give_up(stream):
    """Let what a lost stream still holds go nowhere: when Python ends it would be written again,
    and fail, for which Python 3.14 gives the exit status 120."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def warn(text):
    note(f"WARNING: {printable(text)}")


def fail(text):
    note(f"main.py: error: {printable(text)}")


def write(text, stream):
    if stream is None:  # it was closed before the program began
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = CONTROL.sub(lambda match: escaped(match.group()), text)
    tagged = "\n".join(f"{tag}{line}" for line in text.split("\n"))
    # A path may hold any character, and a terminal take only some. In one piece, with its end:
    # other processes may write to the same terminal.
    stream.write(f"{tagged}\n".encode(encoding, "backslashreplace").decode(encoding))
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
    """Rows as the text of a CSV file; a name such as =1+1 gets an apostrophe in front, or a
    spreadsheet would compute it."""
    file = io.StringIO()
    for row in rows:
        csv.writer(file).writerow(
            f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell for cell in row
        )
    return file.getvalue()


def printable(text):
    """A text that may hold anything, such as a path, as one line without control characters."""
    return "".join(c if c.isprintable() else escaped(c) for c in str(text))


def escaped(character):
    return character.encode("unicode_escape").decode()


def say_when_it_ends(seconds):
    """Say how long the rest will take, unless that is less than half a minute."""
    if seconds < 30:
        return
    end = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    minutes = max(1, round(seconds / 60))
    hours = f"{minutes // 60} h {minutes % 60} min" if minutes >= 120 else f"{minutes} min"
    say(f"About {hours} left, until {end}")


def progress(disable=False, **kwargs):
    """A progress bar of tqdm, where there is a terminal."""
    from tqdm import tqdm

    # tqdm's own lock is a semaphore, of which Python 3.14 warns where the process ends early.
    tqdm.set_lock(LOCK)
    try:
        hidden = disable or not hasattr(sys.stderr, "isatty") or not sys.stderr.isatty()
        return tqdm(file=sys.stderr, leave=False, disable=hidden, **kwargs)
    except OSError:  # the terminal has gone
        return tqdm(disable=True, **kwargs)
