"""What the pages say beside the program's own numbers: each module is a command of its own."""

import contextlib
import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

from process.console import note, say
from process.errors import OutputLost, UserError
from process.libraries import how_to_install

try:
    import numpy  # noqa: F401
except ModuleNotFoundError as error:
    sys.exit(f"experiments: error: {how_to_install(error)}")

MAIN = Path(__file__).parent.parent / "main.py"


def answer(name, work, *args):
    """Print what the work of an experiment gives, or say in one line what keeps it from that."""
    try:
        text = work(*args)
        if text is not None:
            say(text)
    except (UserError, OutputLost, OSError) as error:
        sys.exit(f"{name}: error: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"{name}: error: {how_to_install(error)}")
    except KeyboardInterrupt:
        sys.exit(130)


def answer_flags(name, doc, work):
    """Answer a command that takes flags of `main.py` alone, or print its `doc`."""
    flags = sys.argv[1:]
    asked = {"-h", "--help"} & set(flags)
    answer(name, lambda: doc if asked else work(flags))


def run_main(*flags, control=None):
    """Run `main.py` as a user does, or one of `experiments.controls` in its place, and end as it
    does where it fails."""
    program = ["-m", "experiments.controls", control] if control else [MAIN]
    with subprocess.Popen([sys.executable, *program, *map(str, flags)]) as process:
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while process.returncode is None:
            with contextlib.suppress(KeyboardInterrupt):  # it has had that too, and ends
                process.wait()
        signal.signal(signal.SIGTERM, before)
    status = process.returncode
    if status < 0:
        note(f"main.py was killed by signal {-status}")
        status = 128 - status
    if status > 128:
        note("The same command goes on with this run and those that are left.")
    if status:
        sys.exit(status)


def read_alike(runs, flag):
    """The records of runs that differ in one flag alone; raises UserError where more differs."""

    def rest(record):
        recipe = dataclasses.replace(record.recipe, **{flag: None})
        return recipe, len(record.history), record.dataset.sha256

    records = [run.read_record() for run in runs]
    for record in records:
        if rest(record) != rest(records[0]):
            raise UserError(
                f"{record.prefix} was trained with other flags, epochs or images than "
                f"{records[0].prefix}: choose another --prefix"
            )
    return records
