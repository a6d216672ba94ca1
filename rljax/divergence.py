"""Detects that training has diverged, and whether the environment caused it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rljax import envs
from rljax.errors import DivergedError
from rljax.ops.metrics import NOT_FINITE, in_words, is_diagnostic


def diverged(metrics: dict[str, np.ndarray], diagnostics: frozenset[str] = frozenset()) -> np.ndarray:
    """Marks where a metric that is no diagnostic, or what an environment gave, is not finite; shaped as one metric."""
    spoiled = [~np.isfinite(x) for name, x in metrics.items() if not is_diagnostic(name, diagnostics)]
    return np.any([*spoiled, *(metrics[name] != 0 for name in metrics.keys() & {NOT_FINITE})], axis=0)


def refuse_divergence(
    row: dict[str, Any], updates: int, env_name: str, diagnostics: frozenset[str] = frozenset()
) -> None:
    """Removes `NOT_FINITE` from a row. Raises DivergedError where it, or another metric, says of a NaN."""
    fault = row.pop(NOT_FINITE, 0)
    if fault:
        raise DivergedError(_fault(fault, env_name, f" by update {updates}"))
    for name, x in row.items():
        if not is_diagnostic(name, diagnostics) and not np.isfinite(x):
            raise DivergedError(f"{name} is {x} by update {updates}: training diverged; try a smaller lr")


def warn_of_environment(env_name: str, codes: np.ndarray) -> None:
    """Warns where a value of `NOT_FINITE` says that the environment gave a NaN, in a search that continues."""
    if codes.any():
        warnings.warn(_fault(np.bitwise_or.reduce(codes, axis=None), env_name), stacklevel=2)


def _fault(code: int, env_name: str, when: str = "") -> str:
    who = f"environment '{env_name}'" if env_name else "the environment"
    closer = f"rljax check-env {env_name}" if env_name in envs.names() else "rljax.envs.check(env, steps=1000)"
    return f"{who} gave a NaN or an infinity in its {in_words(code)}{when}; {closer} looks closer"
