"""Contenders meet the same runs, and the table says what their scores say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toys import PROBE

import rljax
from rljax.errors import ConfigError
from rljax.meta import spec
from rljax.meta.compare import Comparison, compare
from rljax.meta.tasks import Run
from rljax.meta.validation import columns
from rljax.results import stats

SMALL = {"num_epochs": 1, "num_minibatches": 1, "num_envs": 4, "num_steps": 8, "hidden": (8,)}


def places(**settings):
    return [spec.domain("ppo", PROBE, steps, **{**SMALL, **settings}) for steps in (160, 320)]


@pytest.fixture(scope="module")
def found():
    contenders = {"learned": places(lr=1e-2), "same": places(lr=1e-2), "slow": places(lr=1e-5)}
    return compare(contenders, seeds=3, progress=False, workers=1)


def test_the_same_runs_give_the_same_scores(found):
    assert found.scores.shape == (3, 2, 3)
    np.testing.assert_array_equal(found.scores[0], found.scores[1])
    assert (found.scores[0] != found.scores[2]).any()


def test_a_validation_run_is_the_run_of_that_seed(found):
    swept = rljax.sweep(
        "ppo", PROBE, 320, 3, lr=1e-2, width=1, workers=1, log_every=1, progress=False, use_preset=False, **SMALL
    )
    np.testing.assert_allclose(found.scores[0, 1], swept.scores()[0], rtol=1e-6)


def test_the_table_says_what_the_scores_say():
    scores = np.array([[[3.0, 4.0, 5.0, 6.0, 7.0, 8.0]], [[2.0, 3.0, 4.0, 5.0, 6.0, np.nan]]])
    table = Comparison(["a", "b"], [("here", 10)], scores, {}).table()
    assert list(table["contender"]) == ["a", "b"] and list(table["diverged"]) == [0, 1]
    assert table["iqm"][0] == stats.iqm(scores[0, 0])
    assert table["iqm"][1] == stats.iqm(np.array([2.0, 3.0, 4.0, 5.0, 6.0, 2.0]))  # the worst one there
    assert table["gain"][1] == 1.0 and table["gain_low"][1] > 0 and np.isnan(table["gain"][0])
    assert table["wins"][1] == (2.5 + 3.5 + 4.5 + 5.5 + 6 + 6) / 36  # of all pairs, ties being halves


def test_what_diverged_everywhere_has_no_score_and_the_gain_is_explained():
    scores = np.array([[[4.0, 5.0, 6.0]], [[np.nan] * 3]])
    found = Comparison(["a", "b"], [("here", 10)], scores, {})
    table = found.table()
    assert table["iqm"][0] == 5.0 and table.loc[1, ["iqm", "low", "high", "gain", "wins"]].isna().all()
    assert "3 runs tell little" in found.note and "run by run; not the difference of the two iqm" in found.note
    enough = Comparison(["a"], [("here", 10)], np.ones((1, 1, 8)), {})
    assert "tell little" not in enough.note


def test_it_is_kept_as_plain_json(found, tmp_path):
    kept = json.loads(found.save(tmp_path / "a.json").read_text())
    np.testing.assert_array_equal(np.array(kept["scores"]), found.scores.astype(float))
    assert kept["places"] == [[PROBE, 160], [PROBE, 320]] and len(kept["table"]) == 6


def test_contenders_must_live_in_the_same_places():
    with pytest.raises(ConfigError, match="same environments"):
        compare({"a": places(), "b": places()[:1]}, 2)


def test_validation_runs_that_all_diverged_have_no_score():
    runs, nan = [Run(0, seed, 10, {}) for seed in range(2)], np.nan
    found = columns(["a"], runs, np.array([nan, nan]), np.array([1.0, 3.0]))
    assert np.isnan(found["held_out/a"]) and np.isnan(found["gain/a"]) and found["start/a"] == 2.0
    found = columns(["a"], runs, np.array([nan, 5.0]), np.array([1.0, 3.0]))
    assert (found["held_out/a"], found["start/a"], found["gain/a"]) == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("given", [{}, {"a": {"lr": 0.1}}, {"a": 3}, ["a"], None])
def test_contenders_are_names_with_domains(given):
    with pytest.raises(ConfigError, match=r"contenders=.*must be names, each with a list of rljax.domain"):
        compare(given)
