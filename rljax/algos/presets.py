"""Settings known to work, by algorithm and environment, each with its source. Plain data: imports nothing heavy."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from rljax.algos import base
from rljax.registry import Registry


class Preset(NamedTuple):
    """Known-good settings."""

    steps: int  # environment steps of the source's run
    settings: dict[str, Any]
    source: str


_CLASSIC = "PureJaxRL, ppo.py"
_MINATAR = "PureJaxRL, the MinAtar configuration; learning rate by game: Goldie et al. 2025, arXiv:2507.17668"
_BRAX = "PureJaxRL, ppo_continuous_action.py"

_minatar: dict[str, Any] = {
    "num_envs": 64,
    "num_steps": 128,
    "num_epochs": 4,
    "num_minibatches": 8,
    "activation": "relu",
    "lr": 5e-3,
}
_pendulum: dict[str, Any] = {
    "num_envs": 16,
    "num_steps": 128,
    "num_epochs": 10,
    "num_minibatches": 32,
    "lr": 1e-3,
    "discount": 0.95,
    "entropy_coef": 0.0,
    "value_clip": float("inf"),
}
_brax: dict[str, Any] = {
    "num_envs": 2048,
    "num_steps": 10,
    "num_epochs": 4,
    "num_minibatches": 32,
    "hidden": (256, 256),
    "lr": 3e-4,
    "lr_final": 1.0,
    "entropy_coef": 0.0,
    "normalize_obs": True,
    "normalize_reward": True,
}
_replay: dict[str, Any] = {
    "num_envs": 8,
    "num_steps": 32,
    "gradient_steps": 128,
    "batch_size": 64,
    "n_step": 5,
    "lr": 1e-3,
    "lr_final": 0.0,
    "target_period": 256.0,
    "exploration_fraction": 0.16,
}
_grid: dict[str, Any] = {
    "num_envs": 64,
    "num_steps": 128,
    "num_epochs": 4,
    "num_minibatches": 8,
    "lr": 1e-3,
    "entropy_coef": 0.01,
}
_craftax: dict[str, Any] = {
    "num_envs": 64,
    "num_steps": 64,
    "num_epochs": 4,
    "num_minibatches": 8,
    "hidden": (256, 256),
    "lr": 1e-3,
    "entropy_coef": 0.01,
}
_small: dict[str, Any] = {"hidden": (64, 64), "batch_size": 128, "lr": 1e-3}
_catch: dict[str, Any] = {"best_episodes": 100, "command_episodes": 50, "return_scale": 1.0}

PRESETS: Registry[Preset] = Registry(  # by algorithm and environment, or a pattern of names of environments
    "preset",
    {
        "ppo CartPole-v1": Preset(500_000, {}, _CLASSIC),
        "ppo Pendulum-v1": Preset(200_000, _pendulum, "found here: 8 seeds end at returns of -162 to -188, mean -174"),
        "ppo Breakout-MinAtar": Preset(10_000_000, {**_minatar, "lr": 1e-2}, _MINATAR),
        "ppo Asterix-MinAtar": Preset(10_000_000, {**_minatar, "lr": 3e-3}, _MINATAR),
        "ppo Freeway-MinAtar": Preset(10_000_000, {**_minatar, "lr": 1e-3}, _MINATAR),
        "ppo SpaceInvaders-MinAtar": Preset(10_000_000, {**_minatar, "lr": 7e-3}, _MINATAR),
        "ppo *-MinAtar": Preset(10_000_000, _minatar, _MINATAR),
        "ppo brax/*": Preset(50_000_000, _brax, _BRAX),
        "ppo navix/Empty-8x8": Preset(300_000, _grid, "found here: 4 seeds evaluate to 1"),
        "ppo navix/DoorKey-5x5": Preset(1_000_000, _grid, "found here: 4 seeds evaluate to 1"),
        "ppo xminigrid/Empty-8x8": Preset(300_000, _grid, "found here: 4 seeds evaluate to 0.958 to 0.961, mean 0.960"),
        "ppo xminigrid/DoorKey-5x5": Preset(
            1_000_000, _grid, "found here: 4 seeds evaluate to 0.964 to 0.966, mean 0.965"
        ),
        "ppo craftax/classic-symbolic": Preset(
            1_000_000, _craftax, "found here: 4 seeds evaluate to 5.4 to 6.1, mean 5.6, of 22 achievements"
        ),
        "dqn CartPole-v1": Preset(100_000, _replay, "found here: 8 seeds end at returns of 500"),
        "dqn Catch-bsuite": Preset(50_000, {**_replay, "n_step": 3}, "found here: 8 seeds end at returns of 1"),
        "pqn CartPole-v1": Preset(500_000, {}, "found here: 8 seeds end at returns of 490 to 500, mean 499"),
        "sac Pendulum-v1": Preset(20_000, _small, "found here: 8 seeds end at returns of -157 to -154, mean -155"),
        "sac brax/reacher/spring": Preset(
            20_000, _small, "found here: 4 seeds end at returns of -138 to -122, mean -131"
        ),
        "td3 Pendulum-v1": Preset(
            20_000, {**_small, "critic_lr": 1e-3}, "found here: 8 seeds end at returns of -167 to -154, mean -159"
        ),
        "udrl CartPole-v1": Preset(100_000, {"segments": "any"}, "found here: 8 seeds end at returns of 500"),
        "udrl Catch-bsuite": Preset(50_000, _catch, "found here: 8 seeds end at returns of 1"),
        "revalued Pendulum-v1": Preset(30_000, _small, "found here: 8 seeds end at returns of -185 to -156, mean -163"),
    },
    "rljax list presets",
)


def preset(algo: str, env: str) -> Preset | None:
    """The preset of an algorithm on an environment: by its exact name, else by a pattern, else None.

    An algorithm that is another one with other defaults has the presets of that one, unless it has some of its own.
    """
    algo = algo if any(name.split()[0] == algo for name in PRESETS) else base(algo)
    patterns = [name.removeprefix(f"{algo} ") for name in PRESETS if name.split()[0] == algo]
    found = env if env in patterns else next((p for p in patterns if fnmatchcase(env, p)), None)
    return None if found is None else PRESETS.load(f"{algo} {found}")
