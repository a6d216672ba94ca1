"""Measures what a massive sweep costs beside its training: plans, files, storing, resuming, reports, and long plots.

    python benchmarks/scale.py                    every part, each in a process of its own
    python benchmarks/scale.py plan-one plot      these parts
    python benchmarks/scale.py runs --scale 0.1   a tenth of the size

Prints a line of JSON a part: seconds, and the most memory that its process took in megabytes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {"num_envs": 2, "num_steps": 16, "num_epochs": 1, "num_minibatches": 1, "hidden": (8,)}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a call takes, and its result."""
    began = time.perf_counter()
    result = call()
    return round(time.perf_counter() - began, 2), result


def plan(grid: dict[str, str], seeds: int) -> dict[str, float]:
    """Plans a sweep of PPO over a grid, without running it."""
    from rljax.sweeps import planning, spec

    def make() -> Any:
        asked = spec.specify("ppo", "CartPole-v1", 1024, seeds, grid=grid, **TINY)
        return planning.make_plan(asked, width=1)

    seconds, made = timed(make)
    return {"rows": len(made.sweep.rows), "runs": len(made.sweep.rows) * seeds, "plan": seconds}


def plan_one(scale: float) -> dict[str, float]:
    """A plan of 20,000 rows of one field."""
    return plan({"lr": f"log:1e-5:1e-1:{int(20_000 * scale)}"}, 1)


def plan_two(scale: float) -> dict[str, float]:
    """A plan of 200 x 100 rows of two fields."""
    return plan({"lr": f"log:1e-5:1e-1:{int(200 * scale)}", "discount": "linear:0.9:0.99:100"}, 1)


def plan_many(scale: float) -> dict[str, float]:
    """A plan of 100,000 runs with one seed each."""
    return plan({"lr": f"log:1e-5:1e-1:{int(1000 * scale)}", "discount": "linear:0.9:0.99:100"}, 1)


def runs(scale: float) -> dict[str, float]:
    """2,000 tiny runs in this process: the sweep, storing, files, resuming it when finished, and its report."""
    from rljax.sweeps import driver, report, result, store

    spent, add = [0.0], store.Writer.add

    def counted(*given: Any) -> None:
        began = time.perf_counter()
        add(*given)
        spent[0] += time.perf_counter() - began

    grid = {"lr": f"log:1e-5:1e-1:{int(200 * scale)}", "discount": "linear:0.9:0.99:10"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "a"

        def sweep() -> Any:
            how = {"out": out, "workers": 1, "width": 1, "progress": False}
            return driver.sweep("ppo", "CartPole-v1", 1024, 1, grid=grid, **how, **TINY)

        store.Writer.add = counted  # pyright: ignore[reportAttributeAccessIssue]
        swept, _ = timed(sweep)
        store.Writer.add = add
        files = sum(len(names) for *_, names in os.walk(out))
        resumed, _ = timed(sweep)
        loaded, found = timed(lambda: result.load(out))
        reported, _ = timed(lambda: report.write_report(found))
    found = {"runs": len(found), "files": files, "sweep": swept, "storing": round(spent[0], 2)}
    return found | {"resume": resumed, "load": loaded, "report": reported}


def handing(scale: float) -> dict[str, float]:
    """2,000 tiny runs in two processes: the CPU time of dealing them out, beside that of the processes."""
    from rljax.engine.pool import Pool
    from rljax.sweeps import driver

    spent, deal = [0.0], Pool.run

    def counted(*given: Any) -> None:
        began = time.process_time()
        deal(*given)
        spent[0] += time.process_time() - began

    grid = {"lr": f"log:1e-5:1e-1:{int(200 * scale)}", "discount": "linear:0.9:0.99:10"}
    Pool.run = counted  # pyright: ignore[reportAttributeAccessIssue]
    with tempfile.TemporaryDirectory() as folder:
        how = {"out": Path(folder) / "a", "workers": 2, "width": 1, "progress": False}
        swept, found = timed(lambda: driver.sweep("ppo", "CartPole-v1", 1024, 1, grid=grid, **how, **TINY))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"runs": len(found), "sweep": swept, "dealing": round(spent[0], 2), "workers": used.ru_utime + used.ru_stime}


def plot(scale: float) -> dict[str, float]:
    """The plot of a run with 10^6 rows of 13 numbers."""
    import numpy as np

    from rljax.results import plots

    names = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "explained_variance", "grad_norm")
    rng, rows = np.random.default_rng(0), int(10**6 * scale)
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "metrics.jsonl").open("w") as file:
            for i in range(1, rows + 1):
                x = rng.standard_normal(len(names) + 2).tolist()
                row = {"step": 8192 * i, "updates": i, "seconds": i / 81, "episode_return": x[-1] if i % 7 else None}
                row |= {"episode_length": x[-2], "episodes": i % 9, **dict(zip(names, x))}
                file.write(json.dumps(row) + "\n")
        seconds, _ = timed(lambda: plots.plot_runs([folder], Path(folder) / "plot.png"))
    return {"rows": rows, "plot": seconds}


PARTS = {
    "plan-one": plan_one,
    "plan-two": plan_two,
    "plan-many": plan_many,
    "runs": runs,
    "handing": handing,
    "plot": plot,
}


def main() -> None:
    """Runs one part here, or several in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    if len(given.parts) == 1:
        found = PARTS[given.parts[0]](given.scale)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
        print(json.dumps({"part": given.parts[0], **found, "megabytes": most}), flush=True)
        return
    for part in given.parts or PARTS:
        subprocess.run([sys.executable, __file__, part, "--scale", str(given.scale)], check=True)


if __name__ == "__main__":
    main()
