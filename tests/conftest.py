"""Fixtures: the command line in this process, in a fresh folder with a small IDX set."""

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
# Also where tests run in the background, or under nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ["OMP_NUM_THREADS"] = "1"  # enough for small sets, whatever else the machine does

from process import errors, startup  # noqa: E402

startup.prepare_mxnet()

from helpers import QUICK, Done, write_digits  # noqa: E402

import main  # noqa: E402


@pytest.fixture
def cli(tmp_path, monkeypatch, capfd):
    """Run the command line in this process, in a fresh folder with an IDX set named `digits`."""
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "digits")
    handlers = {one: signal.getsignal(one) for one in errors.SIGNALS}

    def run(*argv):
        capfd.readouterr()
        try:
            status = main.main([str(arg) for arg in argv])
        except SystemExit as exit:
            status = exit.code
        return Done(status, *capfd.readouterr())

    yield run
    for one, handler in handlers.items():
        signal.signal(one, handler)
    errors.received.clear()


@pytest.fixture
def trained(cli):
    """A run `center-loss` of one epoch on `digits`; gives the command line."""
    done = cli("--train", "--center_loss", "--data_dir", "digits", *QUICK)
    assert done.status == 0, done.err
    return cli
