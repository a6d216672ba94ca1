"""Rows of a sweep by their settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rljax.errors import ConfigError, unknown
from rljax.parts import of_record

if TYPE_CHECKING:
    from rljax.sweeps.result import SweepResult


def matching(result: SweepResult, fields: Mapping[str, Any]) -> np.ndarray:
    """The rows with these settings, a mask `[N]`.

    Raises:
      ConfigError: a field that does not exist, or a value that no row has.
    """
    keep, records = np.ones(len(result), bool), [result.record["rows"][i] for i in result.index]
    every = [{"algo": r.get("algo"), "env": r.get("env"), **of_record(r), **r["varied"]} for r in records]
    for name, value in fields.items():
        if name not in every[0]:
            raise unknown("field", name, every[0])
        values = [row.get(name) for row in every]
        matches = np.array([_same(x, value) for x in values])
        if not matches.any():
            existing = ", ".join(dict.fromkeys(str(x) for x in values))
            raise ConfigError(f"{name}={value}: no row has it; there are {existing}")
        keep &= matches
    return keep


def _same(value: Any, wanted: Any) -> bool:
    value, wanted = (math.inf if isinstance(x, str) and x == "inf" else x for x in (value, wanted))  # as JSON has it
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-6)
    if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
        return list(value) == list(wanted)
    return value == wanted
