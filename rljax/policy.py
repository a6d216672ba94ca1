"""A trained policy: acts on batches of observations, plays whole episodes, films one."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax import envs
from rljax import run as drivers
from rljax.arguments import SEED, SOME
from rljax.errors import ConfigError, RljaxError, require
from rljax.kinds import Table
from rljax.objectives.plugged import is_path
from rljax.ops import streams
from rljax.progress import amount
from rljax.spaces import like
from rljax.spec import RunSpec
from rljax.task import with_task
from rljax.types import Algorithm, Array, Dict, Discrete, Env, MultiDiscrete, Space


class Policy:
    """A trained policy: call it with a batch of observations.

    Attributes:
      algo, env, state: what it is made of.
      step, updates: environment steps and updates it was trained for.
    """

    def __init__(self, algo: Algorithm, env: Env, state: Any, step: int, spec: RunSpec | None = None, updates: int = 0):
        self.algo, self.env, self.state, self.step, self.updates = algo, env, state, step, updates
        self._spec = spec  # what `algo` and `env` were built from, if names and numbers did
        self._carry, self._size = None, 0  # a memory, and that of how many episodes
        self._act = jax.jit(algo.act)

    def __repr__(self) -> str:
        algo = f"{self._spec.algo} " if self._spec else ""
        return f"Policy({algo}on {self.env.name}, after {amount(self.step, self.updates)})"

    def __copy__(self) -> Policy:
        copied = Policy(self.algo, self.env, self.state, self.step, self._spec, self.updates)
        copied._carry, copied._size = self._carry, self._size
        return copied

    def with_own_state(self) -> Policy:
        """The same policy, whose state no training donates."""
        return Policy(self.algo, self.env, jax.tree.map(jnp.copy, self.state), self.step, self._spec, self.updates)

    def __deepcopy__(self, memo: Any) -> Policy:  # what it is made of never changes
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Gives pickle the names and numbers it was built from, and its state; other code than ours is for cloudpickle.

        Raises:
          PicklingError: an algorithm, environment or objective that has no name, pickled by anything else.
        """
        state = jax.tree.map(_Leaf.of, self.state)
        if self._named():
            return _from_names, (self._spec, state, self.step, self.updates)
        frame = sys._getframe()
        while frame is not None:  # pickle asks in the same words, but cannot do it
            if {"cloudpickle", "dill"} & set(frame.f_globals.get("__name__", "").split(".")):
                return _from_parts, (self.algo, self.env, state, self.step, self.updates)
            frame = frame.f_back
        raise pickle.PicklingError(f"{self!r}: is made of code of your own; use cloudpickle.dumps(policy)")

    def _named(self) -> bool:
        """Whether names and numbers build it again, in any process."""
        chosen = self._spec and self._spec.objective
        if self._spec is None or (chosen and is_path(chosen.name)):
            return False
        try:
            algo, env = self._spec.build()
        except RljaxError:
            return False
        pairs = zip(jax.tree.leaves(env.task), jax.tree.leaves(self.env.task), strict=True)
        return (algo, env) == (self.algo, self.env) and all(np.array_equal(a, b) for a, b in pairs)

    def forget(self) -> None:
        """Forgets what was seen: the next observations open episodes."""
        self._carry = None

    def __call__(self, obs: Any, key: Array | None = None, reset: Any = None) -> Any:
        """Actions for a batch of observations `[B, ...]`, or for one alone: greedy ones, or samples if there is a key.

        Args:
          reset: `[B]` bool, which observations open an episode; by default those of the first call, and of one with
            another B than the call before. Only a policy with a memory cares.

        Raises:
          ConfigError: observations that the environment cannot give, or a key that is none.
        """
        obs = _observations(self.env.observation_space, obs)
        batch = _batch_shape(self.env.observation_space, obs)
        size = batch[0] if batch else 1
        obs = obs if batch else jax.tree.map(lambda x: x[None], obs)
        first = self._carry is None or size != self._size
        if first:
            self._carry, self._size = self.algo.initial_carry(self.state, size), size
        reset = np.full(size, first) if reset is None else np.asarray(reset, bool).reshape(-1)
        require(reset.shape == (size,), "reset.shape", reset.shape, f"must be {(size,)}, as there are obs")
        greedy = key is None
        self._carry, action = self._act(self.state, self._carry, obs, reset, _key(key), greedy)
        return jax.tree.map(lambda x: np.asarray(x if batch else x[0]), action)

    def evaluate(
        self,
        episodes: int = 128,
        greedy: bool = True,
        seed: int = 0,
        *,
        env: str | Env | None = None,
        task: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """Undiscounted returns `[episodes]` of whole episodes.

        Args:
          env: another environment of the same spaces, by name or itself; by default the one that it was trained on.
          task: numbers of the environment to change.

        Raises:
          ConfigError: a count, seed or number that cannot be, or an environment of other spaces.
        """
        episodes, key = SOME.convert("episodes", episodes), _key_of(seed)
        return np.asarray(drivers.evaluate(self.algo, self.state, self._where(env, task), key, episodes, greedy))

    def trial_returns(
        self,
        trials: int = 128,
        greedy: bool = True,
        seed: int = 0,
        *,
        env: str | Env | None = None,
        task: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """Undiscounted returns `[trials, k]` of each episode of whole trials: whether later ones are better.

        Args:
          env: another environment of the same spaces: `trials(16)` for a policy that was trained on `trials(4)`.
          task: numbers of the environment to change.

        Raises:
          ConfigError: as of `evaluate`, or the environment has no trials.
        """
        trials, key = SOME.convert("trials", trials), _key_of(seed)
        return np.asarray(drivers.trial_returns(self.algo, self.state, self._where(env, task), key, trials, greedy))

    def _where(self, env: str | Env | None, task: Mapping[str, Any] | None) -> Env:
        where = self.env if env is None else elsewhere(self.env, env)
        return with_task(where, Table().convert("task", task))

    def film(self, max_steps: int = 500, greedy: bool = True, seed: int = 0) -> list[np.ndarray]:
        """The frames `[H, W, 3]` uint8 of one episode, its first `max_steps` steps.

        Raises:
          ConfigError: the environment cannot be drawn, or a count or seed that cannot be.
        """
        max_steps = SOME.convert("max_steps", max_steps)
        draw = self.env.render
        if draw is None:
            raise ConfigError(f"environment '{self.env.name}' has no picture; give its Env a render function")
        k_reset, k_play = jax.random.split(_key_of(seed))
        env_state, obs = jax.jit(self.env.reset)(k_reset, self.env.task)
        step, act, carry = jax.jit(self.env.step), jax.jit(self.algo.act), self.algo.initial_carry(self.state, 1)
        frames = [draw(env_state, self.env.task)]
        for t in range(max_steps):
            k_act, k_step = jax.random.split(jax.random.fold_in(k_play, t))
            alone = jax.tree.map(lambda x: x[None], obs)
            carry, action = act(self.state, carry, alone, jnp.full(1, t == 0), k_act, greedy)
            action = jax.tree.map(lambda x: x[0], action)
            env_state, (obs, _, terminated, truncated) = step(k_step, env_state, action, self.env.task)
            frames.append(draw(env_state, self.env.task))
            if self.env.ended(terminated, truncated):
                break
        return frames


def elsewhere(trained_on: Env, env: str | Env) -> Env:
    """Another environment, for a policy that was trained on this one. Raises ConfigError where its spaces differ."""
    found = envs.make(env) if isinstance(env, str) else envs.check(env)
    for name in ("observation_space", "action_space"):
        wanted, given = (_described(getattr(each, name)) for each in (trained_on, found))
        require(given == wanted, "env", found.name, f"{name} is {given}, and the policy was trained on {wanted}")
    return found


def _described(space: Space) -> str:
    """The shapes that a policy sees or gives, and of how many choices."""
    choices = getattr(space, "n", getattr(space, "nvec", ""))
    return f"{type(space).__name__}({choices or jax.tree.map(lambda x: x.shape, like(space))})"


class _Leaf(NamedTuple):
    """A leaf of a state that can be pickled."""

    data: np.ndarray
    key: str | None  # the kind of random key it is, if it is one

    @classmethod
    def of(cls, leaf: Any) -> _Leaf:
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            return cls(np.asarray(jax.random.key_data(leaf)), str(jax.random.key_impl(leaf)))
        return cls(np.asarray(leaf), None)

    def array(self) -> Array:
        data = jnp.asarray(self.data)
        return data if self.key is None else jax.random.wrap_key_data(data, impl=self.key)


def _from_names(spec: RunSpec, state: Any, step: int, updates: int) -> Policy:
    algo, env = spec.build()
    return Policy(algo, env, _arrays(state), step, spec, updates)


def _from_parts(algo: Algorithm, env: Env, state: Any, step: int, updates: int) -> Policy:
    return Policy(algo, env, _arrays(state), step, updates=updates)


def _arrays(state: Any) -> Any:
    return jax.tree.map(_Leaf.array, state, is_leaf=lambda x: isinstance(x, _Leaf))


def _key_of(seed: int) -> Array:
    """The key of an evaluation, apart from that of a training run of the same seed."""
    return streams.of_seed(SEED.convert("seed", seed), streams.EVALUATION)


def _key(key: Any) -> Array:
    """Converts a raw key to a typed one; makes one where there is none."""
    if key is None:
        return jax.random.key(0)
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    data = jax.random.key_data(key) if typed else np.asarray(key)
    alone = data.dtype == np.uint32 and data.shape == jax.random.key_data(jax.random.key(0)).shape
    require(bool(alone), "key", key, "must be one key, such as jax.random.key(0)")
    return key if typed else jax.random.wrap_key_data(jnp.asarray(data))


def _batch_shape(space: Space, obs: Any) -> tuple[int, ...]:
    """`(B,)` of a batch of observations, `()` of one alone. Raises ConfigError where their parts do not agree."""
    pairs = zip(jax.tree.leaves(like(space)), jax.tree.leaves(obs), strict=True)
    shapes = {x.shape[: x.ndim - len(each.shape)] for each, x in pairs}
    require(len(shapes) == 1, "obs", f"parts of batches {sorted(shapes)}", "must have the same B everywhere")
    return shapes.pop()


def _observations(space: Space, given: Any, name: str = "obs") -> Any:
    """Leaves `[B, *shape]` or `[*shape]`, of the space's dtypes. Raises ConfigError where nothing such is given."""
    if isinstance(space, Dict):
        names = list(space.spaces)
        said = list(given) if isinstance(given, Mapping) else given
        require(isinstance(given, Mapping) and given.keys() == set(names), name, said, f"must be a dict of {names}")
        return {each: _observations(part, given[each], f"{name}[{each!r}]") for each, part in space.spaces.items()}
    shape = ", ".join(map(str, space.shape))
    try:
        obs = given if isinstance(given, jax.Array) else np.asarray(given)
        numbers = jnp.issubdtype(obs.dtype, jnp.number) or obs.dtype == bool
        require(numbers, f"{name}.dtype", obs.dtype, "must be numbers")
    except ValueError as error:  # lists of different lengths
        raise ConfigError(f"{name}: {str(error).splitlines()[0]}; must be [{shape}] or [B, {shape}]") from None
    fits = obs.shape in (space.shape, (*obs.shape[:1], *space.shape))
    require(fits, f"{name}.shape", obs.shape, f"must be [{shape}] or [B, {shape}]".replace(", ]", "]"))
    if np.issubdtype(space.dtype, np.integer) and not np.issubdtype(obs.dtype, np.integer):
        require(bool((obs == obs // 1).all()), name, "with fractions", f"must be whole numbers, {space.dtype}")
    if isinstance(space, Discrete | MultiDiscrete):
        most = space.n if isinstance(space, Discrete) else np.array(space.nvec)
        inside = bool(((obs >= 0) & (obs < most)).all())
        require(inside, name, np.asarray(obs).tolist(), f"must lie in [0, {np.asarray(most).tolist()})")
    return jnp.asarray(obs, space.dtype)
