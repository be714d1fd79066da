"""What the program says: lines on standard output, warnings and errors on standard error."""

import sys

tag = ""  # in front of every line, where several processes write to one terminal


def say(text):
    """Print to standard output, now."""
    write(text, sys.stdout)


def note(text):
    """Print to standard error."""
    write(text, sys.stderr)


def warn(text):
    note(f"WARNING: {text}")


def fail(text):
    note(f"main.py: error: {text}")


def write(text, stream):
    encoding = getattr(stream, "encoding", None) or "utf-8"
    tagged = "\n".join(f"{tag}{line}" for line in text.split("\n"))
    # A path may hold any character, and a terminal take only some.
    print(tagged.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
