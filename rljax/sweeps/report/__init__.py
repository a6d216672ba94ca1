"""The report of a sweep as one page: its results, how certain they are, and how to repeat it.

page.py        elements of a page
view.py        the rows that are shown together: ranking, fields as axes, labels
figures.py     drawings
appendix.py    how it was run, and how its numbers were made
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from rljax.log import compact
from rljax.results.folder import SWEEP
from rljax.storage import absolute, replacing
from rljax.sweeps.ranking import Score
from rljax.sweeps.report import figures
from rljax.sweeps.report.appendix import how, statistics
from rljax.sweeps.report.figures import TOP
from rljax.sweeps.report.page import OPEN, STYLE, Html, count, figure, folded, join, listed, pairs, tag
from rljax.sweeps.report.view import Field, View
from rljax.sweeps.result import SweepResult

PAIRS = 6  # interactions that are drawn
SEEDS = 6  # from how many seeds on a 95% interval is one


def write_report(result: SweepResult, out: Path | None = None) -> Path:
    """Writes the report of a sweep as one self-contained HTML page.

    Args:
      result: the sweep, finished or not.
      out: the page; by default `report.html` in the sweep's folder.

    Returns:
      The page's path.

    Raises:
      StorageError: it cannot be written.
    """
    out = absolute(out or result.folder / "report.html")
    metric = result.record.get("asked", {}).get("search", {}).get("metric", result.metric)
    whole, views = View(result, metric), {env: View(part, metric) for env, part in _by_env(result)}
    sections = {"Summary": _summary(result, views)}
    for env, view in views.items():
        of = f": {env}" if len(views) > 1 else ""
        parts = {
            "Ranking" if len(view.result) > 1 and view.compares else "Scores": _ranking,
            "Learning curves": _curves,
        }
        parts |= {"Sensitivity": _sensitivity, "Interactions": _interactions, "Distribution of scores": _distribution}
        sections |= {name + of: part(view) for name, part in parts.items()} if view.ranking else {}
    sections |= {"Failures": _failures(whole), "How it was run": how(result), "Statistics": statistics(whole)}
    sections = {name: content for name, content in sections.items() if content}
    anchors = {name: f"s{i}" for i, name in enumerate(sections)}
    menu = tag("nav", *(join(tag("a", name, href=f"#{anchor}"), " ") for name, anchor in list(anchors.items())[1:]))
    body = [tag("h1", _title(result)), sections.pop("Summary"), menu]
    body += [tag("section", tag("h2", name, id=anchors[name]), content) for name, content in sections.items()]
    head = Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
    page = tag("html", head, tag("title", _title(result)), tag("style", Html(STYLE)), tag("body", *body), lang="en")
    with replacing(out) as partial:
        partial.write_text(f"<!DOCTYPE html>\n{page}\n", encoding="utf-8")
    return out


def _by_env(result: SweepResult) -> Iterator[tuple[str, SweepResult]]:
    """Splits rows by environment, for scores compare on one alone; by name, if every row has another environment."""
    names = result.environments
    if len(set(names)) == len(names):
        names = [str(result.record["rows"][i].get("env", "")) for i in result.index]
    return ((name, result.take(np.flatnonzero(np.array(names) == name))) for name in dict.fromkeys(names))


def _title(result: SweepResult) -> str:
    rows = [result.record["rows"][i] for i in result.index]
    names = (", ".join(dict.fromkeys(str(row[part]) for row in rows if row.get(part))) for part in ("algo", "env"))
    return " on ".join(name for name in names if name) or result.folder.name


def _summary(result: SweepResult, views: dict[str, View]) -> Html:
    what = f"{len(result)} settings of {listed(result.varied)}" if len(result) > 1 else "One setting"
    length = " to ".join(dict.fromkeys(compact(end(np.nanmax(result.clock, axis=1))) for end in (np.min, np.max)))
    each = " each" if len(result) > 1 else ""
    intro = f"{what}, {count(len(result.seeds), 'seed')}{each}, {length} {result.unit} a run. "
    best = (_best(view, f" on {env}" if len(views) > 1 else "") for env, view in views.items())
    return join(tag("p", intro, *best, cls="lead"), *(tag("p", text, cls="warn") for text in _warnings(result)))


def _best(view: View, where: str) -> Html:
    if not view.ranking:
        return join(f"No run{where} has a score yet. ")
    best = view.ranking[0]
    if not view.compares:
        return join(f"Not ranked{where}: {view.unranked}. ")
    score = join(view.title, " ", tag("strong", view.text(best.value)))
    ends = f"95% interval {view.text(best.low, best.high)}" if best.counted > 1 else "one seed: no interval"
    ends = ", ".join([ends, *best.notes])
    if len(view.result) == 1:
        return join(f"Reached{where}: ", score, f" ({ends}). ")
    told = f"; {count(len(view.tied), 'other')} cannot be told apart from it" if view.tied else ""
    return join(f"Best{where}: ", tag("strong", ", ".join(view.label(best.row))), ", ", score, f" ({ends}){told}. ")


def _warnings(result: SweepResult) -> Iterator[str]:
    stored, diverged = int(result.finished.sum()), int(result.diverged.sum())
    if not result.finished.all():
        runs = count(result.finished.size, "run")
        yield f"Not complete: {stored} of {runs} are stored. To go on: {SWEEP.again(result.folder)}"
    if diverged:
        yield f"{diverged} of {count(stored, 'run')} diverged, and count as the worst (see Failures)."
    if 1 < len(result.seeds) < SEEDS:
        few = f"With {len(result.seeds)} seeds an interval is narrower than it should be: take what follows as hints"
        yield f"{few}, and run what matters with {SEEDS} seeds or more."


def _ranking(view: View) -> Html:
    if len(view.result) == 1:
        every = zip(view.result.seeds, view.scores[0], view.result.diverged[0])
        return pairs({f"seed {seed}": "diverged" if gone else view.text(score) for seed, score, gone in every})
    heads = {"": "n", "setting": None, "score, 95% interval": "n", " ": "wide", "against the best": None}
    head = tag("tr", *(tag("th", text, cls=cls) for text, cls in heads.items()))
    lines = [line for ranks in (range(OPEN), range(OPEN, len(view.ranking))) for line in _lines(view, ranks)]
    lines += _unscored(view)
    return join(tag("p", _told_apart(view)), folded("table", lines, head))


def _told_apart(view: View) -> str:
    seeds = len(view.result.seeds)
    if not view.compares:
        why = "Returns on different environments do not compare" if view.ranks else f"So far {view.unranked}"
        return f"{why}: there is no best setting."
    if seeds == 1:
        return "With one seed no two settings can be told apart: this order may be chance."
    trust = f"as far as {seeds} seeds can tell" if seeds < SEEDS else "at 95%, seed by seed"
    if not view.tied:
        return f"The best is told apart from every other setting, {trust}."
    alike = [view.ranking[0].row, *view.tied]
    shared = [f"{name}={v[alike[0]]}" for name, v in view.names.items() if len({v[row] for row in alike}) == 1]
    common = f" What they share with it: {listed(shared)}." if shared else ""
    return f"{count(len(view.tied), 'setting')} cannot be told apart from the best, {trust}.{common}"


def _lines(view: View, ranks: range) -> Iterator[Html]:
    scores = [view.ranking[rank] for rank in ranks if rank < len(view.ranking)]
    start = min((score.low for score in scores), default=0.0)
    scale = 100 / (max((score.high for score in scores), default=0.0) - start or 1.0)
    for rank, score in zip(ranks, scores):
        left, right, middle = (scale * (x - start) for x in (score.low, score.high, score.value))
        bar = tag("i", style=f"left:{left:.1f}%;width:{right - left:.1f}%")
        whisker = tag("span", bar, tag("b", style=f"left:{middle:.1f}%"), cls="whisker")
        ends = tag("span", view.text(score.low, score.high) if score.counted > 1 else "one seed", cls="ends faint")
        value = tag("td", tag("strong", view.text(score.value)), ends, cls="n")
        told = tag("td", _verdict(view, score.row), _facts(view, score))
        name = tag("td", _fields(view, score.row))
        number = rank + 1 if view.compares else ""
        yield tag("tr", tag("td", number, cls="n faint"), name, value, tag("td", whisker, cls="wide"), told)


def _unscored(view: View) -> Iterator[Html]:
    """Yields the rows without a score, which come last."""
    for score in view.unscored:
        cells = (tag("td", _fields(view, score.row)), tag("td", "none", cls="n faint"), tag("td", cls="wide"))
        yield tag("tr", tag("td", cls="n faint"), *cells, tag("td", _facts(view, score)))


def _verdict(view: View, row: int) -> Html | None:
    if not view.compares:
        return None
    if row == view.ranking[0].row:
        return tag("span", "best", cls="good")
    difference = view.behind[row]
    if difference is None:  # fewer than two seeds in common
        return None
    told = f"{view.text(difference[0])} below" if difference[1] > 0 else tag("span", "not told apart", cls="good")
    return join(told, " ", tag("span", f"({view.text(*difference[1:])})", cls="faint"))


def _facts(view: View, score: Score) -> Html | None:
    """The caveats of a row's score."""
    reached, total = view.result.reached[score.row], np.nanmax(view.result.update[score.row])
    facts = list(score.notes)
    facts += [f"stopped at {reached.max() / total:.0%}"] if reached.max() < total else []
    facts += [f"{(reached == 0).sum()} not finished yet"] if (reached == 0).any() else []
    return tag("div", ", ".join(facts), cls="note") if facts else None


