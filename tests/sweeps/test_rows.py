"""Rows: every setting of each, what they are refused for, and what is kept of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toys import PROBE, TINY, asked, counter

import rljax
from rljax import envs
from rljax.build import describe
from rljax.errors import ConfigError
from rljax.objectives import DPO, PPOClip
from rljax.sweeps.rows import describe as in_a_line
from rljax.sweeps.rows import from_record, given_environments, plain


def prepared(**changes):
    return [row.prepare() for row in asked(**changes).rows]


def test_every_algorithm_environment_and_point_is_a_row():
    rows = asked(env=[PROBE, "probe/action"], grid={"lr": [1e-3, 1e-2], "discount": [0.9, 0.99]}).rows
    assert [(row.env, row.varied["lr"], row.varied["discount"]) for row in rows] == [
        (env, lr, discount) for env in (PROBE, "probe/action") for lr in (1e-3, 1e-2) for discount in (0.9, 0.99)
    ]
    assert all(row.varied["env"] == row.env and "algo" not in row.varied for row in rows)


@pytest.mark.parametrize("field", ["env", "algo"])
def test_environments_and_algorithms_can_be_fields_of_a_grid(field):
    value = {"env": "probe/action", "algo": "ppo"}[field]
    rows = asked(**{field: None}, grid={field: [value], "lr": [1.0, 2.0]}).rows
    assert [getattr(row, field) for row in rows] == [value, value]
    assert [row.varied for row in rows] == [{field: value, "lr": lr} for lr in (1.0, 2.0)]


def test_a_row_is_what_a_lone_run_would_be():
    [row] = asked(grid={"lr": [1e-3]}, objective="dpo", task={"length": 2}, **{"objective.alpha": 1.5}).rows
    algo, _ = rljax.make("ppo", PROBE, task={"length": 2}, lr=1e-3, objective="dpo", **{"objective.alpha": 1.5}, **TINY)
    found = row.prepare()
    assert found.algorithm == algo and found.env.task.length == 2 and found.updates == 20
    assert found.algorithm.hypers == algo.hypers.replace(horizon=20.0)


def test_numbers_reach_hypers_task_and_objective_and_shapes_the_config():
    rows = prepared(
        env="CartPole-v1",
        grid={"lr": [0.5], "task.gravity": [3.0], "objective.clip": [0.3], "hidden": [(4, 4)], "num_envs": [2]},
    )
    hypers, task = rows[0].algorithm.hypers, rows[0].env.task
    assert (hypers.lr, hypers.objective.clip, task.gravity) == (0.5, 0.3, 3.0)
    assert rows[0].config["hidden"] == (4, 4) and rows[0].algorithm.steps_per_update == 16


def test_objectives_are_swept_by_name_by_class_or_as_such():
    found = prepared(grid={"objective": ["ppo-clip", "DPO", PPOClip(clip=0.3), PPOClip(clip=0.1)]})
    objectives = [row.algorithm.hypers.objective for row in found]
    assert objectives == [PPOClip(), DPO(), PPOClip(clip=0.3), PPOClip(clip=0.1)]


def test_presets_are_where_each_environment_starts_from():
    rows = asked(env=["CartPole-v1", "Pendulum-v1"], steps=None, use_preset=True, num_envs=8).rows
    assert [row.steps for row in rows[::2]] == [500_000, 200_000]
    assert [row.settings.get("discount") for row in rows[::2]] == [None, 0.95]
    assert all(row.settings["num_envs"] == 8 and "lr" in row.varied for row in rows)
    plainly = asked(env="Pendulum-v1", use_preset=False).rows[0]
    assert "discount" not in plainly.settings


def test_a_swept_or_given_field_wins_over_the_preset():
    rows = asked(env="Pendulum-v1", use_preset=True, discount=0.5).rows
    assert [row.settings["lr"] for row in rows] == [1e-3, 1e-2] and rows[0].settings["discount"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"lrr": [1.0]}}, "unknown field of ppo 'lrr'; did you mean 'lr'"),
        ({"grid": {"taks.length": [1]}}, "unknown field of ppo 'taks.length'"),
        ({"grid": {"steps": [1]}}, "unknown field of ppo 'steps'"),
        ({"grid": {"task.lenght": [1]}}, "unknown task parameter of .* 'lenght'; did you mean 'length'"),
        ({"grid": {"objective.clap": [1]}}, "did you mean 'objective.clip'.*in the row objective.clap=1"),
        ({"grid": {"objective.alpha": [1]}}, "unknown field of objective ppo-clip 'objective.alpha'"),
        ({"grid": {"objective": "dpo,ppo-klip"}}, "did you mean 'ppo-clip'.*in the row objective=ppo-klip"),
        ({"grid": {"algo": ["poo"]}, "algo": None}, "unknown algorithm 'poo'; did you mean 'ppo'"),
        ({"grid": {"env": ["CartPole-v2"]}, "env": None}, "did you mean 'CartPole-v1'"),
        ({"grid": {"env": [PROBE]}}, "env=.*is swept and given by name"),
        ({"env": None}, "env=None: say which env"),
        ({"algo": None}, "algo=None: say which algo"),
        ({"env": [PROBE, "probe/acton"]}, "did you mean 'probe/action'"),
        ({"lr": 1.0}, "lr: is swept and fixed at 1.0"),
        ({"grid": {"task.length": [1]}, "task": {"length": 3}}, "task.length: is swept and fixed at 3"),
        ({"sample": {"discount": "uniform:0:1"}, "trials": 2, "discount": 0.5}, "discount: is swept and fixed"),
        ({"grid": {"lr": "1e-3,fast"}}, "lr='fast': must be a number, not text .in the row lr=fast."),
        ({"grid": {"lr": "1e-3,nan"}}, "lr=nan: must be a number"),
        ({"grid": {"lr": "1e-3,-1"}}, "lr=-1: must be at least 0"),
        ({"grid": {"num_envs": "4,8.5"}}, "num_envs=8.5: must be a whole number"),
        ({"grid": {"num_minibatches": "2,3"}}, "num_minibatches=3: must divide"),
        ({"grid": {"hidden": "64x64,a"}}, "hidden='a': must be a whole number, not text"),
        ({"grid": {"activation": "tanh,rleu"}}, "activation=rleu: must be one of .*; did you mean 'relu'"),
        ({"lrr": 3.0}, "unknown setting of ppo 'lrr'; did you mean 'lr'"),
        ({"env_args": {"colour": 3}}, "unknown argument of .* 'colour'"),
        ({"steps": None}, "steps=None: there is no preset"),
    ],
)
def test_nonsense_is_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        prepared(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["abc", None, True, float("nan"), [1, 2], 1.5])
def test_a_task_parameter_is_a_number_like_its_default(value):
    with pytest.raises(ConfigError, match=r"task.length="):
        prepared(grid={"task.length": [value]})


def test_a_task_parameter_is_taken_in_the_type_of_its_default():
    for value, grid in ((3, {"task.length": [3.0]}), (9.0, {"task.gravity": "9"})):
        [row] = prepared(env="CartPole-v1" if "task.gravity" in grid else PROBE, grid=grid)
        found = getattr(row.env.task, "gravity" if "task.gravity" in grid else "length")
        assert found == value and type(found) is type(value)


def test_a_grid_of_layers_may_have_a_single_one():
    found = prepared(grid={"hidden": "8x8,8"})
    assert [row.algorithm for row in found] == [
        rljax.make("ppo", PROBE, **TINY | {"hidden": x})[0] for x in ((8, 8), (8,))
    ]


def test_a_grid_may_be_an_array():
    grid = {"num_envs": np.array([2, 4]), "lr": np.geomspace(1e-3, 1e-2, 2)}
    assert [row.algorithm.steps_per_update for row in prepared(grid=grid)] == [16, 16, 32, 32]


def test_two_environments_of_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"env=toy/counter: is the name of two environments"):
        prepared(env=[counter(), counter(5)])


def test_two_environments_of_one_name_are_refused_in_a_grid_too():
    with pytest.raises(ConfigError, match=r"toy/counter"):
        prepared(env=None, grid={"env": [counter(), counter(5)]})


def test_a_record_holds_every_setting_and_gives_the_row_back():
    grid = {"lr": [1e-3, 1e-2], "hidden": [(8,), (4, 4)], "value_clip": [float("inf"), 0.2], "objective": ["dpo"]}
    rows = asked(grid=grid, task={"length": 3}, env_args={}).rows
    records = json.loads(json.dumps([row.record(row.prepare()) for row in rows]), parse_constant=pytest.fail)
    assert records[0]["config"]["num_envs"] == 4 and records[0]["hypers"]["gae_lambda"] == 0.95
    assert records[0]["hypers"]["value_clip"] == "inf" and records[0]["hypers"]["horizon"] == 20.0
    assert records[0]["varied"] == {"lr": 1e-3, "hidden": [8], "value_clip": "inf", "objective": "dpo"}
    again = [row.prepare() for row in from_record({"rows": records})]
    for row, restored in zip(map(type(rows[0]).prepare, rows), again):
        assert row.algorithm == restored.algorithm and row.algorithm.hypers == restored.algorithm.hypers
        assert row.env == restored.env and row.env.task.length == restored.env.task.length == 3
        assert (row.steps, row.updates) == (restored.steps, restored.updates)


def test_a_record_names_environments_and_objectives_of_ones_own():
    env = counter()
    [row] = asked(env=env, grid={"objective": [PPOClip(clip=0.3)]}).rows
    assert given_environments([row]) == {"toy/counter": env}
    record = json.loads(json.dumps(row.record(row.prepare())))
    assert record["env"] == "toy/counter" and record["varied"] == {"objective": "ppo-clip"}
    [again] = from_record({"rows": [record]}, given_environments([row]))
    assert again.prepare().env is env
    assert describe(again.prepare().algorithm.hypers)["objective.clip"] == 0.3


def test_a_registered_environment_is_known_by_the_name_it_is_registered_under():
    if "mine/rows" not in envs.names():
        envs.register("mine/rows", counter)
    [row] = asked(env="mine/rows", grid={}).rows
    [again] = from_record({"rows": [row.record(row.prepare())]})
    assert again.prepare().env is row.prepare().env


def test_another_point_replaces_what_is_swept_alone():
    [row] = asked(grid={"lr": [1e-3]}, discount=0.5).rows
    restored = row.at({"lr": 2.0})
    assert restored.settings["lr"] == 2.0 and restored.settings["discount"] == 0.5 and restored.varied == {"lr": 2.0}
    assert row.settings["lr"] == 1e-3


def test_settings_in_a_line():
    varied = {"lr": 0.00012345, "hidden": (8, 8), "objective": DPO(), "env": counter(), "squash": True}
    assert in_a_line(varied) == "lr=0.0001234 hidden=[8, 8] objective=dpo env=toy/counter squash=True"
    assert plain(np.float32(0.5)) == 0.5 and plain(float("inf")) == "inf"
