"""A sweep as one page: what came of it, how sure that is, and how to repeat it."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np

from rljax.log import compact
from rljax.results.folder import SWEEP
from rljax.storage import replacing
from rljax.sweeps import figures
from rljax.sweeps.figures import TOP, Field, View
from rljax.sweeps.result import LAST, SCORE, SweepResult

OPEN = 20  # rows of the ranking that are not folded away
PAIRS = 6  # interactions that are drawn
SEEDS = 6  # from how many seeds on a 95% interval is one

STYLE = """
body { margin: 0 auto; padding: 1.6rem 1.2rem 4rem; max-width: 76rem; background: #fff; color: #1b1b1b;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem } h3 { font-size: 1rem; margin: 1.4rem 0 .3rem }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .7rem; border-top: 1px solid #ddd; break-after: avoid }
p, ul { max-width: 46rem; margin: .4rem 0 .8rem } .lead { font-size: 1.15rem } * { box-sizing: border-box }
a, summary { color: #0059a0 } summary { cursor: pointer; padding: .5rem 0 }
nav { margin: 1rem 0; line-height: 1.9 } nav a { margin-right: 1.3em; white-space: nowrap }
.note, .faint, figcaption { color: #595959; font-size: .88rem } .good { color: #00694c; font-weight: 600 }
.warn { border-left: 4px solid #d55e00; background: #fdf1e9; padding: .5rem .9rem; margin: .6rem 0 }
.field { display: inline-block; margin-right: .75em; text-indent: 0; overflow-wrap: break-word }
table { width: 100%; border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th { text-align: left; font-size: .82rem; color: #595959 } tr { break-inside: avoid }
th, td { padding: .28rem 1.1rem .28rem 0; border-bottom: 1px solid #eee; vertical-align: top }
.n { text-align: right; white-space: nowrap } .ends { display: inline-block; min-width: 10em; margin-left: .9em }
.whisker { position: relative; display: block; min-width: 9rem; height: 1.4rem; print-color-adjust: exact;
  background: linear-gradient(#e4e4e4, #e4e4e4) center / 100% 1px no-repeat } .whisker * { position: absolute }
.whisker i { top: calc(50% - 1.5px); height: 3px; min-width: 1px; background: #0072b2 }
.whisker b { top: calc(50% - 3.5px); width: 7px; height: 7px; margin-left: -3px; border-radius: 4px; background: #024 }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); gap: 1.2rem 1.8rem }
.beside { display: flex; flex-wrap: wrap; gap: .5rem 2rem } .beside figure { flex: 0 1 42rem }
figure { margin: .4rem 0; max-width: 42rem; break-inside: avoid } img { display: block; width: 100%; height: auto }
ol { list-style: none; padding: 0; margin: .6rem 0; font-size: .92rem } .beside ol { flex: 1 1 9rem }
ol li { padding: .12rem 0 .12rem 2.8rem; text-indent: -2.8rem } svg { width: 2.2rem; height: .7em; margin-right: .6rem }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 0 2rem; margin: 0 }
dl div { display: flex; justify-content: space-between; gap: 1rem; border-bottom: 1px solid #eee; padding: .2rem 0 }
dt { color: #595959 } dt, dd { font-size: .92rem } dd { margin: 0; text-align: right; overflow-wrap: anywhere }
pre { background: #f5f5f5; padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all }
@media (max-width: 44rem) { body { padding: 1rem .8rem 3rem; font-size: 15px }
  .wide, th:last-child { display: none } .ends { display: block; margin: 0 } table, tbody { display: block }
  tr { display: grid; grid-template-columns: 2rem 1fr auto; border-bottom: 1px solid #eee; padding: .2rem 0 }
  th, td { border: 0; padding: .1rem .6rem .1rem 0 } td:last-child { grid-column: 2 / -1 } }
@media print { html { font-size: 11px } body { max-width: none; padding: 0; font-size: 1rem } nav { display: none } }
"""


class Html(str):
    """Markup. All other text is escaped where it is put into an element."""


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element. What is None is left out; the attribute `class` is written `cls`."""
    named = {"class" if key == "cls" else key: value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{html.escape(str(value))}"' for key, value in named.items())
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*parts: object) -> Html:
    """Parts one after the other, those that are not markup escaped; None is left out."""
    return Html("".join(p if isinstance(p, Html) else html.escape(str(p)) for p in parts if p is not None))


def write_report(result: SweepResult, out: Path | None = None) -> Path:
    """Writes all there is to say of a sweep as one self-contained HTML page.

    Args:
      result: the sweep, finished or not.
      out: the page; by default `report.html` in the sweep's folder.

    Returns:
      The page's path.

    Raises:
      StorageError: it cannot be written.
    """
    out = Path(out or result.folder / "report.html")
    metric = result.record.get("asked", {}).get("search", {}).get("metric", SCORE)
    whole, views = View(result, metric), {env: View(part, metric) for env, part in _by_env(result)}
    sections = {"Summary": _summary(result, views)}
    for env, view in views.items():
        of = f": {env}" if len(views) > 1 else ""
        parts = {"Ranking" if len(view.result) > 1 else "Scores": _ranking, "Learning curves": _curves}
        parts |= {"Sensitivity": _sensitivity, "Interactions": _interactions, "Distribution of scores": _distribution}
        sections |= {name + of: part(view) for name, part in parts.items()} if view.ranking else {}
    sections |= {"Failures": _failures(whole), "How it was run": _how(result), "Statistics": _statistics(whole)}
    sections = {name: content for name, content in sections.items() if content}
    places = {name: f"s{i}" for i, name in enumerate(sections)}
    menu = tag("nav", *(join(tag("a", name, href=f"#{place}"), " ") for name, place in list(places.items())[1:]))
    body = [tag("h1", _title(result)), sections.pop("Summary"), menu]
    body += [tag("section", tag("h2", name, id=places[name]), content) for name, content in sections.items()]
    head = Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
    page = tag("html", head, tag("title", _title(result)), tag("style", Html(STYLE)), tag("body", *body), lang="en")
    with replacing(out) as partial:
        partial.write_text(f"<!DOCTYPE html>\n{page}\n", encoding="utf-8")
    return out


def _by_env(result: SweepResult) -> Iterator[tuple[str, SweepResult]]:
    """Scores compare on one environment: the rows of each."""
    envs = np.array([str(result.record["rows"][i].get("env", "")) for i in result.index])
    return ((str(env), result.take(np.flatnonzero(envs == env))) for env in dict.fromkeys(envs))


def _title(result: SweepResult) -> str:
    rows = [result.record["rows"][i] for i in result.index]
    names = (", ".join(dict.fromkeys(str(row[part]) for row in rows if row.get(part))) for part in ("algo", "env"))
    return " on ".join(name for name in names if name) or result.folder.name


def _summary(result: SweepResult, views: dict[str, View]) -> Html:
    what = f"{len(result)} settings of {_listed(result.varied)}" if len(result) > 1 else "One setting"
    length = " to ".join(dict.fromkeys(compact(end(np.nanmax(result.step, axis=1))) for end in (np.min, np.max)))
    intro = f"{what}, {_count(len(result.seeds), 'seed')}{' each' if len(result) > 1 else ''}, {length} steps a run. "
    best = (_best(view, f" on {env}" if len(views) > 1 else "") for env, view in views.items())
    return join(tag("p", intro, *best, cls="lead"), *(tag("p", text, cls="warn") for text in _warnings(result)))


def _best(view: View, where: str) -> Html:
    if not view.ranking:
        return join(f"No run{where} has a score yet. ")
    best = view.ranking[0]
    score = join(view.title, " ", tag("strong", view.text(best.value)))
    ends = f"95% interval {view.text(best.low, best.high)}" if len(view.result.seeds) > 1 else "one seed: no interval"
    if len(view.result) == 1:
        return join(f"Reached{where}: ", score, f" ({ends}). ")
    told = f"; {_count(len(view.tied), 'other')} cannot be told apart from it" if view.tied else ""
    return join(f"Best{where}: ", tag("strong", ", ".join(view.label(best.row))), ", ", score, f" ({ends}){told}. ")


def _warnings(result: SweepResult) -> Iterator[str]:
    stored, diverged = int(result.finished.sum()), int(result.diverged.sum())
    if not result.finished.all():
        runs = _count(result.finished.size, "run")
        yield f"Not complete: {stored} of {runs} are stored. To go on: {SWEEP.again(result.folder)}"
    if diverged:
        yield f"{diverged} of {_count(stored, 'run')} diverged, and count as the worst (see Failures)."
    if 1 < len(result.seeds) < SEEDS:
        few = f"With {len(result.seeds)} seeds an interval is narrower than it should be: take what follows as hints"
        yield f"{few}, and run what matters with {SEEDS} seeds or more."


def _ranking(view: View) -> Html:
    if len(view.result) == 1:
        every = zip(view.result.seeds, view.scores[0], view.result.diverged[0])
        return _pairs({f"seed {seed}": "diverged" if gone else view.text(score) for seed, score, gone in every})
    heads = {"": "n", "setting": None, "score, 95% interval": "n", " ": "wide", "against the best": None}
    head = tag("tr", *(tag("th", text, cls=cls) for text, cls in heads.items()))
    lines = [line for ranks in (range(OPEN), range(OPEN, len(view.ranking))) for line in _lines(view, ranks)]
    return join(tag("p", _told_apart(view)), _folded("table", lines, head))


def _told_apart(view: View) -> str:
    seeds = len(view.result.seeds)
    if seeds == 1:
        return "With one seed no two settings can be told apart: this order may be chance."
    trust = f"as far as {seeds} seeds can tell" if seeds < SEEDS else "at 95%, seed by seed"
    if not view.tied:
        return f"The best is told apart from every other setting, {trust}."
    alike = [view.ranking[0].row, *view.tied]
    shared = [f"{name}={v[alike[0]]}" for name, v in view.names.items() if len({v[row] for row in alike}) == 1]
    common = f" What they share with it: {_listed(shared)}." if shared else ""
    return f"{_count(len(view.tied), 'setting')} cannot be told apart from the best, {trust}.{common}"


def _lines(view: View, ranks: range) -> Iterator[Html]:
    scores = [view.ranking[rank] for rank in ranks if rank < len(view.ranking)]
    start = min((score.low for score in scores), default=0.0)
    scale = 100 / (max((score.high for score in scores), default=0.0) - start or 1.0)
    for rank, score in zip(ranks, scores):
        left, right, middle = (scale * (x - start) for x in (score.low, score.high, score.value))
        bar = tag("i", style=f"left:{left:.1f}%;width:{right - left:.1f}%")
        whisker = tag("span", bar, tag("b", style=f"left:{middle:.1f}%"), cls="whisker")
        several = np.isfinite(view.scores[score.row]).sum() > 1
        ends = tag("span", view.text(score.low, score.high) if several else "one seed", cls="ends faint")
        value = tag("td", tag("strong", view.text(score.value)), ends, cls="n")
        told = tag("td", _verdict(view, score.row), _facts(view, score.row))
        name = tag("td", _fields(view, score.row))
        yield tag("tr", tag("td", rank + 1, cls="n faint"), name, value, tag("td", whisker, cls="wide"), told)


def _verdict(view: View, row: int) -> Html | None:
    if row == view.ranking[0].row:
        return tag("span", "best", cls="good")
    difference = view.behind[row]
    if difference is None:  # fewer than two seeds in common
        return None
    told = f"{view.text(difference[0])} below" if difference[1] > 0 else tag("span", "not told apart", cls="good")
    return join(told, " ", tag("span", f"({view.text(*difference[1:])})", cls="faint"))


def _facts(view: View, row: int) -> Html | None:
    """What else to know of a row before believing its score."""
    reached, total, gone = view.result.reached[row], np.nanmax(view.result.update[row]), view.result.diverged[row].sum()
    facts = [f"{gone} of {_count(len(reached), 'seed')} diverged"] if gone else []
    facts += [f"stopped at {reached.max() / total:.0%}"] if reached.max() < total else []
    facts += [f"{(reached > 0).sum()} of {_count(len(reached), 'seed')} so far"] if (reached == 0).any() else []
    return tag("div", ", ".join(facts), cls="note") if facts else None


def _curves(view: View) -> Html:
    seeds, others = len(view.result.seeds), len(view.ranking) - TOP
    grey = f"{others} more, the mean over seeds of each" if others > 0 else None
    grey = "each seed" if len(view.result) == 1 and seeds > 1 else grey
    note = "The interquartile mean over seeds, with its pointwise 95% interval." if seeds > 1 else ""
    note += " A diverged run is in its curve for as long as it has numbers." if view.result.diverged.any() else ""
    return _keyed(view, _figure(figures.curves(view), "Learning curves of the best settings", note), grey)


def _sensitivity(view: View) -> Html | None:
    if not view.fields:
        return None
    if len(view.fields) > 1:
        order = _listed([f"{name} {share:.0%}" for name, share in view.effects.items()])
        intro = f"Of the differences between settings, each field explains, beside the others: {order}."
        legend = "Grey: a point a setting, a cross where a run diverged. Blue: their interquartile mean, of "
        legend += "each value or of equal shares of the settings. Orange: the best setting."
    else:
        intro, legend = None, "The interquartile mean over seeds, with its 95% interval. Orange: the best."
    fields = sorted(view.fields, key=lambda field: -view.effects[field.name])
    images = [(figures.sensitivity(view, field), _extremes(view, field)) for field in fields]
    drawn = tag("div", *(_figure(image, text, text) for image, text in images), cls="grid")
    return join(intro and tag("p", intro), tag("p", legend, cls="note"), drawn)


def _extremes(view: View, field: Field) -> str:
    places, means = field.marginal(view.values)
    ends = ((word, int(pick(means))) for word, pick in (("best", np.argmax), ("worst", np.argmin)))
    near = ((word, i, field.ticks[places[i]] if field.ticks else f"about {places[i]:.2g}") for word, i in ends)
    return f"{field.name}: " + ", ".join(f"{word} at {value} ({view.text(means[i])})" for word, i, value in near)


def _interactions(view: View) -> Html | None:
    pairs = sorted(combinations(view.fields, 2), key=lambda pair: -sum(view.effects[field.name] for field in pair))
    if not pairs:
        return None
    legend = "Colour: the score, as a mean over settings in a cell, or of each setting where values were sampled."
    left_out = f" The {PAIRS} pairs that move the score most, of {len(pairs)}." if len(pairs) > PAIRS else ""
    drawn = [_figure(figures.interaction(view, x, y), f"score by {x.name} and {y.name}") for x, y in pairs[:PAIRS]]
    return join(tag("p", legend + left_out, cls="note"), tag("div", *drawn, cls="grid"))


def _distribution(view: View) -> Html | None:
    if len(view.ranking) > TOP or len(view.result.seeds) < 3:
        return None
    note = "The share of seeds that score above a value: a curve further right is better, a steep one more reliable."
    return _keyed(view, _figure(figures.profile(view), "Performance profile", note))


def _failures(view: View) -> Html:
    found = []
    for kind, runs in {"Diverged": view.result.diverged, "Not finished": ~view.result.finished}.items():
        seeds = {row: np.array(view.result.seeds)[runs[row]] for row in np.flatnonzero(runs.any(1)).tolist()}
        lines = [tag("li", _fields(view, row), "seed ", ", ".join(map(str, gone))) for row, gone in seeds.items()]
        found += [tag("h3", f"{kind}: {_count(int(runs.sum()), 'run')}"), _folded("ul", lines)] if lines else []
    return join(*found) if found else tag("p", "None: every run is stored, and none diverged.")


def _how(result: SweepResult) -> Html:
    record, asked = result.record, result.record.get("asked", {})
    rows = (record["rows"][i] for i in result.index)
    every = [{"steps": row.get("steps"), **row["settings"], **row.get("env_args", {})} for row in rows]
    columns = {name: [settings.get(name) for settings in every] for name in chain(*every)}
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
        *(join(tag("h3", name), _pairs(block)) for name, block in blocks.items() if block),
        join(tag("h3", "Plan"), _folded("ul", [tag("li", _group(group)) for group in record.get("plan", [])])),
    )


def _group(group: dict[str, Any]) -> str:
    size, (width, start, end) = len(group.get("rows", [])), (group.get(x, "?") for x in ("width", "start", "updates"))
    return f"{_count(size, 'setting')}, {width} side by side, updates {start} to {end}; {group.get('why', '')}"


def _statistics(view: View) -> Html:
    said = (
        f"The score of a run is its {view.title} over the last {LAST:.0%} of training. The score of a setting is the "
        "interquartile mean over its seeds (the mean of the middle half; of fewer than four seeds, the mean).",
        "Intervals are percentile bootstraps over seeds, of 2000 resamples, and 500 for curves, pointwise. "
        "A difference from the best is the interquartile mean over the seeds that both have, run by run, with its "
        "bootstrap interval; where that reaches 0, the two are not told apart.",
        "The best of many settings is in part the luckiest, and its score will fall if it is run with new seeds; the "
        "comparisons are not corrected for their number. Fewer than six seeds cannot tell two settings apart at 95%.",
        "Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS.",
    )
    return join(*(tag("p", text) for text in said))


def _figure(address: str, alt: str, caption: str | None = None) -> Html:
    image = Html(f'<img src="{address}" alt="{html.escape(alt)}">')
    return tag("figure", image, caption and tag("figcaption", caption))


def _keyed(view: View, figure: Html, grey: str | None = None) -> Html:
    """A figure beside the key of its curves."""
    dashes = {"-": "none", "--": "9 4", ":": "2 4"}
    curves = [(*figures.style(rank), _fields(view, score.row)) for rank, score in enumerate(view.ranking[:TOP])]
    curves += [(figures.PALE, "-", join(grey))] if grey else []
    items = []
    for color, dash, text in curves:
        line = tag("path", d="M0 6H40", style=f"stroke:{color};stroke-width:3;stroke-dasharray:{dashes[dash]}")
        items.append(tag("li", tag("svg", line, viewBox="0 0 40 12"), text))
    return tag("div", figure, tag("ol", *items), cls="beside")


def _folded(name: str, lines: list[Html], head: Html | None = None) -> Html:
    """A list or a table, of which the first lines are seen, and the rest if asked for."""
    rest = tag("details", tag("summary", f"The other {len(lines) - OPEN}"), tag(name, head, *lines[OPEN:]))
    return join(tag(name, head, *lines[:OPEN]), rest if len(lines) > OPEN else None)


def _fields(view: View, row: int) -> Html:
    return join(*(join(tag("span", text, cls="field"), " ") for text in view.label(row)))


def _pairs(content: dict[str, Any]) -> Html:
    known = [(name, value) for name, value in content.items() if value not in (None, "", {})]
    texts = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in known]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in texts))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
