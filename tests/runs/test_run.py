"""Parameter files against MXNet's own, damaged ones, and writing that loses nothing."""

import shutil
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from helpers import CAN_EXPORT, ROOT, assert_one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.dataset import Fingerprint
from process import files
from process.files import new_name, write_new
from recipe import Recipe
from runs import params
from runs.record import Epoch, Record, Surroundings
from runs.run import Run

arrays = st.dictionaries(
    st.text("ab.01é中", max_size=8),
    st.tuples(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99)).map(
        lambda drawn: np.random.RandomState(drawn[1]).normal(size=drawn[0]).astype(np.float32)
    ),
    min_size=1,
    max_size=4,
)


def assert_same(read, written):
    assert list(read) == list(written)
    for name, array in written.items():
        np.testing.assert_array_equal(read[name], array)


@settings(max_examples=50, deadline=None)
@given(written=arrays)
def test_mxnet_reads_what_we_write_and_we_read_what_it_writes(written, tmp_path_factory):
    path = tmp_path_factory.mktemp("params") / "file.params"
    path.write_bytes(params.pack(written))
    assert_same({name: array.asnumpy() for name, array in mx.nd.load(str(path)).items()}, written)
    mx.nd.save(str(path), {name: mx.nd.array(array) for name, array in written.items()})
    assert path.read_bytes() == params.pack(written)
    assert_same(params.unpack(path.read_bytes()), written)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), written=arrays)
def test_damaged_parameters_are_refused_or_read(data, written):
    content = bytearray(params.pack(written))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read = params.unpack(content)
    except ValueError as error:
        assert str(error)
    else:
        assert sum(array.nbytes for array in read.values()) <= len(content)


def test_a_header_that_promises_more_than_there_is_is_refused():
    with pytest.raises(ValueError, match="truncated"):
        params.unpack(b"\x12\x01" + b"\0" * 14 + b"\xff" * 8)


@pytest.mark.parametrize("kind", ["float64", "int32", "uint8"])
def test_other_types_are_refused(kind, tmp_path):
    mx.nd.save(str(tmp_path / "a"), {"a": mx.nd.ones(3, dtype=kind)})
    with pytest.raises(ValueError, match="unknown type"):
        params.unpack((tmp_path / "a").read_bytes())


def one_epoch():
    """The record of a run of one epoch, called `run`."""
    surroundings = Surroundings({}, "1", ["cpu(0)"])
    fingerprint = Fingerprint("digits", 256, 100, [1, 28, 28], list(range(10)), None, 0, "")
    record = Record("run", None, Recipe(), 2, fingerprint, surroundings)
    record.append(Epoch(0, "digits", 0.1, 1.0, None, 0.5, 0.5, None, None, 1.0))
    return record


def test_a_commit_that_was_killed_is_finished_or_forgotten(tmp_path):
    run, record = Run("run", tmp_path, tmp_path), one_epoch()
    first, second = ({"a": np.full(1, value, np.float32)} for value in (1, 0))
    run.commit(record, {run.best_params: first, run.resume_params: first})
    # Killed before the record was replaced: the new files are leftovers.
    write_new(run.best_params, params.pack(second))
    assert run.read_params(run.best_params, run.read_record())["a"] == 1
    run.recover(run.read_record())
    assert run.best_params.read_bytes() == params.pack(first)
    assert not new_name(run.best_params).exists()
    # Killed between the record and the renaming: the new files are the run's.
    run.commit(record, {run.best_params: second, run.resume_params: second})
    run.best_params.rename(new_name(run.best_params))
    run.best_params.write_bytes(params.pack(first))
    assert run.read_params(run.best_params, run.read_record())["a"] == 0
    run.recover(run.read_record())
    assert run.best_params.read_bytes() == params.pack(second)
    assert not new_name(run.best_params).exists()


def test_what_cannot_be_read_just_now_is_not_removed(tmp_path, monkeypatch):
    run, record = Run("run", tmp_path, tmp_path), one_epoch()
    run.commit(record, {run.best_params: {"a": np.ones(1, np.float32)}})
    run.best_params.rename(new_name(run.best_params))
    new_name(Run("other", tmp_path, tmp_path).best_params).touch()

    def fail(*args):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", fail)
        with pytest.raises(OSError, match="Too many"):
            run.recover(record)
        Run("other", tmp_path, tmp_path).recover(None)  # what no record wants need not be read
    run.recover(record)
    assert run.best_params.exists()


def test_a_renamed_run_is_named_and_loses_nothing(cli, tmp_path):
    (tmp_path / "ckpt").mkdir()
    for path in Path(ROOT, "shipped").glob("no-bias[.-][bfj]*[ns]"):
        shutil.copy(path, tmp_path / "ckpt" / path.name.replace("no-bias", "mine"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "ckpt").iterdir()}
    assert len(before) == 3
    actions = ["--train", "--center_loss", "--resume"], ["--test"], *[["--export"]] * CAN_EXPORT
    for action in actions:
        done = cli(*action, "--prefix", "mine", "--data_dir", "digits")
        assert_one_line(done, "mine.json is the record of the run no-bias")
    (tmp_path / "ckpt" / "mine.lock").unlink()
    assert {path.name: path.read_bytes() for path in (tmp_path / "ckpt").iterdir()} == before
