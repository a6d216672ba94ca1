r"""Policy objectives as pytrees: how the probability ratio and the advantage become a loss.

An objective is called as `objective(log_ratio, advantage, progress)` and returns a loss per sample, of the same shape.
`log_ratio` is $\log r = \log \pi(a|s) - \log \pi_{old}(a|s)$, `progress` the fraction of the run that is over. Its
leaves are traced numbers, so every field of it can be swept, perturbed or differentiated; its type selects the code.

All those here are members of mirror learning (Kuba et al. 2022, arXiv:2201.02373): the loss is $D - r A$ with a drift
$D(r, A) \ge 0$ that is 0 and has slope 0 in r at r = 1, so the first step from the old policy is the policy gradient.

One of your own takes a few lines, and is used as `rljax.train(..., objective=Leash())`. To load what was trained by it
takes the class again, `rljax.load(..., objective=Leash)`, or `register(Leash)` before; registered under a name,
`register(Leash, name="leash")`, it is chosen and recorded by that: no file has a module imported.

    import jax.numpy as jnp
    from flax import struct

    class Leash(struct.PyTreeNode):
        weight: float = 3.0  # what it costs to leave the old policy

        def __call__(self, log_ratio, advantage, progress):
            drift = self.weight * (1 - progress) * jnp.square(log_ratio)
            return drift - jnp.exp(log_ratio) * advantage
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rljax import settings, shipped
from rljax.catalogue import LEARNED, OBJECTIVES
from rljax.errors import ConfigError
from rljax.objectives import files, plugged
from rljax.objectives.base import Objective
from rljax.objectives.clip import PPOClip
from rljax.objectives.discovered import DPO
from rljax.objectives.kl import KLPenalty
from rljax.objectives.learned import LPO, TALPO, network
from rljax.objectives.plugged import register
from rljax.settings import registered_name

__all__ = [
    "DPO",
    "LEARNED",
    "LPO",
    "OBJECTIVES",
    "TALPO",
    "KLPenalty",
    "Objective",
    "PPOClip",
    "build",
    "load",
    "name_of",
    "named",
    "network",
    "plugged",
    "register",
]


def named(name: str) -> type:
    """The class of an objective: a registered name, that class's own name, or `module:Class` that was plugged in.

    Raises:
      ConfigError: there is none.
    """
    if plugged.is_path(name):
        return plugged.named(name)
    return OBJECTIVES.load(registered_name(name))


def build(name: str, **fields: Any) -> Objective:
    """An objective by its name, or from the file of a learned one, with these fields and defaults for others.

    A learned one whose weights come with rljax has those; its class begins as PPO.

    Raises:
      ConfigError: there is none.
    """
    if plugged.is_path(name):
        return plugged.make(name, fields)
    name = name if shipped.is_learned(name) else registered_name(name)
    if shipped.is_learned(name):
        return dataclasses.replace(load(name), **fields)  # pyright: ignore[reportArgumentType]
    return named(name)(**fields)


def name_of(objective: Objective) -> str:
    """The inverse of `named`."""
    name = settings.name_of(type(objective))
    return plugged.name_of(type(objective)) if plugged.is_path(name) else name


def load(path: str | Path) -> Objective:
    """The learned objective in a file, of a class in `LEARNED`; `files.read(path).provenance` is its history.

    Args:
      path: of the file, or the name of one that comes with rljax.

    Raises:
      ConfigError: the file cannot be read, or holds no objective.
    """
    path = shipped.file_of(str(path))
    kind = files.read(path).kind
    if kind not in LEARNED:  # nothing that a file could name is imported
        raise ConfigError(f"{path}: holds {kind}, which is none of {', '.join(LEARNED)}; use the load of its class")
    return LEARNED.load(kind).load(path)  # pyright: ignore[reportAttributeAccessIssue]
