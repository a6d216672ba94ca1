"""The registry of algorithms: a name, and the module with its `Config`, `Hypers` and `make(env, config)`.

Some names are those of a registered algorithm with other defaults. Nothing here imports jax; `load` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax import settings as _settings
from rljax.errors import ConfigError, unknown

_OURS = ("dqn", "lpg", "ppo", "pqn", "revalued", "sac", "td3")
_modules: dict[str, Any] = {name: f"rljax.algos.{name}" for name in _OURS}  # import paths, or what was registered

_THREE = ("num_steps", "gradient_steps", "policy_delay")
_OFTEN = {"gradient_steps": 20, "policy_delay": 20, "critic_lr": 3e-4, "temperature_lr": 3e-4}
_CROSSQ = {"batch_norm": True, "adam_b1": 0.5, "critic_lr": 1e-3, "lr": 1e-3, **dict.fromkeys(_THREE, 3)}

_variants: dict[str, tuple[str, dict[str, Any]]] = {
    "dpo": ("ppo", {"objective": "dpo"}),  # Discovered Policy Optimisation
    "mdpo": ("ppo", {"objective": "kl-penalty", "objective.final": 0.0}),  # Mirror Descent Policy Optimisation
    "lpo": ("ppo", {"objective": "lpo"}),
    "ta-lpo": ("ppo", {"objective": "ta-lpo"}),
    "ta-lpg": ("lpg", {"temporal": True}),
    "c51": ("dqn", {"head": "categorical"}),
    "qr-dqn": ("dqn", {"head": "quantile"}),
    "m-dqn": ("dqn", {"target": "munchausen"}),
    "rainbow": ("dqn", {"head": "categorical", "dueling": True, "noisy": True, "prioritised": True, "n_step": 3}),
    "decqn": ("revalued", {"critics": 1, "regulariser": 0.0}),  # Decoupled Q-Networks
    "ddpg": ("td3", {"critics": 1, "policy_delay": 1, "num_steps": 1, "gradient_steps": 1, "target_noise": 0.0}),
    "redq": ("sac", {"critics": 10, "policy_critics": "mean", **_OFTEN}),
    "droq": ("sac", {"dropout": 0.01, "layer_norm": True, "policy_critics": "mean", **_OFTEN}),
    "crossq": ("sac", _CROSSQ),
    "aq-sac": ("sac", {"expectile": 0.9}),  # Annealed Q-learning
    "aq-td3": ("td3", {"expectile": 0.9}),
}


def names() -> list[str]:
    """The names there are."""
    return sorted([*_modules, *_variants])


def register(name: str, module: Any) -> None:
    """Adds an algorithm, or replaces one that was added under this name, as a notebook's cell does that is run again.

    Args:
      name: a new one.
      module: what has `Config`, `Hypers` and `make(env, config)`: a module, its import path, a class or another object.

    Raises:
      ConfigError: the name is taken by an algorithm of rljax, or this has no such parts.
    """
    if name in _variants or name in _OURS:
        raise ConfigError(f"algorithm '{name}' is taken by {_found(name)}; register it under another name")
    _modules[name] = module if isinstance(module, str) else _settings.parts_of(module)


def load(name: str) -> Any:
    """What has an algorithm's `Config`, `Hypers` and `make`, usually a module.

    Raises:
      ConfigError: a name that is not registered, or a module that cannot be imported or lacks one of these.
    """
    return _settings.parts_of(_found(name))


def base(name: str) -> str:
    """The algorithm of which this one has other defaults, or itself."""
    return _variants[name][0] if name in _variants else name


def settings(name: str) -> dict[str, _settings.Setting]:
    """Every field of an algorithm, without importing it. Raises ConfigError for a name that is not registered."""
    found = _settings.of_algorithm(_found(name))
    defaults = with_defaults(name, {})
    if "objective" in defaults:
        found = _settings.with_objective(found, defaults["objective"])
    return {n: s._replace(default=defaults.get(n, s.default)) for n, s in found.items()}


def with_defaults(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given settings, and the defaults that make the algorithm another one than its base.

    Those of its objective count only if no other is given.
    """
    defaults = _variants[name][1] if name in _variants else {}
    chosen = given.get("objective", defaults.get("objective"))
    if not isinstance(chosen, str) or chosen != defaults.get("objective"):
        defaults = {n: value for n, value in defaults.items() if not n.startswith("objective")}
    return {**defaults, **given}


def _found(name: str) -> Any:
    """What is registered under a name, or under that of which it is a variant."""
    if not isinstance(name, str) or base(name) not in _modules:
        raise unknown("algorithm", name, names(), "rljax list algos")
    return _modules[base(name)]
