"""The registry of algorithms: a name, and the class that it stands for. Some are another one with other defaults.

Nothing here imports jax; `load` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from rljax import settings as _settings
from rljax.errors import ConfigError, require
from rljax.registry import Registry


class Variant(NamedTuple):
    """An algorithm that is another one with other defaults."""

    base: str
    defaults: dict[str, Any]


_THREE = ("num_steps", "gradient_steps", "policy_delay")
_OFTEN = {"gradient_steps": 20, "policy_delay": 20, "critic_lr": 3e-4, "temperature_lr": 3e-4}
_RECURRENT = {"memory": "lstm", "num_steps": 32, "gradient_steps": 8, "batch_size": 32, "sequence": 32, "burn_in": 32}
_R2D2 = {"memory": "lstm", "head": "rescaled", "dueling": True, "prioritised": True, "n_step": 5, "discount": 0.997}
_CROSSQ = {"batch_norm": True, "adam_b1": 0.5, "critic_lr": 1e-3, "lr": 1e-3, **dict.fromkeys(_THREE, 3)}

ALGORITHMS: Registry[Any] = Registry(  # classes, or variants of others
    "algorithm",
    {
        **{name: f"rljax.algos.{name}:{name.upper()}" for name in ("dqn", "lpg", "ppo", "pqn", "sac", "td3", "udrl")},
        "revalued": "rljax.algos.revalued:REValueD",
        "dpo": Variant("ppo", {"objective": "dpo"}),  # Discovered Policy Optimisation
        "mdpo": Variant(
            "ppo", {"objective": "kl-penalty", "objective.final": 0.0}
        ),  # Mirror Descent Policy Optimisation
        "lpo": Variant("ppo", {"objective": "lpo"}),
        "ta-lpo": Variant("ppo", {"objective": "ta-lpo"}),
        "ta-lpg": Variant("lpg", {"temporal": True}),
        "c51": Variant("dqn", {"head": "categorical"}),
        "qr-dqn": Variant("dqn", {"head": "quantile"}),
        "m-dqn": Variant("dqn", {"target": "munchausen"}),
        "rainbow": Variant(
            "dqn", {"head": "categorical", "dueling": True, "noisy": True, "prioritised": True, "n_step": 3}
        ),
        "r2d2": Variant("dqn", _R2D2 | _RECURRENT | {"num_steps": 40, "sequence": 40, "burn_in": 40, "warmup": 2_000}),
        "decqn": Variant("revalued", {"critics": 1, "regulariser": 0.0}),  # Decoupled Q-Networks
        "ddpg": Variant(
            "td3", {"critics": 1, "policy_delay": 1, "num_steps": 1, "gradient_steps": 1, "target_noise": 0.0}
        ),
        "rdpg": Variant("td3", {"critics": 1, "policy_delay": 1, "target_noise": 0.0, "warmup": 2_000, **_RECURRENT}),
        "rtd3": Variant("td3", {"warmup": 2_000, **_RECURRENT}),
        "rsac": Variant("sac", {"warmup": 2_000, **_RECURRENT}),
        "redq": Variant("sac", {"critics": 10, "policy_critics": "mean", **_OFTEN}),
        "droq": Variant("sac", {"dropout": 0.01, "layer_norm": True, "policy_critics": "mean", **_OFTEN}),
        "crossq": Variant("sac", _CROSSQ),
        "aq-sac": Variant("sac", {"expectile": 0.9}),  # Annealed Q-learning
        "aq-td3": Variant("td3", {"expectile": 0.9}),
    },
    "rljax list algos",
)


def names() -> list[str]:
    """All names, variants among them."""
    return sorted(ALGORITHMS)


def register(
    name: str,
    algorithm: Any = None,
    *,
    variant_of: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    presets: Mapping[str, Any] | None = None,
) -> None:
    """Adds an algorithm, or replaces one that was added under this name, as a notebook's cell does that is run again.

    Args:
      name: a new one.
      algorithm: an `Algorithm` class or its import path, `module:Class`; or what else has `Config`, `Hypers` and
        `make(env, config)`: a module, its import path, or another object.
      variant_of: instead, the registered algorithm that this one is, with other `defaults`.
      defaults: its settings that differ.
      presets: environment (or a pattern, `brax/*`) -> `rljax.algos.presets.Preset`.

    Raises:
      ConfigError: the name is taken by an algorithm of rljax, this has no such parts, or a default that cannot be.
    """
    one = (algorithm is None) != (variant_of is None)
    require(one, "variant_of", variant_of, "give an algorithm, or the name of the one that this is a variant of")
    if ALGORITHMS.is_shipped(name):
        raise ConfigError(f"algorithm '{name}' is taken by {entry(name)}; register it under another name")
    if variant_of is not None:
        changed = _settings.check(settings(variant_of), dict(defaults or {}), variant_of)
        ALGORITHMS.register(name, Variant(base(variant_of), with_defaults(variant_of, changed)))
    else:
        require(not defaults, "defaults", defaults, "are those of a variant; say of which algorithm: variant_of")
        ALGORITHMS.register(name, algorithm if isinstance(algorithm, str) else _settings.parts_of(algorithm))
    if presets:
        from rljax.algos.presets import PRESETS

        for env, preset in presets.items():
            PRESETS.register(f"{name} {env}", preset)


def load(name: str) -> Any:
    """The class of an algorithm, or what else has its `Config`, `Hypers` and `make`.

    Raises:
      ConfigError: a name that is not registered, or a module that cannot be imported or lacks one of these.
    """
    return _settings.parts_of(entry(name))


def base(name: str) -> str:
    """The algorithm of which this one has other defaults, or itself."""
    variant = _variant(name)
    return variant.base if variant else name


def settings(name: str) -> dict[str, _settings.Setting]:
    """Every field of an algorithm, without importing it. Raises ConfigError for a name that is not registered."""
    ALGORITHMS.check(name)
    if _variant(name) is None:
        return _settings.of_algorithm(entry(name))
    return _of_shipped(name) if ALGORITHMS.is_shipped(name) else _of_variant(name)


def _of_variant(name: str) -> dict[str, _settings.Setting]:
    found, defaults = _settings.of_algorithm(entry(name)), with_defaults(name, {})
    if "objective" in defaults:
        found = _settings.with_objective(found, defaults["objective"])
    return {n: s._replace(default=defaults.get(n, s.default)) for n, s in found.items()}


_of_shipped = cache(_of_variant)  # which is asked for every row of a sweep


def with_defaults(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given settings, and the defaults that make the algorithm another one than its base.

    Those of its objective count only if no other is given.
    """
    variant = _variant(name)
    defaults = variant.defaults if variant else {}
    chosen = given.get("objective", defaults.get("objective"))
    if not isinstance(chosen, str) or chosen != defaults.get("objective"):
        defaults = {n: value for n, value in defaults.items() if not n.startswith("objective")}
    return {**defaults, **given}


def entry(name: str) -> Any:
    """Gives the entry of an algorithm, or of its base: an object, or an import path.

    Raises:
      ConfigError: there is none.
    """
    ALGORITHMS.check(name)
    return ALGORITHMS.entry(base(name))


def _variant(name: str) -> Variant | None:
    found = ALGORITHMS.entry(name) if name in ALGORITHMS else None
    return found if isinstance(found, Variant) else None
