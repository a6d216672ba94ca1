"""The contract of every registered algorithm; a new one is tested by being registered."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import subprocess
import sys
from functools import cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from toys import tiny

from rljax import algos, api, envs, objectives
from rljax.checkpoint import Checkpointer
from rljax.divergence import diverged
from rljax.engine import payload
from rljax.engine.plan import Programs, group
from rljax.engine.work import Job
from rljax.policy import Policy
from rljax.run import advance, as_arrays, run, start
from rljax.spec import RunSpec
from rljax.sweeps.rows import Row
from rljax.types import Algorithm, Box, Env

LPG = {"temporal": True, "hidden": (8,), "rule_width": 8, "bootstrap": 4, "embedding": 4}
RAINBOW = {"head": "categorical", "dueling": True, "noisy": True, "n_step": 3, "prioritised": True, "capacity": 64}
UPSIDE_DOWN = {"warmup": 256, "best_episodes": 6, "command_episodes": 3, "episode_steps": 32, "segments": "any"}
R2D2 = {"memory": "gru(width=4)", "sequence": 8, "burn_in": 4, "head": "rescaled", "n_step": 3, "prioritised": True}
R2D2 |= {"warmup": 96, "capacity": 256}
CASES = [
    pytest.param("ppo", "CartPole-v1", {}, id="ppo-discrete"),
    pytest.param("ppo", "Pendulum-v1", {"normalize_obs": True, "normalize_reward": True}, id="ppo-gaussian"),
    pytest.param("lpg", "CartPole-v1", LPG, id="lpg"),
    pytest.param("dqn", "CartPole-v1", {"loss": "dqn-reg"}, id="dqn"),
    pytest.param("dqn", "CartPole-v1", RAINBOW, id="rainbow"),
    pytest.param("dqn", "CartPole-v1", {"target": "munchausen", "head": "hl-gauss"}, id="munchausen"),
    pytest.param("pqn", "CartPole-v1", {}, id="pqn"),
    pytest.param("sac", "Pendulum-v1", {"critics": 3, "policy_delay": 2, "layer_norm": True}, id="sac"),
    pytest.param("sac", "CartPole-v1", {"head": "categorical", "prioritised": True}, id="sac-discrete"),
    pytest.param("td3", "Pendulum-v1", {"head": "hl-gauss", "prioritised": True, "n_step": 2}, id="td3"),
    pytest.param("revalued", "Pendulum-v1", {"critics": 2, "prioritised": True}, id="revalued"),
    pytest.param("dqn", "CartPole-v1", R2D2, id="dqn-remembers"),
    pytest.param("udrl", "CartPole-v1", UPSIDE_DOWN, id="udrl"),
    pytest.param("ppo", "Pendulum-v1", {"squash": True, "normalize_advantage": "batch"}, id="ppo-squashed"),
]
WIDE = re.compile(r"[fiuc](64|128)\[")
every_algorithm = pytest.mark.parametrize(("algo", "env", "settings"), CASES)


class Task(struct.PyTreeNode):
    inner: Any
    unit: float = 1.0  # of rewards


def in_any_unit(env: Env) -> Env:
    """`env` with its rewards in a unit that the task says, so that programs are shared."""

    def step(key, state, action, task):
        state, result = env.step(key, state, action, task.inner)
        return state, result._replace(reward=task.unit * result.reward)

    def reset(key, task):
        return env.reset(key, task.inner)

    return dataclasses.replace(env, reset=reset, step=step, task=Task(env.task), time_limit=None)


@cache
def environment_of(name: str) -> Env:
    return in_any_unit(envs.make(name))


def build(algo: str, env: str, settings: dict) -> tuple[Algorithm, Env]:
    environment = environment_of(env)
    return algos.load(algo).make(environment, tiny(algo, **settings)), environment


@cache
def compiled_run(algorithm: Algorithm):
    """`(key, hypers, task)` -> state and metrics of four updates."""
    return jax.jit(partial(run, algorithm, num_updates=4))


def leaves_equal(a, b) -> bool:
    def data(x):
        return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    chex.assert_trees_all_equal_structs(a, b)
    return all(np.array_equal(data(x), data(y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def arrays_of(program) -> list[str]:
    """The inputs and outputs of a jaxpr: dtypes, shapes, weak types."""
    return [aval.str_short() + str(getattr(aval, "weak_type", "")) for aval in (*program.in_avals, *program.out_avals)]


def test_every_registered_algorithm_has_a_case():
    assert {case.values[0] for case in CASES} == {algos.base(name) for name in algos.names()}


@pytest.mark.parametrize("name", [name for name in algos.names() if algos.base(name) != name])
def test_an_algorithm_by_another_name_is_its_base_with_other_defaults(name):
    env = next(case.values[1] for case in CASES if case.values[0] == algos.base(name))
    (variant, _), (base, _) = (api.make(n, env) for n in (name, algos.base(name)))
    changes = algos.with_defaults(name, {})
    known = algos.settings(name)
    assert changes and all(known[n].default == value for n, value in changes.items())
    assert (variant == base) == all(known[n].group == "hypers" for n in changes)
    if "objective" in changes:
        assert objectives.name_of(variant.hypers.objective) == changes["objective"]
        assert isinstance(api.make(name, env, objective="ppo-clip")[0].hypers.objective, objectives.PPOClip)


@every_algorithm
def test_equal_settings_are_one_program(algo, env, settings):
    one, other = (build(algo, env, settings)[0] for _ in range(2))
    assert one == other and hash(one) == hash(other)


@every_algorithm
def test_a_policy_is_pickled_by_its_names(algo, env, settings):
    numbers = dataclasses.asdict(tiny(algo, **settings))
    algorithm, environment = api.make(algo, env, **numbers)
    state = start(algorithm, jax.random.key(0), as_arrays(algorithm.hypers), as_arrays(environment.task))
    policy = Policy(algorithm, environment, state, 0, RunSpec.of(algo, env, steps=1, use_preset=False, **numbers))
    back = pickle.loads(pickle.dumps(policy))
    assert back.algo == algorithm and leaves_equal(back.state, state)


def test_every_algorithm_reaches_another_process_whole():
    """With an environment of one's own, so that states are compared there too, as `payload` does before any work."""
    made = [
        Row.of(
            algo, in_any_unit(envs.make(env)), steps=999, **dataclasses.asdict(tiny(algo, **settings)) | {"lr": 0.0123}
        )
        for algo, env, settings in (case.values for case in CASES)
    ]
    programs = Programs([row.prepare() for row in made], made)
    sent = payload.pack(Job(programs, group(programs)))
    program = (
        "import sys; from rljax.engine import pickling; print(len(pickling.loads(sys.stdin.buffer.read())().groups))"
    )
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # as a worker has it
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=sent, capture_output=True, timeout=300, env=os.environ | path)
    assert done.stdout.split() == [str(len(made)).encode()], done.stderr.decode()


