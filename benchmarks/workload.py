"""The workloads of contestants. Imports nothing, because it is read in environments with and without rljax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MATMUL_SIZE, MATMULS = 2048, 8  # the yardstick: so many products of square float32 matrices of this size


@dataclass(frozen=True)
class Workload:
    """An environment, how long to train on it (steps of each agent), an algorithm, its settings by rljax's names."""

    env: str
    steps: int
    settings: dict[str, Any]
    algo: str = "ppo"

    @property
    def batch(self) -> int:
        return self.settings["num_envs"] * self.settings["num_steps"]

    @property
    def gru_width(self) -> int:
        """The units of its memory, for those who write a GRU by themselves."""
        return int(self.settings["memory"].removeprefix("gru(width=").removesuffix(")"))

    @property
    def updates(self) -> int:
        return -(-self.steps // self.batch)


CARTPOLE = Workload(
    "CartPole-v1",
    2**20,
    {
        "num_envs": 64,
        "num_steps": 128,
        "num_epochs": 4,
        "num_minibatches": 8,
        "hidden": [64, 64],
        "activation": "tanh",
        "lr": 2.5e-4,
        "lr_final": 1.0,  # constant
        "discount": 0.99,
        "gae_lambda": 0.95,
        "entropy_coef": 0.01,
        "value_coef": 0.5,
        "value_clip": 0.2,
        "max_grad_norm": 0.5,
    },
)

RECURRENT = Workload("CartPole-v1", 2**18, CARTPOLE.settings | {"hidden": [128], "memory": "gru(width=128)"})


def flops_per_step(obs_size: int, actions: int, hidden: list[int], epochs: int) -> int:
    """Matrix arithmetic that one environment step of PPO needs, two operations to a multiply and add.

    A rollout pass of both networks, a critic pass on the successor, and in each epoch a forward and a backward pass;
    the backward pass is two forward passes, less the gradient with respect to the observation.
    """
    torso = sum(a * b for a, b in zip([obs_size, *hidden], hidden))
    actor, critic = torso + hidden[-1] * actions, torso + hidden[-1]
    learn = 3 * (actor + critic) - 2 * obs_size * hidden[0]
    return 2 * (actor + critic + critic + epochs * learn)