def _curves(view: View) -> Html:
    seeds, others = len(view.result.seeds), len(view.ranking) - TOP
    grey = f"{others} more, the mean over seeds of each" if others > 0 else None
    grey = "each seed" if len(view.result) == 1 and seeds > 1 else grey
    note = "The interquartile mean over seeds, with its pointwise 95% interval, " if seeds > 1 else ""
    ended = "where at least half of them have ended an episode; a line breaks where none ended for long."
    known = "where at least half of them have one."
    note += (ended if view.metric.startswith("episode_") else known) if note else ""
    note += " A diverged run is in its curve for as long as it has numbers." if view.result.diverged.any() else ""
    return _keyed(view, figure(figures.curves(view), "Learning curves of the best settings", note), grey)


def _sensitivity(view: View) -> Html | None:
    if not view.fields:
        return None
    best = "Orange: the best setting." if view.compares else ""
    if len(view.fields) > 1:
        intro = _importance(view) if view.compares else None
        legend = "Grey: a point a setting, a cross where a run diverged. Blue: their interquartile mean, of "
        legend += f"each value or of equal shares of the settings. {best}"
    else:
        intro, legend = None, f"The interquartile mean over seeds, with its 95% interval. {best}"
    order = list(view.effects)
    fields = sorted(view.fields, key=lambda field: order.index(field.name))
    images = [(figures.sensitivity(view, field), _extremes(view, field)) for field in fields]
    drawn = tag("div", *(figure(image, text, text) for image, text in images), cls="grid")
    return join(intro and tag("p", intro), tag("p", legend, cls="note"), drawn)


