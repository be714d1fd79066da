"""What the pages say beside the program's own numbers: each module is a command of its own."""

import contextlib
import subprocess
import sys
from pathlib import Path

from support.errors import UserError
from support.startup import how_to_install

try:
    import numpy  # noqa: F401
except ModuleNotFoundError as error:
    sys.exit(f"experiments: error: {how_to_install(error)}")

MAIN = Path(__file__).parent.parent / "main.py"


def answer(name, work, *args):
    """Print what the work of an experiment gives, or say in one line what keeps it from that."""
    try:
        text = work(*args)
    except (UserError, OSError) as error:
        sys.exit(f"{name}: error: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"{name}: error: {how_to_install(error)}")
    if text is not None:
        print(text)


def run_main(*flags):
    """Run `main.py` as a user does, and end as it does where it fails."""
    with subprocess.Popen([sys.executable, MAIN, *map(str, flags)]) as process:
        while process.returncode is None:
            with contextlib.suppress(KeyboardInterrupt):  # it has had that too, and ends
                process.wait()
    if process.returncode:
        sys.exit(process.returncode)
