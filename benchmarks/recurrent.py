"""Speed of agents with a memory: beside two others, and by the length of sequences. See README.md.

python benchmarks/recurrent.py             # one core; on an accelerator: --accelerator
python benchmarks/recurrent.py --quick     # tiny: tries the script, measures nothing
python benchmarks/recurrent.py --table benchmarks/results/recurrent-cpu-DATE.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from harness import Contestant, header, markdown, peer_python, play, save, say, versions
from workload import RECURRENT, Workload

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
    remembering = dataclasses.replace(RECURRENT, steps=2 * RECURRENT.batch) if options.quick else RECURRENT
    without = dataclasses.replace(remembering, settings=remembering.settings | {"memory": "none"})
    where = conditions(options)
    found = [
        Contestant(RUN, "rljax run", remembering, **where),
        Contestant(BARE, "bare recurrent", remembering, **where),
        Contestant(WITHOUT, "rljax run", without, **where),
    ]
    if options.peer:
        found.append(Contestant(PEER, "memorax", remembering, python=peer_python("memorax"), **where))
    return found


def conditions(options: argparse.Namespace) -> dict[str, Any]:
    """One core, or the accelerator, and how long a contestant may take."""
    return {"env": {} if options.accelerator else ONE_CORE, "timeout": options.timeout}


def unrolls(length: int, options: argparse.Namespace) -> list[Contestant]:
    """Every memory on sequences of this length, of one batch size and width."""
    shape = {"num_steps": length, "num_envs": options.batch}
    steps = length * options.batch if options.quick else max(2**19, 4 * length * options.batch)
    memories = {label: text.format(width=options.width) for label, text in MEMORIES.items()}
    return [
        Contestant(label, "unroll", Workload("", steps, shape | {"memory": memory}), **conditions(options))
        for label, memory in memories.items()
    ]


def size_noted(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a memory alone, whose score is how many parameters it has."""
    rest = {name: x for name, x in record.items() if name not in ("returns", "final_return")}
    return rest | {"parameters": record["final_return"]}


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
        result["unrolls"][str(length)] = [size_noted(c.record()) for c in players]
    result["load_after"] = os.getloadavg()[0]
    return result


def table(result: dict[str, Any]) -> str:
    """A result as Markdown."""
    first = next(r for r in result["contestants"] if r["label"] == RUN)
    where = result["machine"]["cpu"] if first["platform"] == "cpu" else first["device"]
    parts = [f"{where}; {versions(first)}; {result['date'][:10]}.", _agents(result["contestants"])]
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
    rows, first = [], next(iter(result["unrolls"].values()))
    for length, records in result["unrolls"].items():
        gru = next(_nanoseconds(r) for r in records if r["label"] == "GRU")
        rows.append([length, *(_cell(r, gru) for r in records)])
    sizes = ", ".join(f"{r['label']} {r['parameters']:,.0f}" for r in first if r["parameters"])
    text = (
        f"Forwards and backwards through a memory of width {result['width']}, a batch of {result['batch']} sequences:"
        " nanoseconds for a step of one of them, the least of the repeats (times as fast as the GRU; seconds to"
        f" compile). Parameters: {sizes}."
    )
    return [text, markdown(["length", *(r["label"] for r in first)], rows)]


def _nanoseconds(record: dict[str, Any]) -> float:
    return min(record["seconds"], default=float("nan")) / record["steps"] * 1e9


def _cell(record: dict[str, Any], gru: float) -> str:
    if record["error"]:
        return record["error"]
    return f"{_nanoseconds(record):.0f} ({gru / _nanoseconds(record):.2f}; {record['compile_seconds']:.1f})"


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
