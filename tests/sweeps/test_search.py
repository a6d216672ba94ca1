"""Successive halving and optuna: what goes on, from where, and that a search that was cut off decides the same."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from test_contract import leaves_equal
from toys import asked, assert_same_chunks, assert_same_results, recorded, sweep

from rljax.engine.plan import Group, Programs
from rljax.errors import ConfigError
from rljax.sweeps import driver, spec, store
from rljax.sweeps.planning import next_round, plan_in
from rljax.sweeps.result import SweepResult
from rljax.sweeps.search import Halving, Optuna
from rljax.sweeps.space import distribution

RATES = [1e-4, 1e-2, 1e-3, 3e-2]


def results(scores, ends, lasts, seeds=1, varied=None):
    """Results of rows that have come to their first rung: a score for each run, updates done and updates asked for."""
    scores = np.broadcast_to(np.array(scores, float).reshape(len(ends), -1), (len(ends), seeds))
    update = np.full((len(ends), 2), np.nan)
    update[:, 0], update[:, 1] = ends, lasts
    returns = np.stack([scores, np.full_like(scores, np.nan)], -1)
    same = {"env": "a", "steps_per_update": 1, "warmup_steps": 0}
    rows = [{**same, "varied": v, **recorded(v), "env": v.get("env", "a")} for v in varied or [{}] * len(ends)]
    metrics = {"episode_return": returns, "episodes": np.where(np.isfinite(returns), 1.0, np.nan)}
    reached = np.broadcast_to(np.array(ends)[:, None], scores.shape)
    record = {"rows": rows, "seeds": list(range(seeds)), "varied": list(rows[0]["varied"])}
    return SweepResult(record, np.arange(len(ends)), metrics, update, reached, np.isnan(scores), None)


@pytest.mark.parametrize(
    ("last", "log_every", "eta", "rungs", "ends"),
    [
        (27, 1, 3, 3, [3, 9, 27]),
        (20, 2, 2, 3, [6, 10, 20]),
        (21, 4, 3, 2, [8, 21]),
        (245, 100, 3, 3, [100, 245]),  # the first two would end at the same point
        (2, 2, 3, 3, [2]),
    ],
)
def test_rungs_end_at_points_of_the_run_no_two_at_the_same(last, log_every, eta, rungs, ends):
    halving, groups = Halving(eta, rungs), [Group([0, 1], [0], last, log_every, last)]
    found = halving.begin(groups)
    assert found[0].updates == ends[0] and found[0].start == 0
    scores = results([1.0, 2.0], [ends[0]] * 2, [last] * 2)
    for start, end in itertools.pairwise(ends):
        found += halving.further(found, scores)
        assert (found[-1].start, found[-1].updates) == (start, end)
    assert found[-1].rung == rungs - 1 and halving.further(found, scores) == []


def test_where_rungs_are_one_the_share_is_that_of_the_last():
    halving = Halving(3, 3)
    groups = halving.begin([Group(list(range(9)), [0], 245, 100, 245)])
    further = halving.further(groups, results(np.arange(9.0), [100] * 9, [245] * 9))
    assert [(g.rows, g.start, g.updates) for g in further] == [([8], 100, 245)]


def test_rows_whose_rungs_are_one_wait_for_the_others():
    """Nine short runs are ranked once, where nine long ones are ranked for the second time."""
    halving = Halving(3, 3)
    groups = halving.begin([Group(list(range(9)), [0], 20, 10, 20), Group(list(range(9, 18)), [0], 90, 10, 90)])
    assert [(g.updates, g.rung) for g in groups] == [(10, 1), (10, 0)]
    scores = results(np.arange(18.0), [10] * 18, [20] * 9 + [90] * 9)
    groups += halving.further(groups, scores)
    assert [(g.rows, g.start, g.updates) for g in groups[2:]] == [([15, 16, 17], 10, 30)]
    groups += halving.further(groups, scores)
    assert [(g.rows, g.start, g.updates) for g in groups[3:]] == [([16, 17], 30, 90)]
    assert halving.further(groups, scores) == []


def test_each_environment_keeps_its_share():
    """Returns of Acrobot are all below those of CartPole."""
    varied = [{"env": env, "lr": lr} for env in ("CartPole-v1", "Acrobot-v1") for lr in (1, 2, 3, 4)]
    groups = Halving(2, 2).begin([Group(list(range(8)), [0], 20, 1, 20)])
    found = results([10.0, 30, 20, 40, -400, -100, -200, -300], [10] * 8, [20] * 8, varied=varied)
    assert [g.rows for g in Halving(2, 2).further(groups, found)] == [[1, 3, 5, 6]]
    tasks = [{"task.length": n, "lr": lr} for n in (5, 50) for lr in (1, 2)]
    found = results([1.0, 2.0, 20.0, 10.0], [10] * 4, [20] * 4, varied=tasks)
    groups = Halving(2, 2).begin([Group(list(range(4)), [0], 20, 1, 20)])
    assert [g.rows for g in Halving(2, 2).further(groups, found)] == [[1, 2]]


def test_where_nothing_has_a_score_yet_all_go_on():
    groups = Halving(2, 2).begin([Group([0, 1, 2, 3], [0], 20, 1, 20)])
    found = results([1.0] * 4, [10] * 4, [20] * 4)
    found.metrics["episode_return"][:] = np.nan  # no episode has ended
    assert [g.rows for g in Halving(2, 2).further(groups, found)] == [[0, 1, 2, 3]]
    found.metrics["episode_return"][3, 0, 0] = 2.0
    assert [g.rows for g in Halving(2, 2).further(groups, found)] == [[0, 3]]


def test_rows_that_each_have_an_environment_of_their_own_cannot_be_halved():
    message = "halving=2: has no two rows on one environment to choose from"
    for changes in (
        {"grid": {"env": ["CartPole-v1", "Acrobot-v1"]}, "env": None},
        {"sample": {"task.length": "uniform:1:9"}, "trials": 3, "grid": {}},
    ):
        with pytest.raises(ConfigError, match=message):
            asked(**changes, halving=2)


def test_the_best_rows_of_all_groups_go_on():
    groups = Halving(2, 2).begin([Group([0, 2], [0], 20, 1, 20), Group([1, 3], [0], 20, 1, 20)])
    further = Halving(2, 2).further(groups, results([5.0, 1.0, 4.0, 2.0], [10] * 4, [20] * 4))
    assert [g.rows for g in further] == [[0, 2]]
    further = Halving(2, 2).further(groups, results([5.0, 1.0, 2.0, 4.0], [10] * 4, [20] * 4))
    assert [g.rows for g in further] == [[0], [3]]


def test_a_diverged_row_does_not_go_on():
    groups = Halving(2, 2).begin([Group([0, 1, 2, 3], [0], 20, 1, 20)])
    further = Halving(2, 2).further(groups, results([np.nan, 1.0, np.nan, 2.0], [10] * 4, [20] * 4))
    assert [g.rows for g in further] == [[1, 3]]
    assert Halving(2, 2).further(groups, results([np.nan] * 4, [10] * 4, [20] * 4)) == []


def test_rows_of_unequal_length_compete_by_their_scores():
    groups = Halving(3, 2).begin([Group([0, 1], [0], 20, 1, 20), Group([2, 3], [0], 10, 1, 10)])
    ends = [g.updates for g in groups for _ in g.rows]
    assert ends == [7, 7, 4, 4]
    further = Halving(3, 2).further(groups, results([9.0, 8.0, 1.0, 2.0], ends, [20, 20, 10, 10]))
    assert [g.rows for g in further] == [[0, 1]]


@pytest.fixture(scope="module")
def plain():
    return sweep(grid={"lr": RATES}, width=2)


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    return sweep(grid={"lr": RATES}, width=2, halving=2, rungs=3, out=tmp_path_factory.mktemp("halved") / "a")


def test_survivors_go_on_as_if_nothing_had_stopped(plain, halved):
    """To the bit: the states that were kept really go on."""
    ends = halved.reached.max(1)
    assert sorted(ends) == [6, 6, 10, 20] and (halved.reached == ends[:, None]).all()
    for name, values in halved.metrics.items():
        for row, end in enumerate(ends):
            points = halved.update[row] <= end
            np.testing.assert_array_equal(values[row][:, points], plain.metrics[name][row][:, points], err_msg=name)
            assert np.isnan(values[row][:, ~points]).all()
    best = int(np.argmax(ends))
    for seed in (0, 1):
        assert leaves_equal(halved.policy(best, seed).state.params, plain.policy(best, seed).state.params)


def test_at_each_rung_the_best_went_on(plain, halved):
    going = set(range(4))
    for end, keep in ((6, 2), (10, 1)):
        point = int(np.flatnonzero(plain.update[0] == end)[0])
        scores = plain.metrics["episode_return"][:, :, point].mean(1)
        going = set(sorted(going, key=lambda row: -scores[row])[:keep])
        assert set(np.flatnonzero(halved.reached.max(1) > end)) == going
    assert halved.best().row in going


def test_what_was_stopped_is_there_too(halved):
    stopped = int(np.argmin(halved.reached.max(1)))
    assert halved.policy(stopped, 0).step == 6 * 32 and halved.finished.all()
    table = halved.table()
    assert sorted(table["steps"]) == [192, 192, 320, 640] and np.isfinite(table["iqm"]).all()
    ranking = [score.row for score in halved.ranked()]
    assert [halved.reached[row, 0] for row in ranking] == [20, 10, 6, 6]


def test_a_halving_that_is_finished_is_read(halved):
    before = {path: path.stat().st_mtime_ns for path in store.chunks(halved.folder)}
    assert_same_results(sweep(grid={"lr": RATES}, width=2, halving=2, rungs=3, out=halved.folder), halved)
    assert before == {path: path.stat().st_mtime_ns for path in store.chunks(halved.folder)}
    assert_same_results(driver.resume(halved.folder, progress=False), halved)


class Killed(BaseException):
    """Ends a process as SIGKILL does: nothing catches it."""


def killed_before(monkeypatch, name, times):
    """Dies where `driver` would call `name` for the so many-th time."""
    original, calls = getattr(driver, name), []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == times:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(driver, name, counted)


@pytest.mark.parametrize(("name", "times"), [("next_round", 2), ("to_record", 1), ("SweepJob", 2)])
def test_a_halving_that_was_killed_ends_the_same(name, times, halved, tmp_path, monkeypatch):
    what = {"grid": {"lr": RATES}, "width": 2, "halving": 2, "rungs": 3, "out": tmp_path / "a"}
    killed_before(monkeypatch, name, times)
    with pytest.raises(Killed):
        sweep(**what)
    monkeypatch.undo()
    assert_same_results(driver.resume(tmp_path / "a", progress=False), halved)
    assert_same_chunks(tmp_path / "a", halved.folder)


def test_a_metric_that_does_not_exist_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'episode_return'"):
        sweep(halving=2, rungs=2, score="episode_retrun", out=tmp_path / "a")
    assert not store.chunks(tmp_path / "a")


TRIALS = {"grid": {}, "sampler": "optuna", "trials": 6, "batch": 2, "sample": {"lr": "log-uniform:1e-4:1e-1"}}


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    pytest.importorskip("optuna")
    return sweep(**TRIALS, out=tmp_path_factory.mktemp("tried") / "a")


def test_optuna_tries_as_many_points_as_asked_for(tried):
    rates = [row["lr"] for row in tried.rows]
    assert len(set(rates)) == 6 and all(1e-4 <= lr <= 1e-1 for lr in rates) and tried.finished.all()
    assert [group["rows"] for group in tried.record["plan"]] == [[0, 1], [2, 3], [4, 5]]
    assert {tuple(group["varying"]) for group in tried.record["plan"]} == {(0,)}


def test_its_rows_are_rows_of_a_plain_sweep(tried):
    plain = sweep(grid={"lr": [row["lr"] for row in tried.rows]})
    for name, values in plain.metrics.items():
        np.testing.assert_array_equal(tried.metrics[name], values)


def test_all_rounds_share_one_program(compiled, tried, tmp_path):
    found = sweep(**TRIALS)
    assert compiled() == 1
    assert_same_results(found, tried)


@pytest.mark.parametrize(("name", "times"), [("next_round", 2), ("SweepJob", 2)])
def test_a_search_that_was_killed_asks_the_same(name, times, tried, tmp_path, monkeypatch):
    killed_before(monkeypatch, name, times)
    with pytest.raises(Killed):
        sweep(**TRIALS, out=tmp_path / "a")
    monkeypatch.undo()
    again = sweep(**TRIALS, out=tmp_path / "a")
    assert again.rows == tried.rows
    assert_same_results(again, tried)
    assert_same_results(driver.resume(tmp_path / "a", progress=False), tried)


def test_the_seed_of_the_draws_matters_and_nothing_else(tried):
    points = [asked(**TRIALS, sample_seed=seed).rows for seed in (0, 0, 1)]
    rates = [[row.varied["lr"] for row in rows] for rows in points]
    assert rates[0] == rates[1] == [row["lr"] for row in tried.rows[:2]] and rates[0] != rates[2]


@pytest.fixture
def told(monkeypatch):
    """The trials that optuna is told of, as (parameters, state, value)."""
    optuna = pytest.importorskip("optuna")
    add, trials = optuna.Study.add_trial, []

    def noted(self, trial):
        trials.append((trial.params, trial.state.name, trial.value))
        add(self, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", noted)  # by way of which add_trials goes
    return trials


def search(**sample):
    return Optuna({name: distribution(name, text) for name, text in sample.items()}, 4, 2)


def test_it_is_told_the_scores(told):
    points = search(lr="log-uniform:1e-4:1e-1").points(
        results([1.5, 2.5], [5, 5], [5, 5], varied=[{"lr": 0.01}, {"lr": 0.02}])
    )
    assert told == [({"lr": 0.01}, "COMPLETE", 1.5), ({"lr": 0.02}, "COMPLETE", 2.5)]
    assert len(points) == 2 and all(1e-4 <= point["lr"] <= 1e-1 for point in points)


def test_a_score_that_is_no_number_is_a_failure(told):
    found = results([np.nan, np.nan], [5, 5], [5, 5], varied=[{"lr": 0.01}, {"lr": 0.02}])
    assert len(search(lr="log-uniform:1e-4:1e-1").points(found)) == 2
    assert [state for _, state, _ in told] == ["FAIL", "FAIL"]


def test_a_diverged_row_is_a_failure(told):
    found = results([np.nan, 2.5], [5, 5], [5, 5], varied=[{"lr": 0.01}, {"lr": 0.02}])
    search(lr="log-uniform:1e-4:1e-1").points(found)
    assert [state for _, state, _ in told] == ["FAIL", "COMPLETE"]


def test_choices_and_whole_numbers_are_themselves_again(told):
    asked_for = search(hidden="choice:8x8,4,tanh", horizon="int:2:9")
    first = asked_for.points(None)
    assert all(point["hidden"] in ((8, 8), 4, "tanh") and 2 <= point["horizon"] <= 9 for point in first)
    varied = [{"hidden": [8, 8], "horizon": 3}, {"hidden": "tanh", "horizon": 9}]
    asked_for.points(results([1.0, 2.0], [5, 5], [5, 5], varied=varied))
    assert [params for params, *_ in told] == [{"hidden": 0, "horizon": 3}, {"hidden": 2, "horizon": 9}]


def test_when_all_are_tried_it_is_done():
    pytest.importorskip("optuna")
    found = results([1.0] * 4, [5] * 4, [5] * 4, varied=[{"lr": 0.01}] * 4)
    assert search(lr="log-uniform:1e-4:1e-1").points(found) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample": {}, "trials": None}, "sampler=optuna: needs fields to sample"),
        ({"grid": {"lr": [1.0]}, "sample": {"discount": "uniform:0:1"}}, "sampler=optuna: chooses every point"),
        ({"halving": 2}, "sampler=optuna: chooses every point"),
        ({"trials": 5}, "trials=5: must be a multiple of batch=2"),
        ({"batch": 0}, "batch=0: must be at least 1"),
        ({"sample": {"env": "choice:CartPole-v1,Pendulum-v1"}, "env": None}, "env: optuna samples settings of one"),
        ({"env": ["CartPole-v1", "Acrobot-v1"]}, "env=CartPole-v1,Acrobot-v1: optuna samples settings of one"),
        ({"algo": ["ppo", "pqn"]}, "algo=ppo,pqn: optuna samples settings of one algorithm"),
        ({"sample": {"task.length": "uniform:1:9"}}, "task.length: optuna samples settings of one"),
        ({"sample": {"lrr": "uniform:0:1"}}, "did you mean 'lr'"),
    ],
)
def test_nonsense_is_refused_in_one_line(changes, message):
    pytest.importorskip("optuna")
    with pytest.raises(ConfigError, match=message) as caught:
        asked(**(TRIALS | changes))
    assert "\n" not in str(caught.value)


def test_without_optuna_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"sampler=optuna: needs optuna: pip install optuna"):
        asked(**TRIALS)


@pytest.fixture
def shapes(monkeypatch):
    """A search of two rounds, the second of which needs a program that the first did not; nothing is compiled."""
    pytest.importorskip("optuna")
    stub = SimpleNamespace(bytes=1000, metrics=["episode_return"])
    monkeypatch.setattr(Programs, "of", lambda self, group: stub)
    monkeypatch.setattr("rljax.engine.width._time", lambda programs, group: 1.0)
    monkeypatch.setattr(Optuna, "points", lambda self, found: [{"hidden": (4, 4) if found else (8, 8)}])
    return asked(**(TRIALS | {"sample": {"hidden": "choice:8x8,4x4"}, "trials": 2, "batch": 1}))


FIRST_ROUND = results([1.0], [20], [20], varied=[{"hidden": [8, 8]}])


def test_a_search_that_was_killed_may_compile_something_new(shapes, tmp_path):
    first = plan_in(tmp_path, shapes, workers=1)
    again = plan_in(tmp_path, spec.from_record(store.read(tmp_path)))
    one, other = (
        [(g.rows, g.width, g.why) for g in next_round(planned, FIRST_ROUND).groups] for planned in (first, again)
    )
    assert one == other and [rows for rows, *_ in one] == [[0], [1]]


def test_a_given_width_holds_for_later_rounds(shapes, tmp_path):
    planned = next_round(plan_in(tmp_path, shapes, workers=1, width=3), FIRST_ROUND)
    assert [(g.rows, g.width, g.why) for g in planned.groups] == [([0], 3, "as given"), ([1], 3, "as given")]
