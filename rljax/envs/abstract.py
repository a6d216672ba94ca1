"""Evaluates functions of the user on shapes alone, and makes their errors one line."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np

import rljax
from rljax.errors import ConfigError, RljaxError

LIBRARIES = tuple(str(Path(inspect.getfile(module)).parent) for module in (jax, np, flax, rljax))


def evaluate(call: str, function: Callable[..., Any], form: Callable[[Any], None], *args: Any) -> Any:
    """Evaluates a function of the environment on shapes and checks the form of its result. Raises ConfigError."""

    def formed(*args: Any) -> Any:
        try:
            out = function(*args)
        except RljaxError:
            raise
        except Exception as error:
            raise ConfigError(_explain(call, error)) from error
        form(out)
        return out

    try:
        return jax.eval_shape(formed, *args)
    except RljaxError:
        raise
    except Exception as error:
        name, said = call.partition("(")[0], str(error).splitlines()[0]
        raise ConfigError(f"{name} gives what is no array: {said:.160}; give arrays and numbers alone") from error


def depends(function: Callable[..., Any], *args: Any, on: list[bool]) -> list[bool]:
    """Whether each leaf of `function(*args)` is computed from the leaves of `args` for which `on` holds."""
    return _marked(jax.make_jaxpr(function)(*args).jaxpr, on)


def _marked(jaxpr: Any, on: list[bool]) -> list[bool]:
    """Carries marks from the inputs of a program to its outputs, into functions that were jitted too."""
    marks = {id(x): mark for x, mark in zip(jaxpr.invars, on, strict=True)}
    for equation in jaxpr.eqns:
        given = [marks.get(id(x), False) for x in equation.invars]
        inner = equation.params.get("jaxpr") if equation.primitive.name in ("jit", "pjit") else None
        found = [any(given)] * len(equation.outvars) if inner is None else _marked(inner.jaxpr, given)
        marks |= {id(x): mark for x, mark in zip(equation.outvars, found)}
    return [marks.get(id(x), False) for x in jaxpr.outvars]


def _explain(call: str, error: Exception) -> str:
    """Describes an error of a function of the user, with the line of their file that raised it."""
    name = call.partition("(")[0]
    said = f"{name} raises {type(error).__name__}: {(str(error).splitlines() or [''])[0]:.200}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(LIBRARIES)]
    if isinstance(error, jax.errors.TracerArrayConversionError):
        said += "; use jax.numpy instead of numpy"
    elif isinstance(error, jax.errors.ConcretizationTypeError):
        said += "; use jnp.where or jax.lax.cond instead of if"
    if not frames:
        return f"{said}; it is called as {call}"
    where = frames[-1]
    return f"{said} ({Path(where.filename).name}, line {where.lineno}: {where.line})"


def described(given: Any) -> str:
    """Says in words what something is."""
    if given is None:
        return "None"
    if isinstance(given, jax.Array):
        return "an array"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if isinstance(given, tuple) and not hasattr(given, "_fields"):
        return f"a tuple of {len(given)}"
    return f"a {type(given).__name__}"


def demand(condition: Any, message: str) -> None:
    """Refuses what does not meet a condition: raises ConfigError."""
    if not condition:
        raise ConfigError(message)
