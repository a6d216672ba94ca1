"""The specification of a sweep is checked, and the same when it is read back from its record."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toys import asked, counter

from rljax.errors import ConfigError
from rljax.sweeps.search import Halving, Search
from rljax.sweeps.space import Distribution
from rljax.sweeps.spec import from_record


def test_seeds_are_counted_or_listed():
    assert asked(seeds=3).seeds == [0, 1, 2] and asked(seeds=[7, 3]).seeds == [7, 3]
    assert asked(seeds=range(2, 4)).seeds == [2, 3]


def test_a_plain_sweep_is_not_a_search():
    assert type(asked().search) is Search and asked(halving=2, rungs=4).search == Halving(2, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds=0: must be at least 1"),
        ({"seeds": -3}, "seeds=-3: must be at least 1"),
        ({"seeds": []}, "seeds=.*must be at least 1"),
        ({"seeds": [1, 1]}, "seeds=.*must differ"),
        ({"seeds": [-1]}, "seed=-1: must be at least 0"),
        ({"seeds": [2**32]}, "seed=4294967296: must be at most 4294967295"),
        ({"seeds": [0.5]}, "seed=0.5: must be a whole number"),
        ({"seeds": 2.5}, "seeds=2.5: must be a whole number"),
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"steps": 10.5}, "steps=10.5: must be a whole number"),
        ({"log_every": 0}, "log_every=0: must be at least 1"),
        ({"log_every": 1.5}, "log_every=1.5: must be a whole number"),
        ({"grid": {"lr": []}}, "empty grid"),
        ({"trials": 3}, "trials=3: nothing is sampled"),
        ({"halving": 1}, "halving=1: must be at least 2"),
        ({"rungs": 3}, "rungs=3: has no effect without halving"),
        ({"batch": 4}, "batch=4: has no effect without sampler=optuna"),
        ({"score": "evaluation"}, "score=evaluation: goes by evaluations; say how often, evaluate_every="),
        ({"keep": "best"}, "keep=best: goes by evaluations; say how often, evaluate_every="),
        ({"keep": "best", "evaluate_every": 1, "halving": 2}, "keep=best: halving goes on from the last state"),
        ({"evaluate_every": 1, "evaluation": {"env": "Acrobat-v1"}}, "did you mean 'Acrobot-v1'"),
        ({"score": 3}, "score=3: must be text"),
        ({"metric": "value_loss"}, "metric=value_loss: is called score"),
        ({"sample_seed": 1}, "sample_seed=1: has no effect where nothing is sampled"),
        ({"seeds": "3"}, "seeds='3': must be a whole number, not text"),
        ({"seeds": 10**11}, "seeds=100000000000: must be at most"),
        ({"grid": {"lr": "linear:0:1:1e9"}}, "lr=linear:0:1:1e9: the count must be a whole number, from 2 to 1000000"),
        ({"grid": {}, "sample": {"lr": "uniform:-1:1"}, "trials": 2}, "lr=-1.0: must be at least 0 .lr=uniform:-1:1"),
        ({"grid": {}, "sample": {"lr": "uniform:-1e308:1e308"}, "trials": 2}, "the ends are too far apart"),
        ({"grid": {}, "sample": {"num_epochs": "int:1:1e30"}, "trials": 2}, "the ends are too far apart"),
        ({"grid": {}, "sample": {"lr": Distribution("uniform", 2.0, 1.0)}, "trials": 2}, "the lower end must lie"),
        ({"grid": {}, "sample": {"lr": Distribution("normal", 1.0, 2.0)}, "trials": 2}, "a distribution is uniform"),
        ({"halving": 2, "rungs": 1}, "rungs=1: must be at least 2"),
        ({"sampler": "optna"}, "sampler=optna: must be one of random, optuna; did you mean 'optuna'"),
    ],
)
def test_nonsense_is_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        asked(**changes)
    assert "\n" not in str(caught.value)


def test_seeds_may_be_an_array():
    assert asked(seeds=np.arange(2)).seeds == [0, 1]


CUSTOM = counter()


@pytest.mark.parametrize("changes", [{}, {"halving": 2}, {"env": CUSTOM, "task": {"terminate_at": 5}}])
def test_a_record_gives_it_back(changes):
    one = asked(grid={"lr": [1e-3, 1e-2], "hidden": [(8,), (4, 4)]}, seeds=[3, 5], **changes)
    record = {
        "rows": [row.record(row.prepare()) for row in one.rows],
        "seeds": one.seeds,
        "log_every": one.log_every,
        "asked": one.asked,
    }
    record = json.loads(json.dumps(record), parse_constant=pytest.fail)
    again = from_record(record, {CUSTOM.name: CUSTOM})
    assert (again.seeds, again.log_every, again.search.record()) == (one.seeds, one.log_every, one.search.record())
    assert again.asked == record["asked"] and len(again.rows) == 4
    for row, kept in zip(again.rows, record["rows"]):
        assert json.loads(json.dumps(row.record(row.prepare()))) == kept


def test_the_question_is_kept_as_it_was_asked():
    found = asked(grid={"hidden": "8x8,4x4"}, sample={"lr": "log-uniform:1e-4:1e-2"}, trials=2, sample_seed=3)
    assert found.asked["grid"] == {"hidden": [[8, 8], [4, 4]]}
    assert found.asked["sample"]["lr"]["kind"] == "log-uniform"
    assert (found.asked["trials"], found.asked["sample_seed"], found.asked["fixed"]["num_envs"]) == (2, 3, 4)
