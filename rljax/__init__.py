"""rljax: reinforcement learning research in JAX, where a whole sweep or a meta-learned objective is one program.

run = rljax.train("ppo", "CartPole-v1", steps=500_000, seed=0, out="runs/first")
policy = rljax.load("runs/first")
action = policy(obs)
"""

from typing import TYPE_CHECKING, Any

from rljax.runtime import settle as _settle

_settle()  # before jax's CPU client can start

if TYPE_CHECKING:
    from rljax.api import Policy, Run, load, make, resume, train

__all__ = ["Policy", "Run", "load", "make", "resume", "train"]


def __getattr__(name: str) -> Any:  # so that `import rljax` stays quick: jax is imported when something is used
    if name in __all__:
        from rljax import api

        return getattr(api, name)
    raise AttributeError(f"module 'rljax' has no attribute '{name}'")
