"""Measurements of plans that are kept for a day: a sweep that follows its plan measures nothing again."""

from __future__ import annotations

import os

import pytest
from toys import asked, assert_same_results, sweep

from rljax.engine import remembered, width
from rljax.sweeps import driver
from rljax.sweeps.planning import make_plan

RECALL, KEEP = remembered.recall, remembered.keep  # before a fixture that keeps nothing


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """The folder of what is kept, for this test alone."""
    monkeypatch.setattr(remembered, "recall", RECALL)
    monkeypatch.setattr(remembered, "keep", KEEP)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rljax" / "plans"


@pytest.fixture
def measured(monkeypatch):
    """Counts the measurements of groups."""
    calls, time = [], width._time
    monkeypatch.setattr(width, "_time", lambda *arguments: calls.append(1) or time(*arguments))
    return calls


def test_what_is_kept_is_recalled_for_a_day(kept):
    assert remembered.recall("a") is None
    remembered.keep("a", {"x": 1.5})
    assert remembered.recall("a") == {"x": 1.5} and remembered.recall("b") is None
    yesterday = (kept / "a.json").stat().st_mtime - remembered.DAY - 1
    os.utime(kept / "a.json", (yesterday, yesterday))
    assert remembered.recall("a") is None
    remembered.keep("b", {})
    assert [path.name for path in kept.iterdir()] == ["b.json"]
    (kept / "b.json").write_text("{")
    assert remembered.recall("b") is None


def test_where_nothing_can_be_kept_nothing_is(kept, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    remembered.keep("a", {"x": 1})
    assert remembered.recall("a") is None


def test_names_differ_by_what_is_asked():
    names = {remembered.key_of(*what) for what in ((1, 2), (1, 3), ({"a": 1},), ({"a": 2},))}
    assert len(names) == 4 and remembered.key_of(1, 2) in names


def test_a_sweep_that_follows_its_plan_measures_nothing(kept, measured, tmp_path):
    before = make_plan(asked(), workers=1)
    assert measured
    measured.clear()
    again = make_plan(asked(), workers=1)
    assert not measured and again.groups == before.groups and str(again) == str(before)
    found = driver.run(asked(), tmp_path / "a", progress=False, workers=1)
    assert not measured
    assert_same_results(found, sweep())


@pytest.mark.parametrize(
    "other", [{"seeds": 3}, {"grid": {"lr": [1e-3, 1e-2, 1e-1]}}, {"num_envs": 8}, {"steps": 1280}, {"algo": "pqn"}]
)
def test_another_sweep_is_measured(kept, measured, other):
    make_plan(asked(), workers=1)
    measured.clear()
    make_plan(asked(**other), workers=1)
    assert measured


def test_with_less_memory_it_is_measured_again(kept, measured, monkeypatch):
    first = make_plan(asked(), workers=2)
    measured.clear()
    make_plan(asked(), workers=2)
    assert not measured
    need = first.groups[0].bytes
    monkeypatch.setattr("rljax.engine.machine.room", lambda workers, limit=None: int(1.5 * need))
    assert make_plan(asked(), workers=2).machine.workers == 1 and measured
