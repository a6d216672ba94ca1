"""The folder of a sweep: whole files or none, refusals in one line, and nothing that a stranger cannot read."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
from test_runtime import python

from rljax.errors import ConfigError, StorageError
from rljax.sweeps import store


def chunk(folder, name, rows, update, value):
    """A chunk of these rows with seed 0, whose state is `value` plus the row."""
    arrays = {
        "row": np.array(rows),
        "seed": np.zeros(len(rows), int),
        "diverged": np.zeros(len(rows), bool),
        "update": np.array([update]),
        store.STATE + "params/w": np.array([[value + row] for row in rows]),
    }
    store.write_arrays(folder / store.CHUNKS / f"{name}.npz", arrays)


@pytest.fixture
def full(monkeypatch):
    """The disk is full from now on, after the first bytes of a file."""

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)


def test_what_is_written_is_read_by_a_stranger(tmp_path):
    chunk(tmp_path, "00-00000", [0, 1], 5, 10.0)
    program = (
        "import sys, numpy; found = numpy.load(sys.argv[1], allow_pickle=False); "
        "print(sorted(found.files), found['state/params/w'].tolist()); assert 'rljax' not in sys.modules"
    )
    path = str(tmp_path / "chunks" / "00-00000.npz")
    out = python(program.replace("sys.argv[1]", repr(path)))
    assert out == "['diverged', 'row', 'seed', 'state/params/w', 'update'] [[10.0], [11.0]]"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, full):
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")
    with pytest.raises(StorageError) as caught:
        store.write_arrays(path, {"x": np.zeros(3)})
    assert str(caught.value) == f"{path} cannot be written: the disk is full"
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.npz"]


def test_folders_without_a_sweep(tmp_path):
    with pytest.raises(ConfigError, match=r"no sweep.json there; give the folder that rljax sweep wrote"):
        store.read(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ConfigError, match=r"sweep.json cannot be read"):
        store.read(tmp_path)


def test_half_written_files_are_no_chunks(tmp_path):
    chunk(tmp_path, "00-00001", [1], 5, 0.0)
    chunk(tmp_path, "00-00000", [0], 5, 0.0)
    (tmp_path / "chunks" / "00-00002.123.partial").write_bytes(b"half")
    assert [path.name for path in store.chunks(tmp_path)] == ["00-00000.npz", "00-00001.npz"]


def test_states_are_the_latest_in_the_order_asked_for(tmp_path):
    chunk(tmp_path, "00-00000", [0, 1, 2], 5, 10.0)
    chunk(tmp_path, "01-00000", [2, 1], 9, 20.0)
    found = store.states(tmp_path, [(2, 0), (0, 0), (1, 0), (2, 0)])
    np.testing.assert_array_equal(found["params/w"][:, 0], [22.0, 10.0, 21.0, 22.0])
    with pytest.raises(ConfigError, match="row=3 seed=0: this run is not finished"):
        store.states(tmp_path, [(0, 0), (3, 0)])


def test_what_is_no_chunk_of_a_sweep_is_left_alone(tmp_path):
    chunk(tmp_path, "00-00000", [0], 5, 0.0)
    np.savez(tmp_path / "chunks" / "notes.npz", x=np.zeros(3))
    (tmp_path / "chunks" / "00-00001 (copy).npz").write_bytes(b"")
    assert store.stored(tmp_path) == {0: {(0, 0)}}


@pytest.mark.parametrize("damage", ["truncated", "bit", "empty", "missing", "other"])
def test_a_damaged_chunk_is_named_and_left_as_it_is(damage, tmp_path):
    chunk(tmp_path, "00-00000", [0], 5, 0.0)
    chunk(tmp_path, "00-00001", [1], 5, 0.0)
    path = tmp_path / "chunks" / "00-00001.npz"
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[good.index(b"params/w") + 150] ^= 4
    bad = {"truncated": good[: len(good) // 2], "bit": bytes(flipped), "empty": b""}.get(damage, good)
    if damage == "missing":
        np.savez(path, row=np.zeros(1, int))
        bad = path.read_bytes()
    elif damage == "other":
        np.savez(path, row=np.zeros(1, int), seed=np.zeros(2, int), update=np.ones(1), diverged=np.zeros(1, bool))
        bad = path.read_bytes()
    path.write_bytes(bad)
    with pytest.warns(UserWarning, match=rf"{path} is damaged .*: .* rljax sweep --resume {tmp_path} computes") as said:
        assert store.stored(tmp_path) == {0: {(0, 0)}}
    assert len(said) == 1 and "\n" not in str(said[0].message) and path.read_bytes() == bad


def test_a_chunk_that_cannot_be_read_now_is_not_damaged(tmp_path, monkeypatch):
    chunk(tmp_path, "00-00000", [0], 5, 0.0)

    def busy(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(np, "load", busy)
    with pytest.raises(StorageError, match=r"00-00000.npz cannot be read now: Too many open files"):
        store.stored(tmp_path)


def test_records_are_plain_json(finished):
    record = json.loads((finished.folder / "sweep.json").read_text(), parse_constant=pytest.fail)
    assert set(os.listdir(finished.folder)) == {".lock", "sweep.json", "chunks", "result.npz"}
    assert len(record["rows"]) == 2 and record["seeds"] == [0, 1] and record["varied"] == ["lr"]
