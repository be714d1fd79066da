"""Records: what is written comes back, and what cannot be one is refused, not believed."""

import dataclasses
import json
import math

import pytest

from datasets.dataset import Fingerprint
from recipe import Recipe
from runs.record import Best, Epoch, Origin, OtherVersion, Record, Surroundings, dump, sha256


def new_record():
    """The record of a second training of two epochs."""
    fingerprint = Fingerprint("digits", 256, 100, [1, 28, 28], list(range(10)), None, 0, "abc")
    surroundings = Surroundings({"python": "3.11.7", "mxnet": "1.9.1"}, "1", ["cpu(0)"])
    origin = Origin("center-loss", 3, "def")
    recipe = Recipe(second=True)
    record = Record("a-second", origin, recipe, 2, fingerprint, surroundings)
    for number, accuracy in enumerate((0.9, 0.8)):
        record.observe(0.5)
        losses = (None, 0.5)
        shares = (0.7, accuracy, 0.6, 0.5)
        record.append(Epoch(number, "digits", 0.1, 0.5, *losses, *shares, 1.5), [0.1, 0.2, 0.3])
    record.sha256 = {"a-second-best.params": "0", "a-second-resume.params": "1"}
    return record


def with_checksum(row):
    return dump({**row, "checksum": sha256(dump(row))})


def test_names_with_joiners_come_back():
    record = new_record()
    record.dataset = dataclasses.replace(record.dataset, names=["\U0001f468\u200d\U0001f373"] * 10)
    assert Record.from_bytes(record.to_bytes()) == record


def test_what_is_written_comes_back():
    record = new_record()
    assert record.best == Best(0, 0.9, record.best.distances)
    read = Record.from_bytes(record.to_bytes())
    assert read == record and read.to_bytes() == record.to_bytes()


EDITS = {
    "a flag is missing": lambda record: record["flags"].pop("lmbd"),
    "an unknown flag": lambda record: record["flags"].update(mixup=True),
    "a flag of another type": lambda record: record["flags"].update(lr="0.1"),
    "no epochs": lambda record: record["flags"].pop("epochs"),
    "epochs of another type": lambda record: record["flags"].update(epochs="many"),
    "an unknown model": lambda record: record["flags"].update(model="resnet"),
    "an unknown formulation": lambda record: record["flags"].update(formulation="other"),
    "an impossible size": lambda record: record["flags"].update(num_classes=-3),
    "an unknown action": lambda record: record.update(action="third_train"),
    "no flags": lambda record: record.pop("flags"),
    "no history": lambda record: record.update(history=[]),
    "no best epoch": lambda record: record.pop("best"),
    "an epoch without a column": lambda record: record["history"][0].pop("test_softmax"),
    "an epoch of another type": lambda record: record["history"][0].update(test_softmax="good"),
    "best is null": lambda record: record.update(best=None),
    "best is no epoch": lambda record: record["best"].update(epoch=5),
    "no data set": lambda record: record.update(dataset={}),
    "no digests": lambda record: record.update(sha256=None),
    "nothing of the network": lambda record: record.update(sha256={}),
    "a loss that is none": lambda record: record.update(moving_loss="x"),
    "an origin that is none": lambda record: record.update(started_from=5),
    "a rate beyond all": lambda record: record["flags"].update(wd=1e39),
    "momentum beyond all": lambda record: record["flags"].update(momentum=5.0),
    "a seed below 0": lambda record: record["flags"].update(seed=-1),
    "more classes than there can be": lambda record: record["flags"].update(num_classes=10**12),
    "classes that are none": lambda record: record["dataset"].update(classes="0123"),
    "classes beyond all": lambda record: record["dataset"].update(classes=[3, 10]),
    "a data set that is a list": lambda record: record.update(dataset=["name", "sha256"]),
    "no surroundings": lambda record: record.pop("devices"),
    "a wrong type in an epoch that is not the best": lambda record: record["history"][1].update(
        train_softmax="1"
    ),
    "a boolean for a number": lambda record: record["history"][1].update(epoch=True),
    "an epoch out of order": lambda record: record["history"][1].update(epoch=5),
    "an accuracy beyond 1": lambda record: record["history"][1].update(test_knn=1.5),
    "best before the first epoch": lambda record: record["best"].update(epoch=-1),
    "no epoch at all": lambda record: record["flags"].update(epochs=0),
    "distances that are no numbers": lambda record: record["best"]["distances"].__setitem__(
        0, math.nan
    ),
    "a distance missing": lambda record: record["best"]["distances"].pop(),
    "a side below 0": lambda record: record["dataset"].update(shape=[1, -5, 28]),
    "no pixel": lambda record: record["dataset"].update(shape=[0, 0, 0]),
    "sides beyond all": lambda record: record["dataset"].update(shape=[1, 100_000, 100_000]),
    "a side that is true": lambda record: record["dataset"].update(shape=[True, 28, 28]),
    "two sides": lambda record: record["dataset"].update(shape=[1, 28]),
    "no classes": lambda record: record["dataset"].update(classes=[]),
    "names that are no list": lambda record: record["dataset"].update(names={"0": "zero"}),
    "too few names": lambda record: record["dataset"].update(names=["zero"]),
    "a name that harms a terminal": lambda record: record["dataset"].update(
        names=["\x1b[2J", *"123456789"]
    ),
    "a data set called a list": lambda record: record["dataset"].update(name=["digits"]),
    "an edge beyond white": lambda record: record["dataset"].update(edge=256),
    "devices that are none": lambda record: record.update(devices="cpu(0)"),
    "versions that are none": lambda record: record["versions"].update(mxnet=None),
    "a moving loss that is infinite": lambda record: record.update(moving_loss=math.inf),
    "an origin without its epoch": lambda record: record.update(started_from={"prefix": "a"}),
    "an unknown field": lambda record: record.update(note="by hand"),
    "another layout": lambda record: [record.pop(name) for name in list(record)],
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_record_of_another_layout_is_refused(edit):
    row = json.loads(new_record().to_bytes())
    del row["checksum"]
    Record.from_bytes(with_checksum(row))
    EDITS[edit](row)
    with pytest.raises(OtherVersion):
        Record.from_bytes(with_checksum(row))


@pytest.mark.parametrize("depth", [50, 992, 100_000])
def test_brackets_in_brackets_are_no_record(depth):
    nested = b"[" * depth + b"]" * depth
    with pytest.raises((ValueError, OtherVersion)):
        Record.from_bytes(b'{"checksum": "", "history": ' + nested + b"}")


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff", b'{"checksum": 1}'])
def test_anything_else_is_damaged(content):
    with pytest.raises(ValueError):
        Record.from_bytes(content)