def _importance(view: View) -> str:
    """Says in words which fields matter."""
    effects, told = view.importance
    if view.missing:
        settings, fields = count(len(view.result), "setting"), count(len(view.fields), "field")
        return f"{settings} of {fields} are too few to tell which field matters: it takes {view.missing} more."
    rest = [name for name in effects if name not in told]
    chance = f"Not told from chance: {listed(rest)}." if rest else ""
    if not told:
        return f"No field by itself moves the score more than chance would. {chance}"
    shares = listed([f"{name} {effects[name]:.0%}" for name in told])
    return f"Of the differences between settings, each field explains, beside the others: {shares}. {chance}"


def _extremes(view: View, field: Field) -> str:
    places, means = field.marginal(view.values)
    if np.ptp(means) == 0:
        return f"{field.name}: {view.text(means[0])} at every value"
    ends = ((word, int(pick(means))) for word, pick in (("best", np.argmax), ("worst", np.argmin)))
    near = ((word, i, field.ticks[places[i]] if field.ticks else f"about {places[i]:.2g}") for word, i in ends)
    return f"{field.name}: " + ", ".join(f"{word} at {value} ({view.text(means[i])})" for word, i, value in near)


def _interactions(view: View) -> Html | None:
    order = list(view.effects)
    fields = sorted(view.fields, key=lambda field: order.index(field.name))
    both = sorted(combinations(fields, 2), key=lambda pair: -sum(view.effects[field.name] for field in pair))
    if not both:
        return None
    legend = "Colour: the score, as a mean over settings in a cell, or of each setting where values were sampled."
    which = (
        "first pairs"
        if view.missing or not (view.compares and view.importance[1])
        else "pairs that move the score most"
    )
    left_out = f" The {PAIRS} {which}, of {len(both)}." if len(both) > PAIRS else ""
    drawn = [figure(figures.interaction(view, x, y), f"score by {x.name} and {y.name}") for x, y in both[:PAIRS]]
    return join(tag("p", legend + left_out, cls="note"), tag("div", *drawn, cls="grid"))


def _distribution(view: View) -> Html | None:
    if not view.compares or len(view.ranking) > TOP or len(view.result.seeds) < 3:
        return None
    note = "The share of seeds that score above a value: a curve further right is better, a steep one more reliable."
    return _keyed(view, figure(figures.profile(view), "Performance profile", note))


def _failures(view: View) -> Html:
    found = []
    for kind, runs in {"Diverged": view.result.diverged, "Not finished": ~view.result.finished}.items():
        seeds = {row: np.array(view.result.seeds)[runs[row]] for row in np.flatnonzero(runs.any(1)).tolist()}
        lines = [tag("li", _fields(view, row), "seed ", ", ".join(map(str, gone))) for row, gone in seeds.items()]
        found += [tag("h3", f"{kind}: {count(int(runs.sum()), 'run')}"), folded("ul", lines)] if lines else []
    return join(*found) if found else tag("p", "None: every run is stored, and none diverged.")


def _keyed(view: View, drawn: Html, grey: str | None = None) -> Html:
    """Puts a figure beside the key of its curves."""
    dashes = {"-": "none", "--": "9 4", ":": "2 4"}
    curves = [(*figures.style(rank), _fields(view, score.row)) for rank, score in enumerate(view.ranking[:TOP])]
    curves += [(figures.PALE, "-", join(grey))] if grey else []
    items = []
    for color, dash, text in curves:
        line = tag("path", d="M0 6H40", style=f"stroke:{color};stroke-width:3;stroke-dasharray:{dashes[dash]}")
        items.append(tag("li", tag("svg", line, viewBox="0 0 40 12"), text))
    return tag("div", drawn, tag("ol", *items), cls="beside")


def _fields(view: View, row: int) -> Html:
    return join(*(join(tag("span", text, cls="field"), " ") for text in view.label(row)))
