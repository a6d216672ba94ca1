"""A policy travels: by pickle where names and numbers make it again, by cloudpickle otherwise. It says what it is."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from test_runtime import python
from toys import TINY

import rljax
from rljax import envs
from rljax.errors import ConfigError
from rljax.spec import RunSpec

OBS = np.linspace(-1, 1, 24).reshape(6, 4).astype(np.float32)


@pytest.fixture(scope="module")
def run():
    return rljax.train("ppo", "CartPole-v1", steps=64, task={"length": 0.7}, progress=False, use_preset=False, **TINY)


@pytest.fixture(scope="module")
def custom(run):
    """A policy on an environment that has no name."""
    known = envs.make("CartPole-v1")
    env = dataclasses.replace(known, name="mine", reset=lambda key, task: known.reset(key, task))
    return rljax.Policy(run.policy.algo, env, run.policy.state, run.step, RunSpec("ppo", "mine", 64))


def test_a_policy_acts_the_same_in_another_process(run, tmp_path):
    (tmp_path / "policy").write_bytes(pickle.dumps(run.policy))
    np.save(tmp_path / "obs.npy", OBS)
    program = (
        "import pickle, numpy as np; policy = pickle.load(open('policy', 'rb'))\n"
        "print(policy.env.task.length, policy.step, policy(np.load('obs.npy'), None).tolist())"
    )
    found = python(f"import os; os.chdir({str(tmp_path)!r})\n{program}")
    assert found == f"0.7 64 {run.policy(OBS).tolist()}"


def test_what_has_no_name_is_for_cloudpickle(custom):
    import cloudpickle

    with pytest.raises(pickle.PicklingError, match=r"^Policy\(ppo on mine.* use cloudpickle.dumps\(policy\)$"):
        pickle.dumps(custom)
    arrived = cloudpickle.loads(cloudpickle.dumps(custom))
    for copied in (arrived, copy.copy(custom), copy.deepcopy(custom)):
        np.testing.assert_array_equal(copied(OBS), custom(OBS))


def test_a_policy_whose_parts_were_changed_is_not_made_from_its_names(run):
    changed = copy.copy(run.policy)
    changed.env = dataclasses.replace(changed.env, task=changed.env.task.replace(length=0.9))
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(changed)


def test_runs_and_policies_say_what_they_are_in_a_line(run):
    assert repr(run) == "Run(ppo on CartPole-v1, seed 0: 64 steps)"
    assert repr(run.policy) == "Policy(ppo on CartPole-v1, after 64 steps)"


def test_it_is_evaluated_elsewhere():
    """On another task, or another environment of the same spaces; others are refused."""
    run = rljax.train("ppo", "CartPole-v1", steps=64, progress=False, **TINY)
    policy = run.policy
    short = policy.evaluate(4, task={"max_steps_in_episode": 3})
    assert short.tolist() == [3.0] * 4 == run.evaluate(4, env="CartPole-v1|time_limit(3)").tolist()
    np.testing.assert_array_equal(policy.evaluate(4, env="CartPole-v1"), policy.evaluate(4))
    for given, message in [
        ({"env": "Acrobot-v1"}, "env=Acrobot-v1: observation_space is .*, and the policy was trained on"),
        ({"env": "CartPole-v2"}, "unknown environment 'CartPole-v2'"),
        ({"task": {"lenght": 1.0}}, "unknown task parameter of CartPole-v1 'lenght'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            policy.evaluate(4, **given)
