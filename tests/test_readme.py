"""The README: its commands are ones the program takes, and its example runs."""

import re
import shlex
import subprocess
import sys

from conftest import ROOT

import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_every_command_is_one_that_the_program_takes():
    commands = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]
    assert len(commands) > 15
    for command in commands:
        for part in command.split(" && "):
            if part.startswith("python main.py") and "--help" not in part:
                main.parse(shlex.split(part)[2:])


def test_both_languages_have_the_same_set_up():
    commands = [block for _, block in BLOCKS if block.startswith("python3 -m venv")]
    assert len(commands) == 4 and commands[:2] == commands[2:]


def test_the_example_runs(tmp_path):
    (example,) = (block for kind, block in BLOCKS if kind == "python")
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    prepare = "import runtime; runtime.prepare_mxnet()\n"
    done = subprocess.run(
        [sys.executable, "-c", path + prepare + example],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "feature_matrix.params").exists()
