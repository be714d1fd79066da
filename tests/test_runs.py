"""Parameter files against MXNet's own, damaged ones, and writing that loses nothing."""

import io

import mxnet as mx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import runs
from runtime import UserError

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
    path.write_bytes(runs.pack_params(written))
    assert_same({name: array.asnumpy() for name, array in mx.nd.load(str(path)).items()}, written)
    mx.nd.save(str(path), {name: mx.nd.array(array) for name, array in written.items()})
    assert path.read_bytes() == runs.pack_params(written)
    assert_same(runs.unpack_params(path.read_bytes()), written)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), written=arrays)
def test_damaged_parameters_are_refused_or_read(data, written):
    content = bytearray(runs.pack_params(written))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read = runs.unpack_params(content)
    except ValueError as error:
        assert str(error)
    else:
        assert sum(array.nbytes for array in read.values()) <= len(content)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
@example(content=b"\x12\x01" + b"\0" * 14 + b"\xff" * 8)
def test_any_bytes_are_refused(content):
    with pytest.raises(ValueError):
        runs.unpack_params(content)


@pytest.mark.parametrize("kind", ["float64", "int32", "uint8"])
def test_other_types_are_refused(kind, tmp_path):
    mx.nd.save(str(tmp_path / "a"), {"a": mx.nd.ones(3, dtype=kind)})
    with pytest.raises(ValueError, match="unknown type"):
        runs.unpack_params((tmp_path / "a").read_bytes())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    runs.write_atomically(path, b"old")
    monkeypatch.setattr("builtins.open", lambda *args: Full())
    with pytest.raises(UserError, match="No space left"):
        runs.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_commit_that_was_killed_is_finished_or_forgotten(tmp_path):
    run = runs.Run("run", tmp_path, tmp_path)
    record = {"prefix": "run", "sha256": {}}
    first = runs.pack_params({"a": np.ones(1, np.float32)})
    second = runs.pack_params({"a": np.zeros(1, np.float32)})
    run.commit(record, {run.best: first, run.resume: first})
    # Killed before the record was replaced: the new files are leftovers.
    runs.write_new(run.best, second)
    assert run.read_params(run.best, run.read_record())["a"] == 1
    run.settle(run.read_record())
    assert run.best.read_bytes() == first and not runs.new_name(run.best).exists()
    # Killed between the record and the renaming: the new files are the run's.
    run.commit(record, {run.best: second, run.resume: second})
    run.best.rename(runs.new_name(run.best))
    run.best.write_bytes(first)
    assert run.read_params(run.best, run.read_record())["a"] == 0
    run.settle(run.read_record())
    assert run.best.read_bytes() == second and not runs.new_name(run.best).exists()