@every_algorithm
def test_state_is_arrays_and_step_keeps_its_shape(algo, env, settings, strict):
    algorithm, environment = build(algo, env, settings)
    arguments = as_arrays(algorithm.hypers), as_arrays(environment.task)
    state = jax.eval_shape(algorithm.init, jax.random.key(0), *arguments)
    after, metrics = jax.eval_shape(algorithm.step, state, *arguments)
    assert jax.tree.structure(state) == jax.tree.structure(after)
    for before, later in zip(jax.tree.leaves(state), jax.tree.leaves(after)):
        assert (before.shape, before.dtype, before.weak_type) == (later.shape, later.dtype, later.weak_type)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(start(algorithm, jax.random.key(0), *arguments)))
    assert all(x.shape == () for x in metrics.values())
    assert {"episodes", "episode_return", "episode_length"} <= set(metrics)


@every_algorithm
def test_64_bits_change_no_program(algo, env, settings):
    """With `jax_enable_x64` the same arrays go in and out, and nothing in between has 64 bits."""

    def programs():
        environment = in_any_unit(envs._factory(env)())
        algorithm = algos.load(algo).make(environment, tiny(algo, **settings))
        key, numbers = jax.random.key(0), (as_arrays(algorithm.hypers), as_arrays(environment.task))
        state = jax.eval_shape(algorithm.init, key, *numbers)
        space = environment.observation_space
        look = (
            algorithm.initial_carry(state, 1),
            jnp.zeros((1, *space.shape), space.dtype),
            jnp.ones(1, bool),
            key,
            True,
        )
        calls = {algorithm.init: (key, *numbers), algorithm.step: (state, *numbers), algorithm.act: (state, *look)}
        return [jax.make_jaxpr(function)(*given) for function, given in calls.items()]

    with jax.enable_x64(True):
        wide = programs()
    assert list(map(arrays_of, wide)) == list(map(arrays_of, programs()))
    assert not any(WIDE.search(str(program)) for program in wide)


def limited(task: Task, steps: int) -> Task:
    return task.replace(inner=task.inner.replace(max_steps_in_episode=steps))


