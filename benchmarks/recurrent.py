"""Speed of agents with a memory: beside two others, and by the length of sequences. See README.md.

python benchmarks/recurrent.py             # one core; on an accelerator: --accelerator
python benchmarks/recurrent.py --quick     # tiny: tries the script, measures nothing
python benchmarks/recurrent.py --table benchmarks/results/recurrent-cpu-2026-11-27.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from harness import Contestant, header, markdown, peer_python, play, save, say
from workload import CARTPOLE, RECURRENT, Workload

ONE_CORE = {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": "1"}
RUN, BARE, PEER, WITHOUT = "rljax, gru", "bare scan, GRU", "memorax, GRU", "rljax, none"
MEMORIES = {
    "GRU": "gru(width={width})",
    "S5, loop": "s5(width={width},layers=1,states={width},scan='loop')",
    "S5, tree": "s5(width={width},layers=1,states={width},scan='tree')",
    "S5, 4 layers": "s5(width={width},layers=4,states={width})",
}
LENGTHS = (64, 256, 1024, 4096)


def agents(options: argparse.Namespace) -> list[Contestant]:
    """Recurrent PPO three times, and PPO without a memory."""
    plain = dataclasses.replace(CARTPOLE, steps=RECURRENT.steps, settings=RECURRENT.settings | {"memory": "none"})
    named = [(RUN, "rljax run", RECURRENT), (BARE, "bare recurrent", RECURRENT), (WITHOUT, "rljax run", plain)]
    given: dict[str, Any] = {"env": {} if options.accelerator else ONE_CORE, "timeout": options.timeout}
    found = [Contestant(label, name, shorter(work, options), **given) for label, name, work in named]
    if options.peer:
        python = peer_python("memorax")
        found.append(Contestant(PEER, "memorax", shorter(RECURRENT, options), python=python, **given))
    return found


def shorter(workload: Workload, options: argparse.Namespace) -> Workload:
    """Two updates of it, to try the script."""
    return dataclasses.replace(workload, steps=2 * workload.batch) if options.quick else workload


def unrolls(length: int, options: argparse.Namespace) -> list[Contestant]:
    """Every memory on sequences of this length, of one batch size and width."""
    shape = {"num_steps": length, "num_envs": options.batch}
    steps = length * options.batch if options.quick else max(2**19, 4 * length * options.batch)
    given: dict[str, Any] = {"env": {} if options.accelerator else ONE_CORE, "timeout": options.timeout}
    return [
        Contestant(label, "unroll", Workload("", steps, shape | {"memory": text.format(width=options.width)}), **given)
        for label, text in MEMORIES.items()
    ]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything as one JSON object."""
    result = header("recurrent") | {"workload": dataclasses.asdict(RECURRENT), "unrolls": {}}
    result |= {"batch": options.batch, "width": options.width}
    players = agents(options)
    play(players, options.repeats)
    result["contestants"] = [c.record() for c in players]
    for length in options.lengths:
        say(f"sequences of {length} steps")
        players = unrolls(length, options)
        play(players, options.repeats)
        result["unrolls"][str(length)] = [c.record() for c in players]
    result["load_after"] = os.getloadavg()[0]
    return result


def table(result: dict[str, Any]) -> str:
    """A result as Markdown."""
    first = next(r for r in result["contestants"] if r["label"] == RUN)
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    where = result["machine"]["cpu"] if first["platform"] == "cpu" else first["device"]
    parts = [f"{where}; {versions}; {result['date'][:10]}.", _agents(result["contestants"])]
    return "\n\n".join(parts + (_unrolled(result) if result["unrolls"] else []))


def _agents(records: list[dict[str, Any]]) -> str:
    ours = next(r for r in records if r["label"] == RUN)["steps_per_second"]["median"]
    rows = []
    for r in records:
        speed = r["steps_per_second"]
        if speed is None:
            rows.append([r["label"], r["error"], "", "", ""])
            continue
        shown = f"{speed['median'] / 1e3:.1f} ({speed['min'] / 1e3:.1f}, {speed['max'] / 1e3:.1f})"
        score = "" if r["final_return"] is None else f"{r['final_return']:.0f}"
        rows.append([r["label"], shown, f"{ours / speed['median']:.2f}", f"{r['compile_seconds']:.1f}", score])
    return markdown(["agent", "k steps/s (min, max)", "rljax is faster by", "compile s", "return"], rows)


def _unrolled(result: dict[str, Any]) -> list[str]:
    records, rows = list(result["unrolls"].values()), []
    for length, found in result["unrolls"].items():
        times = {r["label"]: min(r["seconds"]) / r["steps"] * 1e9 for r in found if r["seconds"]}
        compiled = {r["label"]: r["compile_seconds"] for r in found}
        cells = [f"{x:.0f} ({times['GRU'] / x:.2f}; {compiled[label]:.1f})" for label, x in times.items()]
        rows.append([length, *cells])
    sizes = ", ".join(f"{r['label']} {r['final_return']:,.0f}" for r in records[0])
    text = (
        f"Forwards and backwards through a memory of width {result['width']}, a batch of {result['batch']} sequences:"
        " nanoseconds for a step of one of them, the least of the repeats (times as fast as the GRU; seconds to"
        f" compile). Parameters: {sizes}."
    )
    return [text, markdown(["length", *(r["label"] for r in records[0])], rows)]


def main() -> None:
    """Measures, stores the result and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="install and run memorax")
    parser.add_argument("--accelerator", action="store_true", help="do not keep to one core of a CPU")
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())))
        return
    result = measure(options)
    save(result, options.out, "accelerator" if options.accelerator else "cpu")
    print(table(result))


if __name__ == "__main__":
    main()
