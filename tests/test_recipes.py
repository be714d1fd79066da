"""Files of flags: those in recipes/, and what a user may get wrong in one."""

import pytest
from helpers import ROOT, assert_one_line

import main

RECIPES = sorted((ROOT / "recipes").iterdir())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_says_what_it_is_for_and_trains_a_run_of_its_own(path):
    assert path.read_text(encoding="utf-8").startswith("# ")
    args = main.parse(["--train", f"@{path}"])
    assert args.given["center_loss"] and args.given["plotting"]
    assert args.prefix not in ("center-loss", "softmax-loss")


def test_a_file_stands_for_its_flags(tmp_path):
    file = tmp_path / "flags"
    file.write_text(
        "# mine: don't lose it\n\n--center_loss --lmbd 0.2  # as found\n--prefix 'a b'\n"
    )
    args = main.parse(["--train", f"@{file}", "--epochs", "3"])
    long = main.parse(
        ["--train", "--center_loss", "--lmbd", "0.2", "--prefix", "a b", "--epochs=3"]
    )
    assert args == long


def test_of_a_flag_given_twice_the_last_one_counts(tmp_path):
    file = tmp_path / "flags"
    file.write_text("--lmbd 0.2 --prefix file --center_loss")
    args = main.parse(["--train", f"@{file}", "--lmbd", "0.01", "--prefix", "mine"])
    assert args.given["lmbd"] == 0.01 and args.prefix == "mine"
    args = main.parse(["--train", "--lmbd", "0.01", f"@{file}"])
    assert args.given["lmbd"] == 0.2 and args.prefix == "file"


@pytest.mark.parametrize(
    "content, words",
    [
        (None, ["No such file", "recipes/quik"]),
        (b"--center_loss --lmdb 1", ["--lmdb", "did you mean --lmbd?"]),
        (b"--center_loss --lmbd much", ["--lmbd", "'much'"]),
        (b"--center_loss --prefix 'mine", ["No closing quotation"]),
        (b"\xff\xd8\xff\xe0", []),  # Pythons differ in how they read it
    ],
)
def test_a_wrong_file_gives_one_line(cli, tmp_path, content, words):
    if content is not None:
        (tmp_path / "recipes").mkdir()
        (tmp_path / "recipes" / "quik").write_bytes(content)
    assert_one_line(cli("--train", "@recipes/quik"), *words, status=2)


def test_the_advice_after_an_interruption_keeps_the_file():
    from process.errors import Interrupted, explain

    interrupted = Interrupted(2)
    interrupted.kept, interrupted.resume = "epoch 3 is kept", True
    line, _ = explain(interrupted, ["--train", "@recipes/quick", "--seed", "1"])
    assert line.endswith(": python main.py --train @recipes/quick --seed 1 --resume")
