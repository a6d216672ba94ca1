"""The greedy policy as a list of array operations: what acts, without what learns, explores or draws.

`act` is traced for one batch size with its state and a key as constants. What they decide is computed here, so that of
`where(greedy, mode, sample)` the mode remains, and what nothing needs is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax.errors import ConfigError
from rljax.policy import Policy
from rljax.spaces import zeros

INLINED = {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "custom_jvp_call", "custom_vjp_call"}
NEXT = "next_carry"  # the name of the carry that comes out
SAME = {"stop_gradient", "copy", "copy_p", "optimization_barrier"}  # what comes out is what goes in


class Operation(NamedTuple):
    """One operation of JAX: `outputs = name(inputs, **params)`."""

    name: str
    inputs: list[Any]  # a number: that value; an array: a constant
    outputs: list[int]
    params: dict[str, Any]
    shapes: list[tuple[tuple[int, ...], str]]  # of the outputs: shape and dtype


class Program(NamedTuple):
    """A policy, its values numbered: leaves of (carry, obs, reset) go in, those of (next_carry, action) come out."""

    operations: list[Operation]
    inputs: list[tuple[str, int, tuple[int, ...], str]]  # name, value, shape, dtype
    outputs: list[tuple[str, Any, tuple[int, ...], str]]  # likewise; a constant may come out


def trace(policy: Policy, batch: int = 1) -> Program:
    """Traces the greedy action for `batch` observations; a policy with a memory gets its carry, and gives the next."""
    obs = jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, *x.shape)), zeros(policy.env.observation_space))
    carry = policy.algo.initial_carry(policy.state, batch)
    remembers = bool(jax.tree.leaves(carry))

    def act(carry: Any, obs: Any, reset: Any) -> Any:
        return policy.algo.act(policy.state, carry, obs, reset, jax.random.key(0), True)

    given = {"carry": carry, "obs": obs, "reset": jnp.zeros(batch, bool)}
    closed, shapes = jax.make_jaxpr(lambda given: act(**given), return_shape=True)(given)
    names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(given)]
    results = [
        ".".join(filter(None, [part, _name(path)]))
        for part, tree in zip((NEXT, "action"), shapes)
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]
    tracer = _Tracer()
    values = [tracer.new() for _ in closed.jaxpr.invars]
    found = tracer.run(closed.jaxpr, closed.consts, values)
    by_name = dict(zip(results, zip(found, closed.out_avals)))
    outputs = [(name, value, *_like(aval)) for name, (value, aval) in sorted(by_name.items(), key=_actions_first)]
    operations = _needed(tracer.operations, [value for _, value, *_ in outputs if isinstance(value, int)])
    inputs = [(name, value, *_like(aval)) for name, value, aval in zip(names, values, closed.in_avals)]
    return Program(operations, [x for x in inputs if remembers or x[0].startswith("obs")], outputs)


def _actions_first(item: tuple[str, Any]) -> tuple[bool, str]:
    return not item[0].startswith("action"), item[0]


def _name(path: Any) -> str:
    """The name of a leaf: `obs`, `obs.image`, `carry.0`."""
    return ".".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", "")))) for key in path)


def _like(aval: Any) -> tuple[tuple[int, ...], str]:
    return tuple(aval.shape), str(aval.dtype)


class _Tracer:
    """Runs a jaxpr: computes what is constant, and notes the rest."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._count = 0

    def new(self) -> int:
        self._count += 1
        return self._count - 1

    def run(self, jaxpr: Any, consts: Any, values: Any) -> list[Any]:
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, values))

        def read(atom: Any) -> Any:
            return jnp.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else known[atom]

        for equation in jaxpr.eqns:
            known.update(zip(equation.outvars, self._step(equation, [read(x) for x in equation.invars])))
        return [read(x) for x in jaxpr.outvars]

    def _step(self, equation: Any, values: list[Any]) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        if name in SAME:
            return values
        if name in INLINED:
            inner = next(x for x in params.values() if hasattr(x, "eqns") or hasattr(x, "jaxpr"))
            consts = getattr(inner, "consts", ())
            return self.run(getattr(inner, "jaxpr", inner), consts, values)
        if not any(isinstance(x, int) for x in values):
            found = equation.primitive.bind(*values, **params)
            return list(found) if equation.primitive.multiple_results else [found]
        chosen = _without_work(name, values, equation.outvars[0].aval)
        if chosen is not None:
            return [chosen]
        outputs = [self.new() for _ in equation.outvars]
        shapes = [_like(x.aval) for x in equation.outvars]
        inputs = [x if isinstance(x, int) else np.asarray(x) for x in values]
        self.operations.append(Operation(name, inputs, outputs, dict(params), shapes))
        return outputs


def _without_work(name: str, values: list[Any], aval: Any) -> Any:
    """The input that an operation only hands on: the one chosen for all elements, or one to which nothing is added."""
    if name == "select_n" and not isinstance(values[0], int):
        which = np.unique(np.asarray(values[0]))
        return values[1 + int(which[0])] if len(which) == 1 else None
    if name == "add":
        for one, other in (values, values[::-1]):
            if isinstance(one, int) and not isinstance(other, int) and not np.asarray(other).any():
                return one if aval.shape == np.shape(other) or not np.shape(other) else None
    return None


def _needed(operations: list[Operation], wanted: list[int]) -> list[Operation]:
    """Selects those that the wanted values depend on, in their order."""
    needed, found = set(wanted), []
    for operation in reversed(operations):
        if needed & set(operation.outputs):
            needed.update(x for x in operation.inputs if isinstance(x, int))
            found.append(operation)
    return found[::-1]


def unsupported(policy: Policy, name: str, form: str) -> ConfigError:
    """The error for an operation that a form of file does not have."""
    return ConfigError(f"{policy!r}: has the operation '{name}', which {form} files do not; export it as .jax")
