"""What is learned: parts of an algorithm's hypers, by their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import jax

from rljax.errors import unknown
from rljax.meta.strategies import as_parameters


def read(hypers: Any, names: Iterable[str]) -> dict[str, Any]:
    """theta: name -> part of `hypers`, e.g. `objective.hidden`, `lr`, or a whole tree such as `objective`.

    Raises:
      ConfigError: a name that is no part of hypers, or a part that holds something else than floating-point numbers.
    """
    theta = {}
    for name in names:
        try:
            theta[name] = reduce(getattr, name.split("."), hypers)
        except AttributeError:
            raise unknown("part of hypers", name, _names(hypers)) from None
    return as_parameters(theta)


def write(hypers: Any, theta: Mapping[str, Any]) -> Any:
    """`hypers` with the parts of theta in place; the inverse of `read`."""
    for name, part in theta.items():
        hypers = _replaced(hypers, name.split("."), part)
    return hypers


def places(hypers: Any, task: Any, names: Iterable[str]) -> list[int]:
    """Which leaves of (hypers, task) belong to the parts named `hypers.NAME` and `task.NAME`, or `task` as a whole."""
    roots = {"0": "hypers", "1": "task"}
    found = []
    wanted = set(names)
    for i, (path, _) in enumerate(jax.tree.leaves_with_path((hypers, task))):
        first, *rest = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        whole = [roots[first], *rest]
        if any(".".join(whole[: n + 1]) in wanted for n in range(len(whole))):
            found.append(i)
    return found


def _replaced(tree: Any, path: list[str], part: Any) -> Any:
    name, *rest = path
    new = _replaced(getattr(tree, name), rest, part) if rest else part
    return dataclasses.replace(tree, **{name: new})


def _names(tree: Any, prefix: str = "") -> list[str]:
    found = []
    for field in dataclasses.fields(tree):
        found.append(f"{prefix}{field.name}")
        part = getattr(tree, field.name)
        if dataclasses.is_dataclass(part):
            found += _names(part, f"{prefix}{field.name}.")
    return found


def shapes(theta: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Paths and shapes of its leaves."""
    return [(jax.tree_util.keystr(path), x.shape) for path, x in jax.tree.leaves_with_path(theta)]
