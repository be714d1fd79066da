"""The program as a function, in a notebook, and with streams that are closed or full."""

import atexit
import contextlib
import csv
import io
import os
import runpy
import signal
import subprocess
import sys
import threading

import pytest
from helpers import QUICK, ROOT, assert_one_line, run, write_digits

import main
import train
from process import console, errors, version
from runs.run import Run

pytestmark = pytest.mark.slow

COMMAND = ("--train", "--center_loss", "--data_dir", "digits", *QUICK)


def interrupt(monkeypatch, signum, times=1, epoch=0):
    """Let signals come as an epoch begins."""
    train_epoch = train.train_epoch

    def interrupted(learner, split, number):
        for _ in range(times if number == epoch else 0):
            os.kill(os.getpid(), signum)
        return train_epoch(learner, split, number)

    monkeypatch.setattr(train, "train_epoch", interrupted)


def test_a_function_behaves_like_one(cli, monkeypatch):
    """Its signals are its own, and it also trains in a thread."""

    def handler(*args):
        raise AssertionError

    before = signal.signal(signal.SIGINT, handler)
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGINT)
        assert cli(*COMMAND).status == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert cli(*COMMAND).status == 0  # the signal was the other call's
    ended = []
    thread = threading.Thread(target=lambda: ended.append(cli(*COMMAND)))
    thread.start()
    thread.join()
    assert ended[0].status == 0 and signal.signal(signal.SIGINT, before) is handler


@pytest.mark.parametrize(
    "redirection, status",
    [(">&- 2>&- <&-", 0), ("2>/dev/full", 0), (">/dev/full", 1), (">/dev/full 2>/dev/full", 1)],
)
def test_streams_that_are_closed_or_full(tmp_path, redirection, status):
    """What can still be said is said, and finished epochs are kept."""
    write_digits(tmp_path / "digits")
    done = shell((*COMMAND, "--use_gpu"), redirection, tmp_path)
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    folder = (tmp_path / "ckpt", tmp_path / "output")
    if status == 0:
        assert len(Run("center-loss", *folder).read_record().history) == 1
        assert (tmp_path / "output" / "center-loss-curves.png").exists()
    elif redirection == ">/dev/full":
        last = done.stderr.splitlines()[-1]
        assert "the output cannot be written" in last and "--resume" not in last


def test_a_command_that_fails_with_closed_streams(tmp_path):
    done = shell(("--test", "--prefix", "nope"), ">&- 2>&-", tmp_path)
    assert done.returncode == 1, done


def shell(command, redirection, cwd):
    line = f"{sys.executable} {ROOT / 'main.py'} {' '.join(map(str, command))} {redirection}"
    return subprocess.run(["bash", "-c", line], cwd=cwd, capture_output=True, text=True)


def test_a_progress_bar_that_is_lost_stops_nothing(cli, monkeypatch):
    """A terminal that goes away while the bar is drawn."""

    class Gone:
        encoding = "utf-8"

        def isatty(self):
            return True

        def write(self, *text):
            raise OSError(5, "Input/output error")

        flush = fileno = write

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Gone())
        done = cli(*COMMAND, "--use_gpu")
    assert done.status == 0 and "Epoch [0]" in done.out


def test_a_backend_that_is_not_here_is_none_of_our_business(tmp_path, monkeypatch):
    write_digits(tmp_path / "digits")
    monkeypatch.setenv("MPLBACKEND", "module://no_such_module.backend_inline")
    done = run(*COMMAND, "--plotting", cwd=tmp_path)
    assert done.status == 0 and done.err == "", done.err


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 74.5 GiB"), RuntimeError("std::bad_alloc")]
)
def test_memory_is_one_line_whatever_raises_it(monkeypatch, error):
    monkeypatch.setattr(atexit, "register", lambda *args: None)  # or this process would end so
    line, status = errors.explain(error, [])
    assert line.startswith("not enough memory: try a lower --batch_size") and status == 1


def test_names_obey_neither_a_terminal_nor_a_spreadsheet(cli, tmp_path, capfd):
    hostile = "\x1b[2J\x9b31m"
    (tmp_path / "digits").rename(tmp_path / hostile)
    done = cli("--train", "--data_dir", hostile, *QUICK)
    assert done.status == 0 and "lenet on \\x1b[2J\\x9b31m (256 images)" in done.out
    console.say("two\nlines of 数字\u200d")
    assert capfd.readouterr().out == "two\nlines of 数字\u200d\n"
    names = ["=1+1", "+A1", "-A1", "@SUM(A1)", "=", "-1", "+1.5", "plain", -1.5, None]
    shown = ["'=1+1", "'+A1", "'-A1", "'@SUM(A1)", "=", "-1", "+1.5", "plain", "-1.5", ""]
    assert list(csv.reader(io.StringIO(console.as_csv([names])))) == [shown]


@pytest.mark.parametrize("flag, wanted", [("--help", "usage: "), ("--version", "mxnet 1.9.1")])
def test_what_is_only_told_may_not_be_lost(cli, monkeypatch, tmp_path, flag, wanted):
    done = cli(flag)
    assert done.status == 0 and wanted in done.out
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert_one_line(cli(flag), "the output cannot be written")
    monkeypatch.setattr(version, "ROOT", tmp_path)
    assert version.commit() is None


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU])
def test_what_terminals_and_schedulers_send_is_like_sigterm(cli, monkeypatch, signum):
    """Also where it comes again, as SIGXCPU does every second; SIGTERM: tests/runs/test_resume."""
    before = signal.getsignal(signum)
    interrupt(monkeypatch, signum, times=1 + (signum == signal.SIGXCPU), epoch=1)
    done = cli(*COMMAND, "--epochs", 2)
    assert done.status == 128 + signum and "kept up to epoch 0. To go on: " in done.err
    assert done.err.endswith(" --resume\n") and signal.getsignal(signum) is before


def test_a_signal_while_the_flags_are_read_is_no_traceback(cli, monkeypatch):
    parse = main.parse

    def interrupt(argv):
        os.kill(os.getpid(), signal.SIGINT)
        return parse(argv)

    monkeypatch.setattr(main, "parse", interrupt)
    done = cli(*COMMAND)
    assert done.status == 130 and done.err.startswith("Interrupted. The same "), done


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_what_a_shell_or_nohup_lets_be_ignored_is_ignored(cli, monkeypatch, signum):
    interrupt(monkeypatch, signum)
    signal.signal(signum, signal.SIG_IGN)
    assert cli(*COMMAND).status == 0
    assert signal.getsignal(signum) is signal.SIG_IGN


def test_streams_that_can_only_be_written_to(cli):
    """As the loggers that people put in the place of standard output."""
    said = []

    class Stream:
        def write(self, text):
            said.append(text)

        def flush(self):
            pass

    with contextlib.redirect_stdout(Stream()), contextlib.redirect_stderr(Stream()):
        assert cli(*COMMAND, "--use_gpu").status == 0
    assert "Epoch [0]" in "".join(said) and "WARNING: " in "".join(said)


def test_run_in_a_notebook_leaves_the_kernel_alive(monkeypatch):
    """IPython's %run, as runpy does it: the module is called __main__."""
    monkeypatch.setattr(sys, "argv", ["main.py", "--test", "--prefix", "nope"])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
    assert end.value.code == 1 and signal.getsignal(signal.SIGINT) is before
