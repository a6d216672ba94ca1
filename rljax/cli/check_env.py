"""`rljax check-env`: plays an environment and compares what it gives with what it declares."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from tyro.conf import Positional

from rljax import envs
from rljax.arguments import SEED, SOME


@dataclasses.dataclass(frozen=True)
class CheckEnv:
    """Check an environment: its spaces, shapes and dtypes, then its results in some random steps.

    Args:
      env: its name.
      steps: how many steps to play.
      seed: of the steps.
    """

    env: Positional[str]
    steps: Annotated[int, SOME] = 400
    seed: Annotated[int, SEED] = 0

    def __call__(self) -> int:
        envs.accept(self.env)
        from rljax.envs import trial

        env, faults = envs.check(self.env), 0
        print(f"ok     declares and gives the same shapes, dtypes and order of results ({env.name})")
        for found in trial.findings(env, self.steps, self.seed):
            faults += bool(found.fault)
            more = "; ".join(x for x in (found.fault, found.note) if x)
            print(f"{'WRONG' if found.fault else 'ok':6} {found.what}{': ' * bool(more)}{more}", flush=True)
        return 2 if faults else 0
