"""Chunks that are put together: the same bits in fewer files, and a kill at any moment loses none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toys import assert_same_results, sweep

from rljax.sweeps import result, store


def arrays(row: int, size: int = 1):
    metric = {"metric/entropy": np.full((1, 2), row, np.float32), "state/params": np.full((1, size), row, np.float32)}
    return {
        "row": np.array([row]),
        "seed": np.zeros(1, int),
        "update": np.array([1, 2]),
        "diverged": [row > 2],
        **metric,
    }


def rows(folder):
    """The rows of each file."""
    return {path.name: store.read_chunk(path, store.METRIC)["row"].tolist() for path in store.chunks(folder)}


def add(writer, name, *given):
    writer.add(name, {n: np.asarray(x) for n, x in arrays(*given).items()})


def test_small_chunks_of_a_group_become_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MANY", 3)
    writer = store.Writer(tmp_path)
    for group, number in ((0, 0), (0, 2), (1, 0), (0, 3), (0, 5)):
        add(writer, f"{group:02d}-{number:05d}", 10 * group + number)
    add(writer, "00-00006", 6, store.SMALL)
    assert rows(tmp_path) == {
        "00-00000+2.npz": [0, 2, 3],
        "00-00005.npz": [5],
        "00-00006.npz": [6],
        "01-00000.npz": [10],
    }
    chunk = store.read_chunk(tmp_path / store.CHUNKS / "00-00000+2.npz", store.METRIC, store.STATE)
    assert chunk["diverged"].tolist() == [False, False, True] and chunk["update"].tolist() == [1, 2]
    np.testing.assert_array_equal(chunk["metric/entropy"], [[0, 0], [2, 2], [3, 3]])
    assert store.states(tmp_path, [(3, 0), (5, 0)])["params"].tolist() == [[3], [5]]


def test_a_kill_while_they_are_put_together_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MANY", 2)
    writer = store.Writer(tmp_path)
    add(writer, "00-00000", 0)
    unlink = Path.unlink

    def killed(path, **options):
        if path.suffix == ".npz":
            raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        add(writer, "00-00001", 1)
    monkeypatch.undo()
    assert store.stored(tmp_path) == {0: {(0, 0), (1, 0)}} and len(store.chunks(tmp_path)) == 3


def test_a_sweep_of_many_small_runs_leaves_few_files_and_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MANY", 2)
    monkeypatch.setattr(store, "FILES", 1)
    whole = sweep(out=tmp_path / "a", width=1, seeds=3)
    assert rows(tmp_path / "a") == {f"00-{i:05d}+1.npz": [i // 3, (i + 1) // 3] for i in (0, 2, 4)}
    store.chunks(tmp_path / "a")[1].unlink()
    assert result.load(tmp_path / "a").finished.sum() == 4
    again = sweep(out=tmp_path / "a", width=1, seeds=3)
    assert_same_results(again, whole)
    assert rows(tmp_path / "a") == {f"00-{i:05d}+1.npz": [i // 3, (i + 1) // 3] for i in (0, 2, 4)}
