"""A curriculum: the task moves as the run goes on, in every driver alike."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from toys import TINY

import rljax
from rljax.errors import ConfigError
from rljax.types import Box, Discrete, Env, Scalar, StepResult


class Level(struct.PyTreeNode):
    level: Scalar = 1.0
    other: Scalar = 0.0


def payer() -> Env:
    """Pays its level in episodes of one step."""

    def step(key, state, action, task):
        return state, StepResult(jnp.zeros(1), task.level + task.other, True, False)

    one = np.ones(1, np.float32)
    return Env("toy/payer", lambda key, task: (0, jnp.zeros(1)), step, Level(), Box(-one, one), Discrete(2))


def harder(progress, task):
    return task.replace(other=10.0 * progress**2)


STEPS, UPDATES = 4 * 8 * 8, 8
PROGRESS = np.arange(UPDATES) / UPDATES
GIVEN = {"use_preset": False, "progress": False, "log_every": 1, **TINY}


def returns(run):
    return run.metrics["episode_return"]


def test_a_number_goes_from_one_end_to_the_other():
    run = rljax.train("ppo", payer(), steps=STEPS, task={"level": "linear(2,4)", "other": 1.0}, **GIVEN)
    np.testing.assert_allclose(returns(run), 3.0 + 2.0 * PROGRESS, rtol=1e-6)
    np.testing.assert_allclose(run.evaluate(2), 5.0)  # the policy is evaluated on the task of the end
    run = rljax.train("ppo", payer(), steps=STEPS, task={"level": "steps(2,4,0.5)"}, **GIVEN)
    np.testing.assert_allclose(returns(run), np.where(PROGRESS < 0.5, 2.0, 4.0), rtol=1e-6)


def test_a_function_of_progress_and_task(tmp_path):
    run = rljax.train("ppo", payer(), steps=STEPS, task={"level": "linear(0,1)"}, curriculum=harder, **GIVEN)
    np.testing.assert_allclose(returns(run), PROGRESS + 10.0 * PROGRESS**2, rtol=1e-5)
    assert run.record["curriculum"].endswith(":harder")


def test_it_is_recorded_resumed_and_swept(tmp_path):
    given = {"task": {"level": "linear(2,4)"}, "curriculum": harder, "tensorboard": False, **GIVEN}
    whole = rljax.train("ppo", payer(), steps=STEPS, out=tmp_path / "a", **given)

    def stop(policy):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rljax.train("ppo", payer(), steps=STEPS, out=tmp_path / "b", save_every=3, on_checkpoint=stop, **given)
    resumed = rljax.resume(tmp_path / "b", env=payer(), progress=False)
    np.testing.assert_array_equal(returns(resumed), returns(whole))
    np.testing.assert_array_equal(resumed.metrics["policy_loss"], whole.metrics["policy_loss"])
    assert rljax.load(tmp_path / "b", env=payer()).evaluate(2).tolist() == [4.0, 4.0]

    grid = {"task.level": ["linear(2,4)", "linear(2,5)", 3.0]}
    found = rljax.sweep("ppo", payer(), STEPS, 1, grid=grid, workers=1, width=1, curriculum=harder, **GIVEN)
    expected = [2.0 + 2.0 * PROGRESS, 2.0 + 3.0 * PROGRESS, 3.0 + 0.0 * PROGRESS]
    np.testing.assert_allclose(found.metrics["episode_return"][:, 0], expected + 10.0 * PROGRESS**2, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": {"level": "linear(2)"}}, r"task.level=linear\(2\): must be a number, or the way from one to another"),
        ({"task": {"level": "linearr(2,3)"}}, "unknown schedule 'linearr'; did you mean 'linear'"),
        ({"task": {"level": "linear(2,nan)"}}, "write it as a name with plain arguments"),
        ({"task": {"levle": "linear(2,3)"}}, "unknown task parameter of toy/payer 'levle'"),
        ({"curriculum": lambda progress, task: progress}, "must give a task as it gets one, Level"),
        ({"curriculum": lambda progress: progress}, r"cannot be called with \(progress, task\)"),
        ({"curriculum": "nothing"}, "unknown curriculum 'nothing'"),
        ({"curriculum": 3}, "curriculum=3: must be the name of a curriculum"),
    ],
)
def test_what_is_no_curriculum_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        rljax.train("ppo", payer(), steps=STEPS, **given, **GIVEN)


def test_a_search_draws_its_tasks_instead():
    with pytest.raises(ConfigError, match=r"is for rljax.train and rljax.sweep; give vary="):
        rljax.domain("ppo", payer(), STEPS, **{"task.level": "linear(2,3)"}, **TINY)
