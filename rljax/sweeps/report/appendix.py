"""The end of a sweep's report: how it was run, and how its numbers were made."""

from __future__ import annotations

from itertools import chain
from typing import Any

from rljax.parts import of_record
from rljax.sweeps.report.page import Html, count, folded, join, pairs, tag
from rljax.sweeps.report.view import View
from rljax.sweeps.result import LAST, SweepResult


def how(result: SweepResult) -> Html:
    """The section that says how a sweep was run: command, settings of all rows, groups, machine and versions."""
    record, asked = result.record, result.record.get("asked", {})
    rows = (record["rows"][i] for i in result.index)
    every = [{"steps": row.get("steps"), **of_record(row), **row.get("env_args", {})} for row in rows]
    columns = {name: [settings.get(name) for settings in every] for name in dict.fromkeys(chain(*every))}
    fixed = {name: values[0] for name, values in columns.items() if all(value == values[0] for value in values)}
    facts = {"seeds": ", ".join(map(str, result.seeds)), **asked.get("search", {})}
    facts |= {name: record.get(name) for name in ("workers", "devices", "log_every", "created")}
    facts |= {"differ with what is swept": ", ".join(name for name in columns if name not in {*fixed, *result.varied})}
    drawn = {n: f"{d['kind']} {d.get('options') or [d['low'], d['high']]}" for n, d in asked.get("sample", {}).items()}
    drawn |= {name: asked.get(name) for name in ("trials", "sample_seed")} if drawn else {}
    blocks = {"Run": facts, "Swept": asked.get("grid", {}) | drawn, "Fixed settings": fixed | asked.get("fixed", {})}
    machine = dict(record.get("machine", {}))
    blocks |= {"Versions": machine.pop("versions", {}), "Machine": machine}
    return join(
        record.get("command") and join(tag("p", "To repeat it:"), tag("pre", record["command"])),
        *(join(tag("h3", name), pairs(block)) for name, block in blocks.items() if block),
        join(tag("h3", "Plan"), folded("ul", [tag("li", _group(group)) for group in record.get("plan", [])])),
    )


def _group(group: dict[str, Any]) -> str:
    size, (width, start, end) = len(group.get("rows", [])), (group.get(x, "?") for x in ("width", "start", "updates"))
    return f"{count(size, 'setting')}, {width} side by side, updates {start} to {end}; {group.get('why', '')}"


def statistics(view: View) -> Html:
    """The section that says how scores, intervals, and which fields matter, are computed."""
    said = (
        f"The score of a run is its {view.title} over the last {LAST:.0%} of training. The score of a setting is the "
        "interquartile mean over its seeds (the mean of the middle half; of fewer than four seeds, the mean).",
        "Intervals are percentile bootstraps over seeds, of 2000 resamples, and 500 for curves, pointwise. "
        "A difference from the best is the interquartile mean over the seeds that both have, run by run, with its "
        "bootstrap interval; where that reaches 0, the two are not told apart.",
        "The best of many settings is in part the luckiest, and its score will fall if it is run with new seeds; the "
        "comparisons are not corrected for their number. Fewer than six seeds cannot tell two settings apart at 95%.",
        "Which fields matter: an additive model, of a curve through the ranks of an ordered field and a mean for each "
        "value of another. Fields are taken one after the other while permutations of what is left seldom (5%) do as "
        "well with the best of all fields. A setting of which all runs diverged counts as the worst. Fields that only "
        "matter together are not found.",
        "Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS.",
    )
    return join(*(tag("p", text) for text in said))
