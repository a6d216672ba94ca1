"""Hashes of code: the same in another process, other where what it does has changed."""

from __future__ import annotations

import platform
import textwrap

import jax
import numpy as np
import pytest
from flax import struct
from test_runtime import python
from toys import asked, counter

import rljax
from rljax.build import fingerprints
from rljax.envs import wrappers
from rljax.errors import ConfigError
from rljax.fingerprint import differing, fingerprint
from rljax.spec import prepare
from rljax.sweeps.planning import plan_in

SOURCE = """
import jax
from functools import partial
SCALE = 2.0
TABLE = {"b": (1, 2), "a": frozenset({"x", "y"})}
def helper(x):
    return x * SCALE
class Base:
    low = 0
class Rules(Base):
    high = 5
    def reward(self, x):
        return helper(x) + self.high
def make(goal=3, rules=Rules()):
    @jax.jit
    def step(key, x):
        "Says what it does."
        reached = x > goal  # a comment
        return partial(rules.reward, x=x) if reached else [y + 1 for y in TABLE["b"]]
    return step
"""


def hash_of(source: str, **arguments) -> str:
    """The hash of the step in a module like this."""
    names = {"__name__": "mine"}
    exec(textwrap.dedent(source), names)
    return fingerprint(names["make"](**arguments))


def test_the_same_code_has_the_same_hash_in_another_process():
    program = f"from rljax.fingerprint import fingerprint\nnames = dict(__name__='mine')\nexec({SOURCE!r}, names)\n"
    for seed in ("1", "2"):  # of Python's hashes of strings
        printed = python(f"{program}print(fingerprint(names['make']()))", PYTHONHASHSEED=seed)
        assert printed.strip() == hash_of(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [("# a comment", "# another"), ("Says what it does.", "Says it in other words."), ("reached", "there")],
)
def test_what_does_not_count(old, new):
    assert hash_of(SOURCE.replace(old, new)) == hash_of(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x > goal", "x >= goal"),
        ("y + 1", "y + 2"),
        ("SCALE = 2.0", "SCALE = 3.0"),
        ("x * SCALE", "x / SCALE"),
        ("(1, 2)", "(1, 3)"),
        ("high = 5", "high = 6"),
        ("low = 0", "low = 1"),
        ("goal=3", "goal=4"),
        ("helper(x) +", "helper(x) -"),
    ],
)
def test_what_counts(old, new):
    assert hash_of(SOURCE.replace(old, new)) != hash_of(SOURCE)


def test_what_is_closed_over_counts():
    assert hash_of(SOURCE, goal=4) == hash_of(SOURCE.replace("goal=3", "goal=4")) != hash_of(SOURCE)
    table = lambda x: lambda: x  # noqa: E731
    numbers = np.arange(3, dtype=np.float32)
    assert fingerprint(table(numbers)) == fingerprint(table(jax.numpy.asarray(numbers))) != fingerprint(table(-numbers))


def of(env, task=None, **settings):
    plan = prepare("ppo", env, steps=1000, task=task, num_envs=2, num_steps=4, num_minibatches=1, **settings)
    return fingerprints("ppo", env, plan)


def test_the_rows_of_a_plan_hash_a_task_once(monkeypatch):
    env, hashed, known, calls = counter(), fingerprint, {}, []
    monkeypatch.setattr("rljax.build.fingerprint", lambda *values: calls.append(values) or hashed(*values))
    plans = [prepare("ppo", env, steps=1000, num_envs=2, num_steps=4, num_minibatches=1, lr=x) for x in (1e-3, 1e-2)]
    alone = [fingerprints("ppo", env, plan) for plan in plans]
    before = len(calls)
    assert [fingerprints("ppo", env, plan, known) for plan in plans] == alone
    assert len(calls) == before + 1 == len(known) + before


def test_an_environment_of_ones_own_is_known_by_its_code():
    one, same, other = of(counter()), of(counter()), of(counter(2))
    assert one == same and one["env"] != other["env"] and one["task"] == other["task"]
    stacks = [of(wrappers.frame_stack(counter(), n))["env"] for n in (2, 2, 3)]
    assert stacks[0] == stacks[1] != stacks[2] and one["env"] not in stacks
    rljax.envs.register("toy/counted", counter)
    assert of("toy/counted")["env"] == one["env"]


def test_all_numbers_of_an_environment_count_and_no_more():
    """A number that is given as it would be anyway is no other setting."""
    found = of("probe/truncation")
    assert found.keys() == {"task"}
    limit = int(rljax.envs.make("probe/truncation").task.limit)
    assert of("probe/truncation", {"limit": limit}) == found != of("probe/truncation", {"limit": limit + 1})


def test_hashes_compare_within_one_python():
    here = {"machine": {"python": platform.python_version()}}
    assert differing(here, {"env": "a", "task": "b"}, {"env": "c", "task": "b", "parts": "d"}) == ["env"]
    assert differing({"machine": {"python": "3.9.1"}}, {"env": "a"}, {"env": "c"}) == []
    assert differing({}, {}, {"env": "c"}) == []


def test_a_sweep_does_not_go_on_with_other_code(tmp_path):
    """Rows of one ranking would be of two environments."""
    plan_in(tmp_path, asked(env=counter()), workers=1, width=1)
    plan_in(tmp_path, asked(env=counter()), workers=1, width=1)
    with pytest.raises(ConfigError, match=r"holds another sweep \(the code of its env is .{12} there"):
        plan_in(tmp_path, asked(env=counter(2)), workers=1, width=1)


def test_an_objective_of_ones_own_is_known_by_its_code():
    def mine(power):
        class Mine(struct.PyTreeNode):
            scale: float = 1.0

            def __call__(self, log_ratio, advantage, progress):
                return -self.scale * advantage * log_ratio**power

        return Mine()

    one, same, other = (of("probe/action", objective=mine(power)) for power in (1, 1, 3))
    assert one == same and one["objective"] != other["objective"]
    assert "objective" not in of("probe/action", objective="dpo")
