"""Rows are ranked on each environment separately, and missing runs are pointed out."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from toys import recorded

from rljax.errors import ConfigError
from rljax.results.curves import band, bridge, isolated
from rljax.results.importance import importance
from rljax.sweeps import result, store
from rljax.sweeps.result import SweepResult


def made(rows, scores, diverged=(), stored=None, folder=None):
    """Rows of settings with a score for each run: one point, all of it the last tenth; NaN: no episode ended."""
    scores = np.array(scores, float)
    gone = np.zeros(scores.shape, bool)
    for row, seed in diverged:
        gone[row, seed], scores[row, seed] = True, np.nan
    records = [
        {
            "env": row.get("env", "a"),
            **recorded(row),
            "varied": row,
            "steps_per_update": 1,
            "warmup_steps": 0,
        }
        for row in rows
    ]
    record = {"rows": records, "seeds": list(range(scores.shape[1])), "varied": list(rows[0])}
    metrics = {"episode_return": scores[..., None], "episodes": np.where(np.isfinite(scores), 1.0, 0.0)[..., None]}
    reached = np.full(scores.shape, 10) if stored is None else 10 * np.array(stored)
    return SweepResult(record, np.arange(len(rows)), metrics, np.full((len(rows), 1), 10.0), reached, gone, folder)


TWO = made(
    [{"env": env, "lr": lr} for env in ("CartPole-v1", "Catch-bsuite") for lr in (0.1, 0.2)],
    [[100, 110], [245, 250], [0.94, 0.96], [-1, 0.5]],
)


def test_a_ranking_is_of_one_environment():
    assert [(s.row, s.environment) for s in TWO.ranked()] == [
        (1, "CartPole-v1"),
        (0, "CartPole-v1"),
        (2, "Catch-bsuite"),
        (3, "Catch-bsuite"),
    ]
    assert TWO.best(env="Catch-bsuite").row == TWO.best(env="Catch-bsuite", lr=0.1).row == 2
    assert TWO.select(env="Catch-bsuite").best().settings == {"env": "Catch-bsuite", "lr": 0.1}
    # The middle half of both scores 1.
    alike = made([{"lr": lr} for lr in (0.1, 0.2)], [[1.0, 1, 1, 0.5], [1, 1, 1, 1]])
    assert [score.row for score in alike.ranked()] == [1, 0]
    for use in (TWO.best, TWO.policy):
        with pytest.raises(
            ConfigError, match=r"CartPole-v1 and Catch-bsuite do not compare.*best\(env='CartPole-v1'\)"
        ):
            use()


def test_other_numbers_are_another_environment():
    found = made([{"task.length": n, "lr": lr} for n in (5, 50) for lr in (0.1, 0.2)], [[5], [4], [40], [50]])
    assert [s.row for s in found.ranked()] == [0, 1, 3, 2] and found.environments[2] == "a length=50"
    assert found.best(**{"task.length": 50}).row == 3
    with pytest.raises(ConfigError, match=r"best\(\*\*\{'task.length': 5\}\)"):
        found.best()
    assert made([{"task.length": 5}], [[1]]).best().row == 0  # there is no other


def test_a_diverged_run_is_the_worst_on_its_environment():
    found = made(TWO.rows, [[100, 110], [245, 250], [0.94, 0.96], [-1, 0.5]], diverged=[(1, 0), (2, 1)])
    np.testing.assert_array_equal(found.comparable(), [[100, 110], [100, 250], [0.94, -1], [-1, 0.5]])
    notes = {score.row: score.notes for score in found.ranked()}
    assert notes == {0: [], 1: ["1 of 2 seeds diverged"], 2: ["1 of 2 seeds diverged"], 3: []}
    for name in ("episodes", "episode_return"):
        found.metrics[name][1, 0] = 300.0  # a point of its last tenth, before it diverged
    assert np.isnan(found.scores()[1, 0]) and found.comparable()[1, 0] == 100


def test_a_diverged_row_has_no_score_and_is_last():
    found = made([{"lr": lr} for lr in (0.1, 1e30, 0.2)], [[1, 2]] * 3, diverged=[(1, 0), (1, 1)])
    assert [score.row for score in found.ranked()] == [0, 2, 1] and math.isnan(found.ranked()[-1].value)
    assert np.isnan(found.table().loc[1, ["iqm", "low", "high", "mean"]].astype(float)).all()
    assert found.table()["scored"].tolist() == [2, 0, 2] and np.isnan(found.iqm()[1]).all()
    last = str(found).splitlines()[-1]
    assert last.split()[:2] == ["1", "1e+30"] and last.endswith("no score: 2 of 2 seeds diverged")
    with pytest.raises(ConfigError, match="no run has a episode_return yet"):
        found.take([1]).best()


def test_a_score_from_few_seeds_says_so():
    nan = np.nan
    found = made([{"algo": "pqn"}, {"algo": "ppo"}], [[nan, nan, -425, nan, nan], [-430, -431, -432, -433, -434]])
    best = found.best()
    assert (best.row, best.counted, best.notes) == (0, 1, ["from 1 of 5 seeds"])
    assert found.table()["notes"].tolist() == ["from 1 of 5 seeds", ""]
    assert "from 1 of 5 seeds" in str(found).splitlines()[2] and "seeds" not in str(found).splitlines()[3]


def test_the_text_of_a_sweep_leaves_no_column_out(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = str(TWO).splitlines()
    assert lines[0] == "CartPole-v1:" and lines[1].split() == ["lr", "iqm", "low", "high"] and len(lines) == 10
    wide = made([{f"some_setting_{i}": i + row for i in range(10)} for row in range(2)], [[1.0], [2.0]])
    assert all(f"some_setting_{i}" in str(wide) for i in range(10)) and "..." not in str(wide)
    assert max(map(len, str(wide).splitlines())) <= 80
    many = made([{"lr": i} for i in range(30)], np.arange(30.0)[:, None])
    assert str(many).splitlines()[-1] == "... and 20 more rows"


def test_what_was_measured_stays(tmp_path, monkeypatch):
    """A later chunk that is empty at a point, as of a rung that trained nothing, takes nothing away."""
    rows = [{"env": "a", "group": 0, **recorded({}), "varied": {}, "steps_per_update": 1, "warmup_steps": 0}]
    record = {"rows": rows, "seeds": [0], "varied": [], "plan": [{"rows": [0], "points": [100, 200]}]}
    monkeypatch.setattr(store, "read", lambda folder: record)
    one = {"row": np.array([0]), "seed": np.array([0]), "diverged": np.array([False])}
    for name, updates, values in (("00", [100, 200], [1.0, 2.0]), ("01", [100], [np.nan]), ("02", [200], [np.nan])):
        arrays = {
            store.METRIC + "episode_return": np.array([values]),
            store.METRIC + "episodes": np.ones((1, len(values))),
        }
        store.write_arrays(tmp_path / store.CHUNKS / f"{name}-00000.npz", one | arrays | {"update": np.array(updates)})
    found = result.load(tmp_path)
    np.testing.assert_array_equal(found.metrics["episode_return"], [[[1.0, 2.0]]])
    assert found.reached[0, 0] == 200 and found.best().value == 2.0


def test_no_line_joins_what_lies_far_apart():
    steps, nan = np.arange(1.0, 13), np.nan
    values = np.array([nan, 1, 2, nan, 4, 5, nan, nan, nan, nan, nan, 11])
    np.testing.assert_array_equal(bridge(steps, values), [nan, 1, 2, 3, 4, 5, nan, nan, nan, nan, nan, 11])
    assert np.flatnonzero(isolated(bridge(steps, values))).tolist() == [11]
    sparse = bridge(np.arange(40.0), np.where(np.arange(40) % 6 == 0, 1.0, nan))  # long episodes, begun together
    assert np.isfinite(sparse[:37]).all() and np.isnan(sparse[37:]).all()
    mean, low, high = band(np.array([[1.0, nan, nan], [3.0, 2.0, nan], [nan, nan, 7.0]]))
    np.testing.assert_array_equal(mean, [2, nan, nan])
    assert low[0] == 1 and high[0] == 3 and np.isnan(low[1:]).all()


def test_a_curve_breaks_where_most_seeds_have_no_value():
    nan = np.nan
    returns = np.array([[[1.0, 2, 3, 4, 5]], [[1, nan, nan, nan, 5]], [[nan] * 4 + [9]]]).transpose(1, 0, 2)
    found = made([{}], [[0.0] * 3])
    found = result.replace(found, metrics={"episode_return": returns}, update=np.arange(1.0, 6)[None])
    ((steps, center, low, _),) = found.curve(statistic=np.mean)
    np.testing.assert_array_equal(steps, np.arange(1, 6))
    np.testing.assert_array_equal(center, [1, nan, nan, nan, 19 / 3])
    assert np.isnan(low[1:4]).all() and (low[[0, 4]] <= center[[0, 4]]).all()


def additive(rows, seed):
    """Ten fields, of which the fourth and the fifth matter, the latter most in the middle."""
    rng = np.random.default_rng(seed)
    places = [rng.uniform(size=rows) if i % 3 else rng.integers(3, size=rows).astype(float) for i in range(10)]
    fields = [SimpleNamespace(name=str(i), places=x, ordered=bool(i % 3)) for i, x in enumerate(places)]
    return fields, places[3] - 6 * (places[4] - 0.5) ** 2 + 0.05 * rng.normal(size=rows), rng.normal(size=rows)


@pytest.mark.parametrize("rows", [24, 200])
def test_fields_that_matter_come_first_and_noise_is_noise(rows):
    for seed in range(3):
        fields, scores, noise = additive(rows, seed)
        shares, told = importance(fields, scores)
        assert set(list(shares)[:2]) == {"3", "4"} <= set(told) and len(told) < 4
        assert max(x for name, x in shares.items() if name not in ("3", "4")) < 0.05
        assert importance(fields, noise)[1] == []


def test_shares_are_those_of_least_squares():
    fields, scores, _ = additive(200, 0)
    fields = [SimpleNamespace(name=f.name, places=np.floor(4 * f.places), ordered=False) for f in fields[:5]]
    fields.append(SimpleNamespace(name="double", places=-fields[3].places, ordered=False))  # dependent columns

    def fit(some):
        basis = np.concatenate([np.ones((200, 1)), *(f.places[:, None] == np.unique(f.places) for f in some)], axis=1)
        found, _, size, _ = np.linalg.lstsq(basis, scores, rcond=1e-9)
        return ((scores - basis @ found) ** 2).sum(), size

    rest, size = fit(fields)
    for name, share in importance(fields, scores)[0].items():
        without, fewer = fit([f for f in fields if f.name != name])
        expected = (without - rest - (size - fewer) * rest / (200 - size)) / ((scores - scores.mean()) ** 2).sum()
        assert share == pytest.approx(max(0.0, expected), abs=1e-9)


def test_a_field_of_as_many_values_as_rows_explains_nothing():
    fields = [SimpleNamespace(name="file", places=np.arange(9.0), ordered=False)]
    assert importance(fields, np.arange(9.0)) == ({"file": 0.0}, [])
    assert importance(fields, np.ones(9)) == ({"file": 0.0}, [])
