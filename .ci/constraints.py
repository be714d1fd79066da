"""Note in constraints.txt the versions, as `pip freeze` prints them, that passed on this Python."""

import platform
import re
import sys
from pathlib import Path

FILE = Path(__file__).parent.parent / "constraints.txt"
HEADER = """\
# The versions with which all tests passed last, for each Python that they were tried on; written by
# .ci/newest. On another Python they constrain nothing.
"""
LINE = re.compile(r"^([\w.-]+==[\w.!+-]+)(?:; python_version in \"(.+)\")?$", re.MULTILINE)


def main(freeze):
    here = ".".join(platform.python_version_tuple()[:2])
    tried = {}
    for pin, pythons in LINE.findall(FILE.read_text() if FILE.exists() else ""):
        tried[pin] = set(pythons.split()) - {here}
    for pin, _ in LINE.findall(Path(freeze).read_text()):
        tried.setdefault(pin, set()).add(here)
    lines = [
        f'{pin}; python_version in "{" ".join(sorted(pythons, key=minor))}"\n'
        for pin, pythons in sorted(tried.items(), key=lambda item: item[0].lower())
        if pythons
    ]
    FILE.write_text(HEADER + "".join(lines))


def minor(python):
    return int(python.partition(".")[2])


main(sys.argv[1])
