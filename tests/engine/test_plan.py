"""Rows into groups that share a program, groups into shards, and how many programs that makes."""

from __future__ import annotations

import dataclasses

import pytest
from objectives.networks import random_network
from toys import asked, counter, sweep

from rljax.engine import plan
from rljax.engine.plan import Group, Programs, group
from rljax.objectives import DPO, LPO, PPOClip, network


def programs(**changes):
    return Programs([row.prepare() for row in asked(**changes).rows])


def groups(**changes):
    """The rows of each group."""
    return [g.rows for g in group(programs(**changes))]


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": {"lr": "log:1e-5:1e-2:6", "discount": [0.9, 0.99]}},
        {"grid": {"task.length": "1,2,3"}},
        {"env": "CartPole-v1", "grid": {"task.gravity": "9,9.8"}},
        {"grid": {"objective.clip": [0.1, 0.2]}},
        {"grid": {"objective": [PPOClip(clip=0.1), PPOClip(clip=0.3)]}},
        {"grid": {"objective": [random_network(LPO, 0), random_network(LPO, 1)]}},
        {"grid": {"value_clip": [float("inf"), 0.2]}},
        {"grid": {}, "sample": {"lr": "log-uniform:1e-5:1e-2", "task.length": "int:1:9"}, "trials": 6},
    ],
)
def test_numbers_share_a_program(changes):
    assert len(groups(**changes)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": {"num_envs": [4, 8], "lr": [1e-3, 1e-2]}},
        {"grid": {"hidden": [(8,), (8, 8)], "lr": [1e-3, 1e-2]}},
        {"grid": {"objective": ["ppo-clip", "dpo"], "lr": [1e-3, 1e-2]}},
        {"grid": {"objective": [PPOClip(), DPO()], "lr": [1e-3, 1e-2]}},
        {"grid": {"objective": ["lpo", "ta-lpo"], "lr": [1e-3, 1e-2]}},
        {"grid": {"objective": [LPO(**network(8, 4)), LPO(**network(8, 5))], "lr": [1e-3, 1e-2]}},
        {"env": ["probe/action-observation", "probe/action"], "grid": {"lr": [1e-3, 1e-2]}},
        {"env": [counter(), dataclasses.replace(counter(3), name="other")], "grid": {"lr": [1e-3, 1e-2]}},
    ],
)
def test_what_must_be_compiled_apart_is(changes):
    assert groups(**changes) == [[0, 1], [2, 3]]


def test_rows_of_a_group_need_not_stand_together():
    assert groups(grid={"lr": [1e-3, 1e-2], "num_envs": [4, 8]}) == [[0, 2], [1, 3]]


def test_two_classes_of_one_name_are_told_apart():
    one, other = (type("Mine", (PPOClip,), {"__module__": "mine"}) for _ in range(2))
    assert groups(grid={"objective": [one(), other()]}) == [[0], [1]]


def test_a_group_knows_its_length_and_its_points():
    [first, second] = group(programs(grid={"num_envs": [4, 8]}, steps=650), 4)
    assert (first.updates, first.last, second.updates) == (21, 21, 11)
    assert first.points() == [4, 8, 12, 16, 20, 21] and second.points() == [4, 8, 11]
    going_on = dataclasses.replace(first, start=8, updates=16)
    assert going_on.points() == [12, 16]


def test_by_default_a_run_has_a_hundred_points():
    [long] = group(programs(grid={}, steps=32 * 1000))
    [short] = group(programs(grid={}, steps=32 * 7))
    assert len(long.points()) == 100 and short.points() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("width", "sizes"), [(1, [1] * 6), (4, [4, 2]), (6, [6]), (100, [6])])
def test_shards_hold_every_member_once(width, sizes):
    shards = Group([3, 5], [0], 10, 1, 10, width=width).shards([7, 8, 9])
    assert [len(shard) for shard in shards] == sizes
    assert [member for shard in shards for member in shard] == [(row, seed) for row in (3, 5) for seed in (7, 8, 9)]


def test_new_rows_join_the_program_of_rows_that_are_there():
    known_programs = programs(grid={"lr": [1e-3, 1e-2]})
    [known] = group(known_programs)
    known = dataclasses.replace(known, width=3, width_by="machine", why="because")
    both = Programs(known_programs.prepared + programs(grid={"lr": [1.0, 2.0]}).prepared)
    [new] = group(both, None, [known])
    assert new.rows == [2, 3] and (new.width, new.why, new.varying) == (3, "because", known.varying)
    both = Programs(known_programs.prepared + programs(grid={"discount": [0.5, 0.6]}).prepared)
    [new] = group(both, None, [known])
    assert new.width_by == "" and new.varying != known.varying
    both = Programs(known_programs.prepared + programs(grid={"lr": [1.0]}).prepared)
    [new] = group(both, None, [known])
    assert new.why == "because"  # a row alone has an axis for its lr there
    both = Programs(known_programs.prepared + programs(grid={"lr": [1.0, 2.0], "discount": [0.5, 0.6]}).prepared)
    [new] = group(both, None, [known])
    assert new.width_by == "" and len(new.varying) == 2


def test_six_learning_rates_and_sixteen_seeds_are_one_program(compiled):
    found = sweep(grid={"lr": "log:1e-4:1e-2:6"}, seeds=16, width=4)
    assert found.finished.all() and found.finished.shape == (6, 16)
    assert compiled() == 1


def test_programs_are_made_once(compiled):
    known_programs = programs(grid={"lr": [1e-3, 1e-2]})
    [one] = group(known_programs, 2)
    program = known_programs.of(one)
    assert known_programs.of(dataclasses.replace(one, rows=[1], start=8, updates=16)) is program
    assert len(known_programs.made) == compiled() == 1 and program.population == 1


def test_the_latest_programs_are_kept(compiled, monkeypatch):
    monkeypatch.setattr(plan, "KEPT", 2)
    known_programs = programs(grid={"num_envs": [2, 4, 8]})
    first, second, third = group(known_programs, 2)
    for each in (first, second, first, third, first):
        known_programs.of(each)
    assert compiled() == 3
    known_programs.of(second)
    assert compiled() == 4 and len(known_programs.made) == 2
