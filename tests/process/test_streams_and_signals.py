"""The program as a function, in a notebook, and with streams that are closed or full."""

import atexit
import csv
import io
import os
import signal
import subprocess
import sys

import pytest
from helpers import QUICK, ROOT, assert_one_line, run, write_digits

import main
import runs.trained
import train
from process import console, version
from runs.run import Run

pytestmark = pytest.mark.slow

COMMAND = ("--train", "--center_loss", "--data_dir", "digits", *QUICK)


def python(script, cwd, **kwargs):
    """Run a script in an interpreter of its own that knows where the program is."""
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", path + script], cwd=cwd, capture_output=True, text=True, **kwargs
    )


def test_a_function_behaves_like_one(tmp_path):
    write_digits(tmp_path / "digits")
    script = f"""
import contextlib, io, os, signal, threading
from main import main
command = {list(map(str, COMMAND))!r}
handler = lambda *args: print("mine", flush=True)
signal.signal(signal.SIGINT, handler)
out = io.StringIO()
with contextlib.redirect_stdout(out):
    assert main(command) == 0
assert "Epoch [0]" in out.getvalue()
assert signal.getsignal(signal.SIGINT) is handler
import train
step = train.Learner.step
def interrupt(*args):
    os.kill(os.getpid(), signal.SIGINT)
    return step(*args)
train.Learner.step = interrupt
assert main(command) == 130
train.Learner.step = step
assert main(command) == 0  # the signal was the other call's
assert signal.getsignal(signal.SIGINT) is handler
ended = []
thread = threading.Thread(target=lambda: ended.append(main(command)))
thread.start()
thread.join()
assert ended == [0]
assert main(["--test", "--prefix", "mine", "--data_dir", "digits"]) == 1
print("done")
"""
    done = python(script, tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "done", done
    assert "mine-best.params is missing" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "redirection, status",
    [(">&- 2>&- <&-", 0), ("2>/dev/full", 0), (">/dev/full", 1), (">/dev/full 2>/dev/full", 1)],
)
def test_streams_that_are_closed_or_full(tmp_path, redirection, status):
    """What can still be said is said, and finished epochs are kept."""
    write_digits(tmp_path / "digits")
    command = " ".join(map(str, COMMAND))
    shell = f"{sys.executable} {ROOT / 'main.py'} {command} --use_gpu {redirection}"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    folder = (tmp_path / "ckpt", tmp_path / "output")
    if status == 0:
        assert len(Run("center-loss", *folder).read_record().history) == 1
        assert (tmp_path / "output" / "center-loss-curves.png").exists()
    elif redirection == ">/dev/full":
        last = done.stderr.splitlines()[-1]
        assert "the output cannot be written" in last and "--resume" not in last


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


def test_memory_is_one_line_whatever_raises_it(trained, monkeypatch):
    monkeypatch.setattr(atexit, "register", lambda *args: None)  # or this process would end so
    for error in (MemoryError("Unable to allocate 74.5 GiB"), RuntimeError("std::bad_alloc")):

        def fail(*args, error=error):
            raise error

        monkeypatch.setattr(runs.trained, "classify", fail)
        assert_one_line(trained("--test", "--data_dir", "digits"), "not enough memory")


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
    train_epoch = train.train_epoch

    def interrupt(learner, split, epoch):
        for _ in range(1 + (signum == signal.SIGXCPU) if epoch else 0):
            os.kill(os.getpid(), signum)
        return train_epoch(learner, split, epoch)

    before = signal.getsignal(signum)
    monkeypatch.setattr(train, "train_epoch", interrupt)
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
    assert done.status == 130 and done.err.startswith("Interrupted: "), done


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_what_a_shell_or_nohup_lets_be_ignored_is_ignored(cli, monkeypatch, signum):
    train_epoch = train.train_epoch

    def interrupt(*args):
        os.kill(os.getpid(), signum)
        return train_epoch(*args)

    monkeypatch.setattr(train, "train_epoch", interrupt)
    signal.signal(signum, signal.SIG_IGN)
    assert cli(*COMMAND).status == 0
    assert signal.getsignal(signum) is signal.SIG_IGN


@pytest.mark.parametrize("redirection", ["2>&-", ">&- 2>&-"])
def test_commands_that_fail_with_streams_that_are_closed(tmp_path, redirection):
    shell = f"{sys.executable} {ROOT / 'main.py'} --test --prefix nope {redirection}"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done
    assert "2>" in redirection or "nope-best.params is missing" in done.stderr


def test_streams_that_can_only_be_written_to(tmp_path):
    """As the loggers that people put in the place of standard output."""
    write_digits(tmp_path / "digits")
    script = f"""
import contextlib, sys
from main import main
class Stream:
    def write(self, text):
        said.append(text)
said = []
with contextlib.redirect_stdout(Stream()), contextlib.redirect_stderr(Stream()):
    status = main({list(map(str, COMMAND))!r})
assert status == 0 and "Epoch [0]" in "".join(said)
"""
    done = python(script, tmp_path)
    assert done.returncode == 0, done.stderr


def test_run_in_a_notebook_leaves_the_kernel_alive(tmp_path):
    """IPython's %run, as runpy does it: the module is called __main__."""
    script = f"""
import runpy, signal, sys
sys.argv = ["main.py", "--test", "--prefix", "nope"]
before = signal.getsignal(signal.SIGINT)
try:
    runpy.run_path({str(ROOT / "main.py")!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 1
assert signal.getsignal(signal.SIGINT) is before
print("alive")
"""
    assert python(script, tmp_path).stdout == "alive\n"
