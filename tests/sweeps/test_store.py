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
    assert out == "['row', 'seed', 'state/params/w', 'update'] [[10.0], [11.0]]"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, full):
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")
    with pytest.raises(StorageError) as caught:
        store.write_arrays(path, {"x": np.zeros(3)})
    assert str(caught.value) == (f"{path} cannot be written: the disk is full; {store.KEPT}")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.npz"]


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    store.write_record(tmp_path, {"old": 1})

    def fail(*_):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        store.write_record(tmp_path, {"new": 1})
    assert store.read(tmp_path) == {"old": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_one_may_not_write_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        store.write_record(tmp_path / "a", {})


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "a").write_text("")
    for use in (lambda: store.write_record(tmp_path / "a" / "b", {}), lambda: store.locked(tmp_path / "a").__enter__()):
        with pytest.raises(StorageError) as caught:
            use()
        assert "\n" not in str(caught.value)


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


def test_a_folder_is_held_by_one(tmp_path):
    with (
        store.locked(tmp_path / "a"),
        pytest.raises(ConfigError, match="another process is running this sweep"),
        store.locked(tmp_path / "a"),
    ):
        pass
    with store.locked(tmp_path / "a"):
        pass


def test_records_are_plain_json(finished):
    record = json.loads((finished.folder / "sweep.json").read_text(), parse_constant=pytest.fail)
    assert set(os.listdir(finished.folder)) == {".lock", "sweep.json", "chunks", "result.npz"}
    assert len(record["rows"]) == 2 and record["seeds"] == [0, 1] and record["varied"] == ["lr"]
