"""Records: what is written comes back, and what cannot be one is refused, not believed."""

import csv
import dataclasses
import json
from types import SimpleNamespace

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
        losses = (None, 0.5)
        accuracies = (0.7, accuracy, 0.6, 0.5)
        record.append(Epoch(number, "digits", 0.1, *losses, *accuracies, 1.5), [0.1, 0.2, 0.3])
    record.sha256 = {"a-second-best.params": "0", "a-second-resume.params": "1"}
    return record


def with_checksum(row):
    return dump({**row, "checksum": sha256(dump(row))})


def test_what_is_written_comes_back():
    record = new_record()
    assert record.best == Best(0, 0.9, record.best.distances)
    read = Record.from_bytes(record.to_bytes())
    assert read == record and read.to_bytes() == record.to_bytes()


def test_a_run_that_goes_on_knows_its_pictures():
    """Also where it was begun by --train --center_loss --second_train."""
    for flags in ({"center_loss": True}, {"prepare": "mnist", "lmbd": 0.1}):
        record = dataclasses.replace(new_record(), recipe=Recipe(second=True, **flags))
        assert Record.from_bytes(record.to_bytes()).identity == record.identity


def test_another_processor_is_worth_a_warning_and_another_commit_is_not(capsys):
    record, same = new_record(), SimpleNamespace(fingerprint=new_record().dataset)
    record.surroundings.processor, record.surroundings.commit = "a processor", "c1f99e2"
    now = dataclasses.replace(record.surroundings, commit="4e60a66")
    record.check_resumable(same, now)
    record.check_resumable(same, dataclasses.replace(now, processor="another"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "a-second was begun with processor a processor, and goes on with another" in line
    record.surroundings.processor = None  # of an older version
    record.check_resumable(same, now)
    assert not capsys.readouterr().err


def test_a_missing_field_takes_its_default():
    row = json.loads(new_record().to_bytes())
    del row["checksum"], row["format"], row["flags"]["lmbd"], row["best"]["distances"]
    record = Record.from_bytes(with_checksum(row))
    assert record.recipe == Recipe(second=True) and record.best.distances is None


def test_what_an_older_version_did_not_know_stands_empty_in_the_table():
    record = new_record()
    (header, *rows) = csv.reader(record.history_csv().decode().splitlines())
    assert header[-1] == "seconds" and len(header) == 11
    record.append(dataclasses.replace(record.history[1], epoch=2, test_shift=0.25))
    assert Record.from_bytes(record.to_bytes()) == record
    table = list(csv.reader(record.history_csv().decode().splitlines()))
    assert table[:3] == [[*header, "test_shift"], *([*row, ""] for row in rows)]
    assert table[3][-1] == "0.25"


EDITS = {
    "its mixup is unknown": lambda record: record["flags"].update(mixup=True),
    "its note is unknown": lambda record: record.update(note="of tomorrow"),
    "its top5 is unknown": lambda record: record["history"][0].update(top5=1.0),
    "its format is newer": lambda record: record.update(format=record["format"] + 1),
}


@pytest.mark.parametrize("words", EDITS)
def test_a_newer_record_is_refused(words):
    row = json.loads(new_record().to_bytes())
    del row["checksum"]
    Record.from_bytes(with_checksum(row))
    EDITS[words](row)
    with pytest.raises(OtherVersion, match=words):
        Record.from_bytes(with_checksum(row))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"checksum": 1}'])
def test_anything_else_is_damaged(content):
    with pytest.raises(ValueError):
        Record.from_bytes(content)