@every_algorithm
def test_a_step_computes_no_nan_but_of_episodes_that_did_not_end(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    task = limited(environment.task, 1000)
    state, metrics = compiled_run(algorithm)(jax.random.key(0), as_arrays(algorithm.hypers), as_arrays(task))
    for name, x in metrics.items():
        assert np.isfinite(x[metrics["episodes"] > 0 if name.startswith("episode_") else ...]).all(), name
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating))


@every_algorithm
def test_what_a_limit_ended_begins_anew(algo, env, settings):
    """A limit of four steps, of which an update takes eight: every observation that it leaves opens an episode."""
    algorithm, environment = build(algo, env, settings)
    task = limited(environment.task, 4)
    state, metrics = compiled_run(algorithm)(jax.random.key(0), as_arrays(algorithm.hypers), as_arrays(task))
    assert state.episodes.reset.all() and (state.episodes.lengths == 0).all()
    np.testing.assert_array_equal(metrics["episodes"], algorithm.steps_per_update // 4)
    np.testing.assert_array_equal(metrics["episode_length"], 4.0)


@pytest.mark.parametrize(("algo", "env", "settings"), [case for case in CASES if case.values[0] == "ppo"])
def test_a_bonus_on_entropy_raises_it(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    task, entropies = as_arrays(environment.task), []
    for bonus in (0.0, 10.0):
        hypers = as_arrays(algorithm.hypers.replace(entropy_coef=bonus, lr=0.02))
        entropies.append(compiled_run(algorithm)(jax.random.key(0), hypers, task)[1]["entropy"][-1])
    assert entropies[1] > entropies[0]


@every_algorithm
def test_rewards_in_any_unit_leave_it_sound(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    for unit in (1e-6, 1e6):
        task = as_arrays(environment.task.replace(unit=unit))
        state, metrics = compiled_run(algorithm)(jax.random.key(0), as_arrays(algorithm.hypers), task)
        assert not diverged({name: np.asarray(x) for name, x in metrics.items()}).any()
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


@every_algorithm
def test_act_gives_valid_actions_for_any_batch(algo, env, settings, strict):
    algorithm, environment = build(algo, env, settings)
    state = start(algorithm, jax.random.key(0), as_arrays(algorithm.hypers), as_arrays(environment.task))
    space = environment.action_space
    for size in (1, 5):
        obs = jax.vmap(environment.observation_space.sample)(jax.random.split(jax.random.key(1), size))
        for greedy in (True, False):
            carry, action = jax.jit(algorithm.act)(
                state, algorithm.initial_carry(state, size), obs, jnp.ones(size, bool), jax.random.key(2), greedy
            )
            assert action.shape == (size, *space.shape) and action.dtype == space.dtype
            assert jax.vmap(space.contains)(action).all()
            chex.assert_trees_all_equal_shapes_and_dtypes(carry, algorithm.initial_carry(state, size))


@every_algorithm
def test_the_policy_that_it_declares_is_the_one_that_acts(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    if algorithm.policy is None:
        pytest.skip("declares none")
    state = start(algorithm, jax.random.key(0), as_arrays(algorithm.hypers), as_arrays(environment.task))
    obs = jax.vmap(environment.observation_space.sample)(jax.random.split(jax.random.key(1), 3))
    reset, carry = jnp.ones((2, 3), bool), algorithm.initial_carry(state, 3)
    _, policy, value = jax.jit(algorithm.policy)(state, carry, jax.tree.map(lambda x: jnp.stack([x, x]), obs), reset)
    _, action = jax.jit(algorithm.act)(state, carry, obs, reset[0], jax.random.key(2), True)
    assert value.shape == (2, 3) and policy.entropy(jax.random.key(3)).shape == (2, 3)
    space = environment.action_space
    best = space.clip(policy.mode()) if isinstance(space, Box) else policy.mode()
    np.testing.assert_allclose(best, jnp.stack([action, action]), rtol=1e-5)


@every_algorithm
def test_one_program_for_all_numbers(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    traces = []

    def traced(*arguments):
        traces.append(1)
        return algorithm.step(*arguments)

    step = jax.jit(traced)
    task = as_arrays(environment.task)
    state = start(algorithm, jax.random.key(0), as_arrays(algorithm.hypers), task)
    for factor in (1, 0.5, 2):
        hypers = jax.tree.map(lambda x, f=factor: x * f, algorithm.hypers)
        state, _ = step(state, as_arrays(hypers), task)
    assert len(traces) == 1


@every_algorithm
def test_row_of_a_sweep_equals_the_lone_run(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    task, hypers = as_arrays(environment.task), as_arrays(algorithm.hypers)
    rows = jax.tree.map(lambda x: jnp.stack([x, x]), hypers).replace(lr=jnp.array([1e-4, 1e-2]))
    keys = jax.random.split(jax.random.key(3), 2)
    alone = compiled_run(algorithm)
    sweep = jax.jit(jax.vmap(jax.vmap(alone, (0, None, None)), (None, 0, None)))
    _, swept = sweep(keys, rows, task)
    for n in range(2):
        for s in range(2):
            _, lone = alone(keys[s], jax.tree.map(lambda x, n=n: x[n], rows), task)
            one = jax.tree.map(lambda x, n=n, s=s: x[n, s], swept)
            chex.assert_trees_all_close(one, lone, rtol=2e-3, atol=2e-4)
    loss = swept["policy_loss" if "policy_loss" in swept else "value_loss"]
    assert not np.allclose(loss[0], loss[1])


@every_algorithm
def test_save_restore_continue_equals_uninterrupted(algo, env, settings, tmp_path):
    algorithm, environment = build(algo, env, settings)
    arguments = as_arrays(algorithm.hypers), as_arrays(environment.task)
    go_on = partial(advance, algorithm, hypers=arguments[0], task=arguments[1], size=3)
    whole, _ = go_on(go_on(start(algorithm, jax.random.key(0), *arguments), n=3)[0], n=2)
    half, _ = go_on(start(algorithm, jax.random.key(0), *arguments), n=3)
    with Checkpointer(tmp_path, algo) as checkpoints:
        checkpoints.save(3, half)
    with Checkpointer(tmp_path, algo) as checkpoints:
        found = checkpoints.restore_latest(jax.eval_shape(algorithm.init, jax.random.key(0), *arguments))
    assert found is not None
    assert leaves_equal(whole, go_on(found.state, n=2)[0])


@every_algorithm
def test_every_parameter_learns(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    arguments = as_arrays(algorithm.hypers), as_arrays(environment.task)
    state = start(algorithm, jax.random.key(0), *arguments)
    after, _ = jax.jit(algorithm.step)(state, *arguments)
    for path, moved in jax.tree.leaves_with_path(jax.tree.map(lambda x, y: (x != y).any(), state.params, after.params)):
        assert moved, f"{jax.tree_util.keystr(path)} gets no gradient"


@every_algorithm
def test_every_number_in_hypers_matters(algo, env, settings):
    algorithm, environment = build(algo, env, settings)
    # Values at which each number is in force: a clip that clips, annealing that anneals.
    forced = {
        "lr": 0.02,
        "lr_final": 0.5,
        "horizon": 4.0,
        "value_clip": 0.1,
        "max_grad_norm": 0.05,
        "target_period": 3.0,
        "epsilon": 0.6,
        "epsilon_final": 0.5,
        "exploration_fraction": 2.0,
        "expectile": 0.8,
        "value_low": -1.0,
        "munchausen_clip": -0.01,
        "munchausen_temperature": 1.0,
        "reg_weight": 1.0,
    }
    known = {name: value for name, value in forced.items() if hasattr(algorithm.hypers, name)}
    hypers = algorithm.hypers.replace(**known)
    if hasattr(hypers, "objective"):
        hypers = hypers.replace(objective=hypers.objective.replace(clip=0.1))
    task = as_arrays(environment.task)

    def go(hypers):
        return compiled_run(algorithm)(jax.random.key(0), hypers, task)[0].params

    base = go(as_arrays(hypers))
    leaves, structure = jax.tree.flatten(as_arrays(hypers))
    module = algos.load(algo)
    unused = module.unused(tiny(algo, **settings), environment) if hasattr(module, "unused") else {}
    for i, (path, _) in enumerate(jax.tree.leaves_with_path(hypers)):
        if jax.tree_util.keystr(path, simple=True) in unused:
            continue
        changed = go(jax.tree.unflatten(structure, [x * 0.1 if j == i else x for j, x in enumerate(leaves)]))
        assert not leaves_equal(base, changed), f"hypers{jax.tree_util.keystr(path)} is a dead knob"


@every_algorithm
def test_keys_are_never_reused_and_ranks_never_promoted(algo, env, settings, strict):
    algorithm, environment = build(algo, env, settings)
    arguments = as_arrays(algorithm.hypers), as_arrays(environment.task)
    state = start(algorithm, jax.random.key(0), *arguments)
    jax.block_until_ready(jax.jit(algorithm.step)(state, *arguments))
