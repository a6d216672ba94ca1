"""Speed on an accelerator: rljax alone, from one agent to a thousand. See README.md.

python benchmarks/gpu.py            # everything; the result is rewritten after each case, so a stop loses nothing
python benchmarks/gpu.py --quick    # tiny sizes: to try the script, anywhere
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import Contestant, header, markdown, play, save, say, versions
from workload import CARTPOLE, Workload

from rljax.algos.presets import preset

AGENTS = (1, 16, 256, 2048)  # vmapped
MOST_BREAKOUT = 256
TINY = {"num_envs": 4, "num_steps": 8, "num_minibatches": 2}


def with_preset(env: str, steps: int | None = None) -> Workload:
    """PPO's preset on `env`, by default for the steps of its source."""
    known = preset("ppo", env)
    assert known is not None
    return Workload(env, steps or known.steps, known.settings)


def cases(quick: bool, agents: Sequence[int] = AGENTS) -> list[tuple[Workload, int]]:
    """Workloads with their number of agents, the quick ones first."""
    breakout, ant = with_preset("Breakout-MinAtar", 2**20), with_preset("brax/ant")
    found = [(workload, n) for n in agents for workload in (CARTPOLE, breakout)]
    found = [(workload, n) for workload, n in found if workload is CARTPOLE or n <= MOST_BREAKOUT]
    found.append((ant, 0))
    if quick:
        found = [(w, min(n, 2)) for w, n in found if n <= 64]
        return [(dataclasses.replace(w, steps=64, settings={**w.settings, **TINY}), n) for w, n in found]
    return [(dataclasses.replace(w, steps=2**18), n) if n > 16 else (w, n) for w, n in found]


def table(result: dict[str, Any]) -> str:
    """A result as Markdown."""
    columns = ["environment", "agents", "k steps/s (min, max)", "compile s", "peak GB", "steps an agent", "return"]
    rows = []
    for r in result["contestants"]:
        agents, rate = str(r["agents"]) if r["agents"] else "1, no vmap", r["steps_per_second"]
        if r["error"] or rate is None:
            rows.append([r["env"], agents, r["error"] or "", "", "", "", ""])
            continue
        speed = f"{rate['median'] / 1e3:.0f} ({rate['min'] / 1e3:.0f}, {rate['max'] / 1e3:.0f})"
        size, each = f"{r['peak_memory'] / 1e9:.1f}", f"{r['steps'] // max(1, r['agents']):,}"
        score = "" if r["final_return"] is None else f"{r['final_return']:.4g}"
        rows.append([r["env"], agents, speed, f"{r['compile_seconds']:.0f}", size, each, score])
    first = next((r for r in result["contestants"] if "device" in r), {"device": "nothing ran", "versions": {}})
    return f"{first['device']}; {versions(first)}; {result['date'][:10]}.\n\n{markdown(columns, rows)}"


def main() -> None:
    """Measures, stores the result and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="of each case but ant, which runs once")
    parser.add_argument("--only", default="", help="run the cases whose environment contains this")
    parser.add_argument("--agents", type=int, nargs="+", default=AGENTS, help="how many train together in each case")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to try the script, not to report")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds after which a case counts as hung")
    parser.add_argument("--out", type=Path, help="the JSON; by default results/gpu-PLATFORM-DATE.json")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print this result as Markdown and measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())))
        return
    result = header("gpu") | {"contestants": []}
    for workload, agents in cases(options.quick, options.agents):
        if options.only not in workload.env:
            continue
        case = Contestant(f"{workload.env}, {agents} agents", "rljax run", workload, agents, timeout=options.timeout)
        play([case], 1 if workload.env.startswith("brax/") else options.repeats)
        result["contestants"].append(case.record() | {"settings": workload.settings})
        path = save(result, options.out, case.facts.get("platform", "unknown"))
        say(str(path))
    print(table(result))


if __name__ == "__main__":
    main()
