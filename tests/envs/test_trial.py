"""Flaws of an environment are found by playing it, and a sound one passes."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import broken

from rljax import cli, envs, registry
from rljax.envs import trial
from rljax.errors import ConfigError
from rljax.types import LEGAL, Box, Dict, Discrete, Env, StepResult

ONE = np.ones(1, np.float32)


def walk(*, high=10.0, most: int | None = 5, both=False, resets=False, hidden=None):
    """Counts by twos from 0 or 1 and is truncated at 5 or 6, so after two or three steps."""

    def reset(key, task):
        start = jax.random.randint(key, (), 0, 2)
        return start, start.astype(jnp.float32)[None]

    def step(key, t, action, task):
        t = t + 2 + (0 if hidden is None else next(hidden))
        end = t >= 5
        shown = jnp.where(end & resets, 0, t).astype(jnp.float32)[None]
        return t, StepResult(shown, jnp.float32(0), end & both, end)

    space = Box(0 * ONE, high * ONE)
    return Env("toy/walk", reset, step, (), space, Discrete(2), time_limit=most and (lambda task: most))


def forbidding(allowed=lambda t: True, high=1.0):
    """Five steps; after `t` of them action 0 is legal if `allowed(t)`, action 1 never, and sets both flags."""

    def show(t):
        return {LEGAL: jnp.array([allowed(t), False]), "seen": jnp.float32(t)[None] / 5}

    def reset(key, task):
        return jnp.int32(0), show(jnp.int32(0))

    def step(key, t, action, task):
        return t + 1, StepResult(show(t + 1), jnp.float32(0), t + 1 >= 5, (t + 1 >= 5) & (action == 1))

    space = Dict({LEGAL: Box(np.zeros(2, bool), np.ones(2, bool), np.dtype(bool)), "seen": Box(0 * ONE, high * ONE)})
    return Env("toy/forbidding", reset, step, (), space, Discrete(2))


FLAWS = {
    "observations of step are finite: ": lambda: broken(np.nan, 0.0, 7),
    "observations of reset are finite": lambda: broken(np.inf, 0.0, 0),
    "rewards are finite": lambda: broken(0.0, -np.inf, 3),
    "observations of step lie in observation_space": lambda: walk(high=3.0),
    "terminated and truncated are never both set": lambda: walk(both=True),
    "episodes end within 2 steps: one took 3": lambda: walk(most=2),
    "step shows the true successor where an episode ends: all ": lambda: walk(resets=True),
    "observation['seen']s of step lie in observation_space": lambda: forbidding(high=0.5),
    "some action is legal before every step: ": lambda: forbidding(lambda t: t < 2),
    "the same keys give the same: they do not": lambda: walk(hidden=itertools.count(), most=1000, high=1e9),
}


@pytest.mark.parametrize("message", FLAWS)
def test_a_flaw_is_found_by_playing(message):
    with pytest.raises(ConfigError) as caught:
        envs.check(FLAWS[message](), steps=100)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_sound_environment_passes_and_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setattr(registry, "_added", {"environment": {"toy/walk": walk, "toy/wrong": lambda: walk(both=True)}})
    found = list(trial.findings(walk(), steps=100))
    assert not any(x.fault for x in trial.findings(forbidding(), steps=100))
    assert not any(x.fault for x in found) and found[-1].note.endswith("different ones of 16")
    assert cli.main(["check-env", "toy/walk", "--steps", "100"]) == 0
    assert cli.main(["check-env", "toy/wrong"]) == 2
    assert "WRONG  terminated and truncated are never both set: " in capsys.readouterr().out
    for arguments in (["toy/walk", "--steps=0"], ["toy/wlak"], ["toy/walk", "--seed=-1"]):
        assert cli.main(["check-env", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 3
