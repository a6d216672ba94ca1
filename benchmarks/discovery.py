"""Experiments with discovered and learned objectives, at budgets of minutes on two cores. See README.md.

python benchmarks/discovery.py --parts dpo
python benchmarks/discovery.py --parts lpo --work searches/discovery
python benchmarks/discovery.py --table benchmarks/results/discovery-lpo-control-cpu-2026-11-21.json

Searches, sweeps and comparisons are stored in the work folder, so a second start continues where the first was stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import drifts
import rules
from harness import header, markdown, save

PARTS = {
    "dpo": drifts.dpo,
    "lpo": drifts.lpo,
    "lpo-control": drifts.lpo_control,
    "lpo-pendulum": drifts.lpo_pendulum,
    "ta-lpo": drifts.ta_lpo,
    "lpg": rules.lpg,
}
COLUMNS = ("iqm", "mean", "low", "high", "of_best", "gain", "gain_low", "gain_high", "wins")


def tables(result: dict[str, Any]) -> str:
    """Formats a result as text."""
    lines = [f"{result['machine']['cpu']}; {result['date']}.", ""]
    for name in PARTS:
        for entry in result.get(name, {}).get("places", ()):
            table = entry["table"]
            columns = [n for n in COLUMNS if any(n in row for row in table)]
            rows = [[str(row["contender"]), *(_number(row.get(n)) for n in columns)] for row in table]
            lines += [f"**{name}: {entry['env']}, {entry['steps']:,} steps**", "", markdown(["", *columns], rows), ""]
    return "\n".join(lines)


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.4g}"


def main() -> None:
    """Runs the parts, stores the results or prints the tables of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--work", type=Path, default=Path("searches/discovery"), help="what is kept between starts")
    parser.add_argument("--out", type=Path, help="the result; by default in benchmarks/results")
    parser.add_argument("--table", type=Path, help="print the tables of a result, and run nothing")
    options = parser.parse_args()
    if options.table:
        print(tables(json.loads(options.table.read_text())))
        return
    for part in options.parts:
        found = header(f"discovery-{part}") | {part: PARTS[part](options.work)}
        print(save(found, options.out, "cpu"))


if __name__ == "__main__":
    main()
