"""Suites of environments: each adapter beside its library's own vmapped step, Craftax's resets, PPO on a MiniGrid room.

    python benchmarks/suites.py                   # where `pip install '.[suites]'` has been done
    python benchmarks/suites.py --table FILE      # the file as Markdown

Random actions, no resets, 64 environments side by side: what an adapter adds is the flags and the count of steps.
Claims: an adapter takes at most 10 % longer than its library's step; a rollout on Craftax-Classic is four times
as fast as one that resets all environments at every step, or more; PPO on navix/Empty-6x6 has 0.95 after 200,000 steps.
Falsified if the median of the pairs, or of the seeds, says otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rljax
from rljax import envs, runtime
from rljax.ops.rollout import begin, rollout
from rljax.types import StepResult

ENVS, ROUNDS = 64, 7
RESULTS = Path(__file__).parent / "results"


class Library(NamedTuple):
    """An environment as its library has it."""

    reset: Callable[..., Any]  # key -> state
    step: Callable[..., Any]  # (key, state, action) -> state
    steps: int  # of a measurement


def craftax() -> Library:
    """Craftax-Classic, which resets by itself unless told not to."""
    from craftax.craftax_env import make_craftax_env_from_name

    env = make_craftax_env_from_name("Craftax-Classic-Symbolic-v1", auto_reset=False)
    params = env.default_params
    step = lambda key, state, action: env.step_env(key, state[1], action, params)  # noqa: E731
    return Library(lambda key: env.reset_env(key, params), lambda *x: step(*x)[:2], 256)


def xminigrid() -> Library:
    """An empty room of XLand-MiniGrid."""
    import xminigrid

    env, params = xminigrid.make("MiniGrid-Empty-6x6")
    return Library(partial(env.reset, params), lambda key, state, action: env.step(params, state, action), 2048)


def navix() -> Library:
    """An empty room of NAVIX; `step` would reset by itself."""
    import navix

    env = navix.make("Navix-Empty-6x6-v0", max_steps=2**31 - 1)
    return Library(env.reset, lambda key, state, action: env._step(state, action), 2048)


def jumanji() -> Library:
    """Snake, without a limit."""
    import jumanji

    env = jumanji.make("Snake-v1", time_limit=2**31 - 1)
    return Library(env.reset, lambda key, state, action: env.step(state[0], action), 2048)


def jaxmarl() -> Library:
    """Three agents of a particle environment, without a limit."""
    import jaxmarl

    env = jaxmarl.make("MPE_simple_spread_v3", max_steps=2**31 - 1)

    def step(key: Any, state: Any, action: Any) -> Any:
        given = {agent: action[i] for i, agent in enumerate(env.agents)}
        return env.step_env(key, state[1], given)[:3]

    return Library(lambda key: (*env.reset(key), {a: jnp.zeros(()) for a in env.agents}), step, 2048)


def playground() -> Library:
    """A cart with a pole, in MJX."""
    from mujoco_playground import registry

    env = registry.load("CartpoleBalance", config_overrides={"impl": "jax"})
    return Library(env.reset, lambda key, state, action: env.step(state, action), 256)


PAIRS = {
    "craftax/classic-symbolic": craftax,
    "xminigrid/Empty-6x6": xminigrid,
    "navix/Empty-6x6": navix,
    "jumanji/Snake": jumanji,
    "jaxmarl/MPE_simple_spread_v3": jaxmarl,
    "playground/CartpoleBalance": playground,
}


def stepping(reset: Callable[..., Any], step: Callable[..., Any], space: Any, steps: int) -> Callable[[Any], Any]:
    """A compiled program of so many random steps of all environments; its result depends on every state."""

    def run(key: Any) -> Any:
        def one(states: Any, key: Any) -> tuple[Any, Any]:
            keys = jax.random.split(key, ENVS)
            actions = jax.vmap(space.sample)(keys)
            return jax.vmap(step)(keys, states, actions), ()

        first = jax.vmap(reset)(jax.random.split(key, ENVS))
        return jax.lax.scan(one, first, jax.random.split(key, steps))[0]

    return jax.jit(run)


def timed(program: Callable[[Any], Any], seed: int) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    jax.block_until_ready(program(jax.random.key(seed)))
    return time.perf_counter() - began


def pair(name: str) -> dict[str, Any]:
    """Times the two in turn, the other one first in every other round."""
    ours, library = envs.make(name), PAIRS[name]()

    def step(key: Any, state: Any, action: Any) -> Any:
        return ours.step(key, state[0], action, ours.task)

    def reset(key: Any) -> Any:
        state, obs = ours.reset(key, ours.task)
        zero = jnp.zeros(())
        return state, StepResult(obs, zero, zero > 0, zero > 0)

    programs = {
        "adapter": stepping(reset, step, ours.action_space, library.steps),
        "library": stepping(library.reset, library.step, ours.action_space, library.steps),
    }
    seconds: dict[str, list[float]] = {which: [] for which in programs}
    for program in programs.values():
        timed(program, 0)
    for i in range(ROUNDS):
        for which in list(programs)[:: 1 if i % 2 else -1]:
            seconds[which].append(timed(programs[which], i))
    ratios = [a / b for a, b in zip(seconds["adapter"], seconds["library"])]
    rate = ENVS * library.steps / statistics.median(seconds["adapter"])
    return {"env": name, "steps_per_second": rate, "ratio": statistics.median(ratios), "ratios": ratios, **seconds}


def resets() -> dict[str, Any]:
    """Rollouts on Craftax-Classic: resets of the environments that end, and of all of them at every step."""
    env = envs.make("craftax/classic-symbolic")
    seconds = {}
    for which, costly in (("those that end", True), ("all", False)):
        these = dataclasses.replace(env, costly_reset=costly)

        def run(key: Any, these: Any = these) -> Any:
            policy = lambda carry, obs, reset, key: (  # noqa: E731
                carry,
                jax.vmap(these.action_space.sample)(jax.random.split(key, 8)),
                (),
            )
            episodes = begin(these, these.task, key, 8)
            return rollout(these, these.task, policy, (), episodes, key, 64).steps.reward

        program = jax.jit(run)
        timed(program, 0)
        seconds[which] = [timed(program, i) for i in range(3)]
    rates = {which: 8 * 64 / statistics.median(x) for which, x in seconds.items()}
    return {"seconds": seconds, "steps_per_second": rates, "ratio": rates["those that end"] / rates["all"]}


def learning() -> dict[str, Any]:
    """PPO on navix/Empty-6x6 for 200,000 steps, three seeds, with its preset."""
    returns, seconds = [], []
    for seed in range(3):
        began = time.perf_counter()
        run = rljax.train("ppo", "navix/Empty-6x6", steps=200_000, seed=seed, progress=False)
        seconds.append(time.perf_counter() - began)
        returns.append(float(run.evaluate(128).mean()))
    return {"env": "navix/Empty-6x6", "steps": 200_000, "returns": returns, "seconds": seconds}


def table(found: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| environment | k steps/s | time over the library's step |", "| --- | --- | --- |"]
    for each in found["pairs"]:
        lines.append(f"| {each['env']} | {each['steps_per_second'] / 1e3:.3g} | {each['ratio']:.3f} |")
    rates = found["resets"]["steps_per_second"]
    lines.append(
        f"\nCraftax-Classic, rollouts of 8: {rates['those that end']:,.0f} steps/s, with resets of all at every step "
        f"{rates['all']:,.0f}: {found['resets']['ratio']:.1f} times as fast."
    )
    returns = ", ".join(f"{x:.3f}" for x in found["learning"]["returns"])
    lines.append(f"PPO on navix/Empty-6x6 after 200,000 steps: {returns} (three seeds).")
    return "\n".join(lines)


def main() -> None:
    """Measures, and stores the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        print(table(json.loads(given.table.read_text())))
        return
    found = {**runtime.provenance(), "pairs": [], "resets": resets(), "learning": learning()}
    for name in PAIRS:
        found["pairs"].append(pair(name))
        print(name, f"{found['pairs'][-1]['ratio']:.3f}", flush=True)
        jax.clear_caches()
    path = RESULTS / f"suites-{jax.default_backend()}-{time.strftime('%Y-%m-%d')}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found), path, sep="\n")


if __name__ == "__main__":
    main()
