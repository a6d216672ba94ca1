"""Meta-gradient descent as a search: resumed to the same bits, and it moves what it should."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from rljax.errors import ConfigError
from rljax.meta import descend, result, search, spec

DESCENT = {
    "algo": "ta-lpg",
    "env": "gridworld/small",
    "steps": (64, 256),  # 2 to 8 updates
    "generations": 3,
    "agents": 4,
    "num_updates": 2,
    "meta_steps": 2,
    "meta_lr": 1e-2,
    "kind": "evaluation",
    "validation_runs": 2,
    "validate_every": 2,
    "workers": 1,
    "progress": False,
    "num_envs": 4,
    "num_steps": 8,
    "rule_width": 4,
    "bootstrap": 4,
    "embedding": 4,
}


def run(**changes):
    return descend.descend(**{**DESCENT, **changes})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(out=tmp_path_factory.mktemp("undisturbed") / "a")


def test_it_says_what_it_came_to(undisturbed):
    history = undisturbed.history
    assert undisturbed.complete and np.isfinite(history["meta_loss"][:3]).all()
    assert np.isfinite(history["held_out/gridworld/small"][[0, 2, 3]]).all()
    start = undisturbed.start
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), undisturbed.theta["rule"], start["rule"])
    assert all(x > 0 for x in jax.tree.leaves(moved))
    each = 4 * (2 * 32 + descend.OUTER_STEPS * 4) * 2  # agents x (updates and the outer rollout) x meta-steps
    np.testing.assert_array_equal(history["step"], [each, 2 * each, 3 * each, 3 * each])


def test_stopped_it_goes_on_to_the_same_bits(undisturbed, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    original = search._Run._generation

    def once(self, *arguments):
        if self.done == 2:
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(search._Run, "_generation", once)
    monkeypatch.setattr("rljax.run.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("rljax.run.SAVE_SHARE", 1e9)
    with pytest.raises(Killed):
        run(out=tmp_path / "a")
    monkeypatch.undo()
    found = search.resume(tmp_path / "a", progress=False)
    jax.tree.map(np.testing.assert_array_equal, found.theta, undisturbed.theta)
    for name in set(found.history) - {"seconds"}:
        np.testing.assert_array_equal(found.history[name], undisturbed.history[name], name)


def test_a_rule_is_kept_in_a_file_and_used_from_it(undisturbed, tmp_path):
    path = undisturbed.save(tmp_path / "rule.npz")
    sizes = {name: DESCENT[name] for name in ("num_envs", "num_steps", "rule_width", "bootstrap", "embedding")}
    where = spec.domain("ta-lpg", "gridworld/small", 64, rule=str(path), **sizes)
    jax.tree.map(np.testing.assert_array_equal, where.row.prepare().algorithm.hypers.rule, undisturbed.theta["rule"])
    with pytest.raises(ConfigError, match=r"other sizes; it was made with rule_width=4$"):
        spec.domain("ta-lpg", "gridworld/small", 64, rule=str(path), **{**sizes, "rule_width": 8}).row.prepare()
    assert result.load(undisturbed.folder).complete


def test_a_meta_gradient_that_explodes_is_taken_as_one_of_the_bound():
    where = spec.domain("lpg", "gridworld/small", 64)
    asked = descend.Descent(domains=(where,), learn=("rule",), generations=1, meta_max_grad_norm=0.5)
    optimiser = asked.setup(where.row.prepare()).optimiser
    exploded, bounded = ({"x": np.float32(size) * np.array([0.6, 0.8], np.float32)} for size in (1e6, 0.5))
    _, after_one = optimiser.update(exploded, optimiser.init(exploded))
    _, after_other = optimiser.update(bounded, optimiser.init(bounded))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), after_one, after_other)


REFUSED = [
    ({"algo": "pqn"}, "algo=pqn: has no policy"),
    ({"agents": 0}, "agents=0: must be at least 1"),
    ({"meta_max_grad_norm": 0.0}, "meta_max_grad_norm=0.0: must be above 0"),
    ({"env": ["gridworld/small", "gridworld/sparse"]}, "one environment, or one family"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refusals(changes, message):
    changes = {**DESCENT, **changes}
    if changes["algo"] == "pqn":
        changes = {n: x for n, x in changes.items() if n not in ("rule_width", "bootstrap", "embedding")}
        changes |= {"learn": ("lr",), "num_minibatches": 1}
    with pytest.raises(ConfigError, match=message):
        descend.descend(**changes)
