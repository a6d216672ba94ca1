"""The content of `sweep.json`; only the same sweep continues a folder."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from toys import TINY, asked, counter, sweep

from rljax.errors import ConfigError
from rljax.parts import of_record
from rljax.sweeps import store
from rljax.sweeps.planning import plan_in, to_record


def test_a_record_says_what_is_run_how_and_on_what(finished):
    record = finished.record
    assert record["algo"] == ["ppo"] and record["env"] == ["probe/action-observation"]
    assert record["asked"]["grid"] == {"lr": [1e-3, 1e-2]} and record["log_every"] == 2
    assert {"command", "created", "machine", "workers", "devices"} <= record.keys()
    first, second = record["rows"]
    assert first["varied"] == {"lr": 1e-3} and second["varied"] == {"lr": 1e-2}
    assert of_record(first) == of_record(second) | {"lr": 1e-3}
    known = {"num_envs": 4, "hidden": [8], "objective": "ppo-clip", "discount": 0.99}
    assert of_record(first) == of_record(first) | known
    assert (first["steps"], first["steps_per_update"], first["updates"]) == (640, 32, 20)
    assert first["group"] == second["group"] == 0
    [group] = record["plan"]
    assert group["points"] == list(range(2, 21, 2))
    assert group["rows"] == [0, 1] and group["width"] == 1 and group["why"] == "as given" and group["bytes"] > 0


def test_a_recorded_plan_is_taken_as_it_is(finished, compiled):
    again = plan_in(finished.folder, asked(), width=7, workers=3)
    assert [dataclasses.asdict(group) | {"points": group.points()} for group in again.groups] == finished.record["plan"]
    assert compiled() == 0 and again.machine.workers == 3
    before = {name: value for name, value in finished.record.items() if name not in ("command", "created", "workers")}
    after = json.loads(json.dumps(to_record(again)))
    assert {name: after[name] for name in before} == before


def test_the_way_it_is_asked_for_does_not_matter(finished):
    for changes in (
        {"grid": {"lr": "1e-3,1e-2"}},
        {"grid": {"lr": "log:1e-3:1e-2:2"}},
        {"seeds": [0, 1]},
        {"steps": 640, "discount": 0.99},
        {"hidden": [8]},
    ):
        assert len(plan_in(finished.folder, asked(**changes)).groups) == 1


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seeds": 3}, r"seeds is \[0, 1\] there, \[0, 1, 2\] here"),
        ({"seeds": [1, 0]}, "seeds is"),
        ({"grid": {"lr": [1e-3, 2e-2]}}, "lr is 0.01 there, 0.02 here"),
        ({"grid": {"lr": [1e-3]}}, "rows is 2 there, 1 here"),
        ({"grid": {"lr": [1e-3, 1e-2, 1e-1]}}, "rows is 2 there, 3 here"),
        ({"grid": {"discount": [0.9, 0.99]}}, "lr is 0.001 there, 0.00025 here"),
        ({"steps": 650}, "steps is 640 there, 650 here"),
        ({"env": "probe/action"}, "env is probe/action-observation there, probe/action here"),
        ({"hidden": (4,)}, r"hidden is \[8\] there, \[4\] here"),
        ({"objective": "dpo"}, "objective is ppo-clip there, dpo here"),
        ({"task": {"length": 3}}, "task.length is None there, 3 here"),
        ({"log_every": 4}, "log_every is 2 there, 4 here"),
        ({"halving": 2}, "search is"),
        ({"value_clip": float("inf")}, "value_clip is 0.2 there, inf here"),
    ],
)
def test_another_sweep_is_refused_with_the_difference(changes, difference, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.*") if path.name != ".lock"}
    with pytest.raises(
        ConfigError, match=rf"holds another sweep \(.*{difference}.*\); choose another folder"
    ) as caught:
        sweep(out=finished.folder, **changes)
    assert "\n" not in str(caught.value)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ConfigError, match=r"out=.*: exists, and is not of a sweep; choose another folder"):
        sweep(out=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "all of it" and not (tmp_path / store.RECORD).exists()


def test_a_record_that_is_damaged_is_refused(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "a")
    (tmp_path / "a" / store.RECORD).write_text('{"rows": [')
    with pytest.raises(ConfigError, match=r"sweep.json cannot be read"):
        sweep(out=tmp_path / "a")


def test_a_sweep_that_is_refused_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="num_minibatches"):
        sweep(out=tmp_path / "a", num_minibatches=3)
    assert not (tmp_path / "a").exists()


def test_an_environment_of_ones_own_is_in_the_record_by_name():
    found = asked(env=counter(), grid={"task.terminate_at": [2, 3]})
    assert {row.record(row.prepare())["env"] for row in found.rows} == {"toy/counter"}
    assert found.rows[0].settings.items() >= {"num_envs": TINY["num_envs"], "task.terminate_at": 2}.items()
