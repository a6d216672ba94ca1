"""The cost of evolution: one generation beside the same runs as a plain sweep. See README.md.

python benchmarks/evolution.py
python benchmarks/evolution.py --table benchmarks/results/evolution-cpu-2026-11-21.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import header, save
from workload import CARTPOLE

from rljax.engine.pool import Pool
from rljax.meta import evolve, registry, spec
from rljax.meta.runner import Runner
from rljax.sweeps import planning
from rljax.sweeps.execute import SweepJob, shards_of
from rljax.sweeps.spec import specify

STEPS, POPSIZE = 2**16, 32


def generations(folder: Path, settings: dict[str, Any], runner_of: Callable[[Runner], Runner]) -> Callable[[int], None]:
    """Runs one generation after the other."""
    domain = spec.domain("ppo", CARTPOLE.env, STEPS, use_preset=False, **settings)
    strategy = registry.strategy(popsize=POPSIZE)
    asked = evolve.Evolution(domains=(domain,), learn=evolve.DRIFT, generations=1, strategy=strategy)
    prepared = asked.prepare()
    runner = runner_of(Runner(asked.domains, prepared, asked.members, folder, "", learn=asked.learn, width=1))
    learner, state = asked.learner(prepared, runner), asked.begin(prepared, asked.start(prepared))

    def go(number: int) -> None:
        assert learner.generation(state, number, lambda report: None, lambda: False)

    return go


def sweeps(folder: Path, settings: dict[str, Any], pool_of: Callable[[Pool], Pool]) -> Callable[[int], None]:
    """Runs a sweep with as many runs, again and again."""
    asked: Any = specify("ppo", CARTPOLE.env, STEPS, POPSIZE, use_preset=False, **settings)
    planned = planning.make_plan(asked, width=1)
    processes = pool_of(Pool(planned.machine.workers, folder, ""))

    def go(number: int) -> None:
        job = SweepJob(planned.programs, planned.groups, folder / str(number))
        shards = shards_of(planned.groups, planned.sweep.seeds)
        processes.run(job, shards, lambda report: None, lambda: False)

    return go


def measure(rounds: int) -> dict[str, Any]:
    """Measures generations and sweeps in turn, with warm processes."""
    settings = {n: tuple(v) if isinstance(v, list) else v for n, v in CARTPOLE.settings.items()}
    settings["objective"] = "lpo"
    seconds: dict[str, list[float]] = {"generation": [], "sweep": []}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        players = {
            "generation": generations(folder / "a", settings, stack.enter_context),
            "sweep": sweeps(folder / "b", settings, stack.enter_context),
        }
        for number in range(1 + rounds):  # the first round starts processes and compiles
            for name, go in players.items():
                began = time.perf_counter()
                go(number)
                if number > 0:
                    seconds[name].append(time.perf_counter() - began)
    ratio = float(np.median(seconds["generation"]) / np.median(seconds["sweep"]))
    return {"steps": STEPS, "popsize": POPSIZE, "seconds": seconds, "ratio": ratio}


def table(result: dict[str, Any]) -> str:
    """A result as text."""
    one, other = (f"{np.median(result['seconds'][name]):.1f} s" for name in ("generation", "sweep"))
    machine = f"{result['machine']['cpu']}, {result['machine']['cores']} cores; {result['date'][:10]}."
    runs = f"{result['popsize']} runs of {result['steps']:,} steps"
    return f"{machine} {runs}: {one} as a generation, {other} as a plain sweep, {result['ratio']:.2f} times as long."


def main() -> None:
    """Measures, stores the result and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the result; by default in benchmarks/results")
    parser.add_argument("--table", type=Path, help="print a result, and run nothing")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())))
        return
    found = header("evolution") | measure(options.rounds)
    print(save(found, options.out, "cpu"))
    print(table(found))


if __name__ == "__main__":
    main()
