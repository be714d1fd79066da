"""The shipped runs: their networks tell digits apart, and README.md says what their records say."""

import re
import shlex

import mxnet as mx
import pytest
from conftest import ROOT, mnist5k

import evaluation
import main
import utils

README = (ROOT / "README.md").read_text(encoding="utf-8")
# run | class prediction | KNN | best epoch | the same and the number of the last epoch | tightness
ROWS = re.findall(r"^\| ([\w.-]+)((?: \| [\d.]+| \| -){7}) \|$", README, re.MULTILINE)
COMMANDS = re.findall(r"^\| ([\w.-]+) \| `python main.py (.+?)` \|", README, re.MULTILINE)


def open_shipped(prefix):
    args, given = main.parse(["--test", "--prefix", prefix, "--ckpt_dir", str(ROOT / "ckpt")])
    return utils.open_run(args, given)


def test_both_languages_have_the_same_runs():
    for rows in (ROWS, COMMANDS):
        assert rows and rows[: len(rows) // 2] == rows[len(rows) // 2 :]


@pytest.mark.parametrize("prefix, cells", dict(ROWS).items())
def test_the_table_says_what_the_record_says(prefix, cells):
    _, record, _ = open_shipped(prefix)
    best, last = record["history"][record["best"]["epoch"]], record["history"][-1]
    said = cells.split(" | ")[1:]
    wanted = [
        *(best["test_softmax"], best["test_knn"], best["epoch"]),
        *(last["test_softmax"], last["test_knn"], last["epoch"]),
    ]
    trained_anew = f"{prefix} is another run: 'git checkout ckpt' brings the shipped one back"
    assert said[:6] == [evaluation.cell(value) for value in wanted], trained_anew


@pytest.mark.parametrize("prefix", dict(ROWS + COMMANDS))
def test_the_command_beside_a_run_is_the_one_that_trained_it(prefix):
    _, record, _ = open_shipped(prefix)
    args, given = main.parse(shlex.split(dict(COMMANDS)[prefix]))
    assert prefix == args.prefix + "-second" * args.second_train
    assert record["action"] == ("second_train" if args.second_train else "train")
    if args.second_train:  # which takes the network from the run it starts from
        _, first, _ = open_shipped(args.prefix)
        assert record["started_from"] == {"prefix": args.prefix, "epoch": first["best"]["epoch"]}
        args = utils.adopt_flags(args, given, first, utils.MODEL_FLAGS)
    assert record["dataset"]["name"] == (args.data_dir or "mnist")
    assert record["dataset"]["train"] == (50_000 if args.data_dir else 60_000)
    for flag, value in record["flags"].items():
        assert getattr(args, flag) == value, flag


@pytest.mark.parametrize("prefix", dict(ROWS))
def test_the_network_tells_digits_apart(prefix):
    args, record, params = open_shipped(prefix)
    net, centers = evaluation.restore(args, record, params, mnist5k(), mx.cpu())
    accuracy, _ = utils.evaluate(net, centers, mnist5k().test, mx.cpu())
    assert min(accuracy.values()) > 0.98
