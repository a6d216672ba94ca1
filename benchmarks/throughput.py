"""Speed on a CPU: rljax, a hand-written scan and rejax side by side in one run. See README.md.

python benchmarks/throughput.py
python benchmarks/throughput.py --table benchmarks/results/throughput-cpu-2026-11-21.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import startup
from harness import Contestant, header, markdown, peer_python, play, save, say
from workload import CARTPOLE, MATMUL_SIZE, MATMULS, Workload, flops_per_step

CPU = {"JAX_PLATFORMS": "cpu"}
ONE_THREAD = CPU | {"PJRT_NPROC": "1"}
FLOPS = flops_per_step(4, 2, CARTPOLE.settings["hidden"], CARTPOLE.settings["num_epochs"])
RUN, TRAIN, FOLDER = "rljax, one program", "rljax, host loop", "rljax, run folder"
BARE, ONE_SORT = "bare scan", "bare scan, one-sort shuffle"
PEER, PEER_ONE = "rejax", "rejax, one thread"


def contestants(workload: Workload, agents: int, peer: Path | None, timeout: float) -> list[Contestant]:
    """The contestants with this number of agents; the host loop has one agent."""
    common: dict[str, Any] = {"workload": workload, "agents": agents, "timeout": timeout}
    found = [Contestant(RUN, "rljax run", env=CPU, **common)]
    if agents == 0:
        found.append(Contestant(TRAIN, "rljax train", env=CPU, **common))
        found.append(Contestant(FOLDER, "rljax folder", env=CPU, **common))
    found.append(Contestant(BARE, "bare", env=ONE_THREAD, **common))
    found.append(Contestant(ONE_SORT, "bare, one sort", env=ONE_THREAD, **common))
    if peer:
        found.append(Contestant(PEER, "rejax", env=CPU, python=peer, **common))
        found.append(Contestant(PEER_ONE, "rejax", env=ONE_THREAD, python=peer, **common))
    return found


def ratios(records: list[dict[str, Any]], agents: int) -> dict[str, float]:
    """The speed of rljax's one program, as a multiple of each other; medians, where both finished."""
    rate = {r["label"]: r["steps_per_second"]["median"] for r in records if r["agents"] == agents and not r["error"]}
    return {f"{RUN} / {label}": rate[RUN] / rate[label] for label in rate if label != RUN and RUN in rate}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole benchmark as one JSON object."""
    workload = dataclasses.replace(CARTPOLE, steps=CARTPOLE.batch * 4) if options.quick else CARTPOLE
    peer = peer_python() if options.peer else None
    result = header("throughput") | {"workload": dataclasses.asdict(workload), "flops_per_step": FLOPS}
    if options.startup:
        say("start-up")
        result["startup"] = startup.measure(options.repeats)
    yardstick = Contestant("matmul", "matmul", workload, env=ONE_THREAD)
    players = [c for agents in options.agents for c in contestants(workload, agents, peer, options.timeout)]
    play([yardstick, *players], options.repeats)
    records = [c.record() for c in players]
    result["matmul_flops"] = 2 * MATMUL_SIZE**3 * MATMULS / min(yardstick.seconds)
    result["matmul_seconds"] = yardstick.seconds
    result["contestants"] = records
    result["ratios"] = {str(agents): ratios(records, agents) for agents in options.agents}
    result["load_after"] = os.getloadavg()[0]
    return result


def table(result: dict[str, Any]) -> str:
    """A result as Markdown."""
    machine, peak = result["machine"], result["matmul_flops"]
    versions = {
        n: v for r in result["contestants"][::-1] if r["label"] == RUN for n, v in r.get("versions", {}).items()
    }
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; "
        f"{', '.join(f'{n} {v}' for n, v in versions.items())}; {result['date'][:10]}. "
        f"One thread multiplies matrices at {peak / 1e9:.0f} GFLOP/s. "
        f"Load average {result['load_before']:.1f} before, {result['load_after']:.1f} after.",
    ]
    columns = ["contestant", "threads", "k steps/s (min, max)", "cores busy", "matmul rate", "compile s", "peak MB"]
    columns.append("return")
    for agents in dict.fromkeys(r["agents"] for r in result["contestants"]):
        title = "One agent" if agents == 0 else f"{agents} agents, vmapped (steps of all together)"
        rows = [_row(r, peak, result["flops_per_step"]) for r in result["contestants"] if r["agents"] == agents]
        parts += [f"**{title}**", markdown(columns, rows)]
        parts.append(markdown(["ratio of speeds", "times"], [[n, f"{x:.2f}"] for n, x in _ratios(result, agents)]))
    if "startup" in result:
        rows = [[n, f"{t['median']:.2f} ({t['min']:.2f}, {t['max']:.2f})"] for n, t in result["startup"].items()]
        parts += ["**Start-up**", markdown(["what", "seconds (min, max)"], rows)]
    return "\n\n".join(parts)


def _ratios(result: dict[str, Any], agents: int) -> list[tuple[str, float]]:
    return list(result["ratios"][str(agents)].items())


def _row(record: dict[str, Any], peak: float, flops: int) -> list[str]:
    rate = record["steps_per_second"]
    if record["error"] or rate is None:
        return [record["label"], record.get("threads", ""), record["error"] or "", *[""] * 5]
    return [
        record["label"],
        record["threads"],
        f"{rate['median'] / 1e3:.0f} ({rate['min'] / 1e3:.0f}, {rate['max'] / 1e3:.0f})",
        f"{sum(record['cpu_seconds']) / sum(record['seconds']):.2f}",
        f"{rate['median'] * flops / peak:.0%}",
        f"{record['compile_seconds']:.1f}",
        f"{record['peak_memory'] / 1e6:.0f}",
        "" if record["final_return"] is None else f"{record['final_return']:.0f}",
    ]


def main() -> None:
    """Measures, stores the result and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="rounds; medians are reported")
    parser.add_argument("--agents", type=int, nargs="+", default=[0, 4], help="0: one agent, not vmapped")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="install and run rejax")
    parser.add_argument("--startup", action=argparse.BooleanOptionalAction, default=True, help="time the start-up")
    parser.add_argument("--quick", action="store_true", help="4 updates a repeat: to try the script, not to report")
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds after which a contestant counts as hung")
    parser.add_argument("--out", type=Path, help="the JSON; by default results/throughput-cpu-DATE.json")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print this result as Markdown and measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())))
        return
    result = measure(options)
    print(table(result))
    say(f"\n{save(result, options.out, 'cpu')}")


if __name__ == "__main__":
    main()
