"""Evolution over whole runs: the same numbers however it is run, one program, and a known optimum found."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_runtime import python
from toys import PROBE

from rljax import api
from rljax.engine.program import Program
from rljax.errors import ConfigError, Stopped
from rljax.meta import evolve, registry, result, spec, tasks
from rljax.meta import search as searches
from rljax.meta.compare import compare
from rljax.meta.strategies import OpenES, raw
from rljax.objectives import LPO, network
from rljax.results import stats
from rljax.run import run

SMALL = {"num_epochs": 1, "num_minibatches": 1, "num_envs": 4, "num_steps": 8, "hidden": (8,)}
SEARCH = {
    "algo": "ppo",
    "env": PROBE,
    "steps": 160,  # 5 updates
    "learn": ("objective.hidden", "objective.output"),
    "objective": LPO(),
    "strategy": OpenES(popsize=4, shaping=raw),
    "generations": 3,
    "validation_runs": 2,
    "validate_every": 2,
    "workers": 1,
    "width": 1,
    "progress": False,
    **SMALL,
}


def search(**changes):
    return evolve.evolve(**{**SEARCH, **changes})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return search(out=tmp_path_factory.mktemp("undisturbed") / "a")


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.theta, b.theta)
    assert set(a.history) == set(b.history)
    for name in set(a.history) - {"seconds"}:
        np.testing.assert_array_equal(a.history[name], b.history[name], name)


def test_a_search_says_what_it_came_to(undisturbed):
    assert undisturbed.complete and undisturbed.stopped_by is None
    history = undisturbed.history
    np.testing.assert_array_equal(history["generation"], [0, 1, 2, 3])
    np.testing.assert_array_equal(np.isfinite(history[f"held_out/{PROBE}"]), [True, False, True, True])
    assert history[f"gain/{PROBE}"][0] == 0.0  # the mean begins at the start
    np.testing.assert_array_equal(history["step"], [640, 1280, 1920, 1920])  # 4 members x 160 steps
    assert np.isnan(history["fitness_mean"][-1])  # the last one is only validated
    assert any(np.any(x != 0) for x in undisturbed.theta.values())


def test_a_member_is_trained_as_a_lone_run_is():
    """Fitness is that of `run` with the same seed, length and theta."""
    where = (spec.domain("ppo", PROBE, 160, objective=LPO(), **SMALL),)
    asked = evolve.Evolution(domains=where, learn=SEARCH["learn"], generations=1, strategy=registry.strategy(popsize=2))
    prepared = asked.prepare()
    [drawn] = tasks.draw(asked.domains, prepared, 1, asked.seed, 0)
    algorithm, env = prepared[0].algorithm, prepared[0].env
    hypers = algorithm.hypers.replace(horizon=float(drawn.updates))
    _, metrics = jax.jit(lambda key: run(algorithm, key, hypers, env.task, drawn.updates))(jax.random.key(drawn.seed))
    found = search(strategy=OpenES(popsize=2, shaping=raw, sigma=1e-12), generations=1)
    np.testing.assert_allclose(found.history["fitness_mean"][0], metrics["episode_return"][-1], rtol=1e-6)


@pytest.mark.parametrize("stop_after", [0, 2])
def test_a_search_that_was_killed_goes_on_to_the_same_bits(stop_after, undisturbed, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    original, calls = searches._Run._generation, []

    def counted(*arguments):
        if len(calls) > stop_after:
            raise Killed
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(searches._Run, "_generation", counted)
    monkeypatch.setattr("rljax.run.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("rljax.run.SAVE_SHARE", 1e9)
    with pytest.raises(Killed):
        search(out=tmp_path / "a")
    monkeypatch.undo()
    assert_same(search(out=tmp_path / "a"), undisturbed)
    assert_same(searches.resume(tmp_path / "a", progress=False), undisturbed)  # finished: read


def test_killed_before_its_last_checkpoint_it_is_validated_once(undisturbed, tmp_path, monkeypatch):
    """The last row takes no step, so rows are told apart by their generation."""

    class Killed(Exception):
        pass

    original = searches._Run._save

    def save(self, checkpoints, done):
        if done > SEARCH["generations"]:
            raise Killed
        original(self, checkpoints, done)

    monkeypatch.setattr(searches._Run, "_save", save)
    monkeypatch.setattr("rljax.run.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("rljax.run.SAVE_SHARE", 1e9)
    with pytest.raises(Killed):
        search(out=tmp_path / "a")
    monkeypatch.undo()
    assert_same(search(out=tmp_path / "a"), undisturbed)


def test_an_interrupt_keeps_what_was_reached_and_is_one(undisturbed, tmp_path, monkeypatch):
    original = searches._Run._generation

    def interrupted(self, *arguments):
        if self.done == 2:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(searches._Run, "_generation", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        search(out=tmp_path / "a")
    monkeypatch.undo()
    assert isinstance(caught.value, Stopped)
    found = caught.value.result
    assert found.stopped_by == signal.SIGINT and 2 <= found.generation <= 3 and not found.complete
    assert found.history["generation"].tolist() == list(range(found.generation))
    assert_same(search(out=tmp_path / "a"), undisturbed)


def test_one_program_whatever_the_lengths_of_runs(monkeypatch):
    made = []
    original = Program.__init__
    monkeypatch.setattr(Program, "__init__", lambda self, *a, **k: (made.append(a), original(self, *a, **k))[1])
    found = search(steps=(64, 320), generations=2, runs=3)
    assert len(made) == 1
    assert len(np.unique(np.diff(found.history["step"]))) >= 1 and found.complete


def test_width_and_processes_change_nothing_but_rounding(undisturbed):
    side_by_side = search(width=4)
    for name, x in undisturbed.theta.items():
        np.testing.assert_allclose(side_by_side.theta[name], x, atol=1e-4)


def test_another_search_is_not_overwritten(undisturbed):
    with pytest.raises(ConfigError, match=r"holds another search \(seed differs\)"):
        search(out=undisturbed.folder, seed=1)
    with pytest.raises(ConfigError, match="not of a search"):
        search(out=undisturbed.folder / "checkpoints")


def test_what_was_learned_can_be_saved_loaded_and_used(undisturbed, tmp_path):
    path = undisturbed.save(tmp_path / "mine.npz")
    algorithm, _ = api.make("ppo", PROBE, objective=str(path))
    jax.tree.map(np.testing.assert_array_equal, algorithm.hypers.objective, undisturbed.objective)
    assert_same(result.load(undisturbed.folder), undisturbed)
    scores = undisturbed.provenance()["scores"]
    assert scores[f"held_out/{PROBE}"] == undisturbed.history[f"held_out/{PROBE}"][-1]


def test_a_known_optimum_is_found(tmp_path):
    """On a probe whose return falls with the entropy bonus, evolution lowers its weight."""
    found = search(
        learn=("entropy_coef",),
        objective="ppo-clip",
        entropy_coef=1.0,
        lr=3e-2,
        steps=640,
        generations=15,
        strategy=OpenES(popsize=8, shaping=raw, sigma=0.3, lr=0.15),
        validation_runs=8,
        validate_every=20,
    )
    assert found.theta["entropy_coef"] < 0.5
    assert found.history[f"gain/{PROBE}/low"][-1] > 0


REFUSED = [
    ({"learn": ("objective.hiden",)}, "did you mean 'objective.hidden'"),
    ({"learn": ("horizon",)}, "given by each run"),
    ({"generations": 0}, "generations=0: must be"),
    ({"normalise": "ranks", "shared": False}, "share them"),
    ({"normalise": "pairwise", "strategy": SimpleNamespace(popsize=7)}, "its members are no antithetic pairs"),
    ({"normalise": "none", "shared": False, "strategy": SimpleNamespace(popsize=8)}, "are no antithetic pairs"),
    ({"kind": "last"}, "fitness=last: must be one of"),
    ({"steps": (320, 160)}, "the shortest run must be the shorter one"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refusals_say_what_to_do(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        search(**changes)
    assert "\n" not in str(caught.value)


def test_the_record_is_plain_and_gives_the_search_back(undisturbed):
    record = json.loads((undisturbed.folder / result.RECORD).read_text())
    asked = spec.from_record(record)
    again = asked.record(asked.prepare())
    assert all(record[name] == value for name, value in json.loads(json.dumps(again)).items())
    assert asked.strategy == dataclasses.replace(SEARCH["strategy"])


TWO_DEVICES = """
import jax
import numpy as np
from test_evolve import search
assert jax.device_count() == 2
found = search(out={folder!r})
print(*(float(np.abs(np.asarray(x)).sum()) for x in jax.tree.leaves(found.theta)))
"""


@pytest.mark.slow
def test_two_devices_learn_the_same_as_one(undisturbed, tmp_path):
    here = str(Path(__file__).parent)
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": f"{here}:{Path(here).parent}"}
    python(TWO_DEVICES.format(folder=str(tmp_path / "a")), **flags)
    assert_same(result.load(tmp_path / "a"), undisturbed)


@pytest.mark.slow
def test_two_processes_learn_the_same_as_one(undisturbed, tmp_path):
    assert_same(search(out=tmp_path / "a", workers=2), undisturbed)


def test_agents_with_a_memory_learn_by_an_objective_that_evolves():
    found = search(memory="gru(width=4)")
    assert found.complete and any(np.any(x != 0) for x in found.theta.values())
    assert np.isfinite(found.history["fitness_mean"][:-1]).all()


@pytest.mark.slow
def test_lpo_begins_as_ppo_and_learns():
    """The start scores what PPO does, run by run; a short search leaves held-out runs no worse than that."""
    settings = {"lr": 4e-3, "num_epochs": 16, "num_envs": 16, "num_steps": 64, "hidden": (32, 32)}
    places = {
        name: [spec.domain("ppo", "Catch-bsuite", 24_576, objective=objective, **settings)]
        for name, objective in {"lpo": LPO(), "ppo": "ppo-clip"}.items()
    }
    found = compare(places, 16, "mean", progress=False)
    assert found is not None
    mean, low, high = stats.paired_difference(*found.scores[:, 0])
    assert low < 0.0 < high and abs(mean) < 0.05
    learned = evolve.evolve(
        "ppo",
        "Catch-bsuite",
        24_576,
        objective=LPO(**network(8, 16)),
        strategy=OpenES(popsize=16, shaping=raw, sigma=0.1, lr=0.05),
        generations=12,
        kind="mean",
        validation_runs=16,
        validate_every=12,
        progress=False,
        **settings,
    )
    assert learned.history["gain/Catch-bsuite/low"][-1] > 0
