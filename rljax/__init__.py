"""rljax: reinforcement learning research in JAX, where a whole sweep or a meta-learned objective is one program.

run = rljax.train("ppo", "CartPole-v1", steps=500_000, seed=0, out="runs/first")
policy = rljax.load("runs/first")
action = policy(obs)

result = rljax.sweep("ppo", "CartPole-v1", seeds=16, grid={"lr": [1e-4, 3e-4, 1e-3]}, out="sweeps/lr")
print(result)
"""

from typing import TYPE_CHECKING, Any

from rljax.runtime import settle as _settle

__version__ = "0.2.0"

_settle()  # before jax's CPU client can start

if TYPE_CHECKING:
    from rljax import algos, deploy, envs, objectives, plugins
    from rljax.api import Policy, Run, load, make, resume, train
    from rljax.folders import open
    from rljax.meta.compare import compare
    from rljax.meta.descend import descend
    from rljax.meta.evolve import evolve
    from rljax.meta.spec import domain
    from rljax.spec import RunSpec
    from rljax.sweeps.driver import sweep
    from rljax.sweeps.merging import merge
    from rljax.sweeps.result import SweepResult
    from rljax.sweeps.result import load as load_sweep

__all__ = [
    "Policy",
    "Run",
    "RunSpec",
    "SweepResult",
    "algos",
    "compare",
    "deploy",
    "descend",
    "domain",
    "envs",
    "evolve",
    "load",
    "load_sweep",
    "make",
    "merge",
    "objectives",
    "open",
    "plugins",
    "resume",
    "sweep",
    "train",
]

_ROOMS = ("algos", "deploy", "envs", "objectives", "plugins")  # packages that one reaches without importing them
_ELSEWHERE = {  # what is not in rljax.api
    "RunSpec": ("rljax.spec", "RunSpec"),
    "SweepResult": ("rljax.sweeps.result", "SweepResult"),
    "compare": ("rljax.meta.compare", "compare"),
    "descend": ("rljax.meta.descend", "descend"),
    "domain": ("rljax.meta.spec", "domain"),
    "evolve": ("rljax.meta.evolve", "evolve"),
    "merge": ("rljax.sweeps.merging", "merge"),
    "open": ("rljax.folders", "open"),
    "load_sweep": ("rljax.sweeps.result", "load"),
    "sweep": ("rljax.sweeps.driver", "sweep"),
}


def __getattr__(name: str) -> Any:  # so that `import rljax` stays quick: jax is imported when something is used
    if name in __all__:
        import importlib

        if name in _ROOMS:
            return importlib.import_module(f"rljax.{name}")
        module, attribute = _ELSEWHERE.get(name, ("rljax.api", name))
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'rljax' has no attribute '{name}'")
