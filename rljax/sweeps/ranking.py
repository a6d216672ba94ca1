"""The ranking of rows, on each environment separately, for returns of different ones do not compare."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rljax.errors import ConfigError, unknown
from rljax.ops.metrics import EPISODE_PREFIX, EPISODES, NOT_FINITE, RETURN, in_words
from rljax.parts import TASK, of_record
from rljax.results import stats

if TYPE_CHECKING:
    import pandas

    from rljax.sweeps.result import SweepResult

SCREEN = 10  # rows of each environment in the text of a sweep


class Score(NamedTuple):
    """A row's score over its seeds, with a 95 % interval; NaN where all of them diverged or ended no episode.

    `environment` is what the row ran on; `counted` of its `seeds` are behind the score, of which `diverged` count as
    the worst run on that environment.
    """

    row: int
    settings: dict[str, Any]
    value: float
    low: float
    high: float
    environment: str = ""
    counted: int = 1
    diverged: int = 0
    seeds: int = 1

    @property
    def notes(self) -> list[str]:
        """The caveats of the score: `["from 1 of 5 seeds"]`."""
        of = f"of {self.seeds} seed{'s' * (self.seeds != 1)}"
        if self.counted == 0:
            return [f"no score: {self.diverged} {of} diverged" if self.diverged else "no score: no episode ended"]
        few = [f"from {self.counted} {of}"] if self.counted < self.seeds else []
        return few + ([f"{self.diverged} {of} diverged"] if self.diverged else [])


def environments(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The environment of each row, by its name and those of its numbers that differ between rows.

    Other numbers (`task.length`) are another environment to a ranking: it says which row learns best on each; the
    number with the highest return only says where returns are high.

    Args:
      rows: each with `env`, `task` and perhaps `env_args`, as in a record.

    Returns:
      `["probe/truncation length=5", ...]`.
    """
    names, every, differing = [], [], {}
    for row in rows:
        numbers = dict(row["task"])
        names.append(str(row.get("env", "")))
        hashes = row.get("fingerprints", {})
        every.append(numbers | dict(row.get("env_args", {})) | ({"code": hashes["env"]} if "env" in hashes else {}))
        first, those = differing.setdefault(names[-1], (every[-1], {}))
        those |= dict.fromkeys(n for n in {**first, **every[-1]} if first.get(n) != every[-1].get(n))
    return [
        " ".join([name, *(f"{n}={numbers[n]}" for n in differing[name][1] if n in numbers)])
        for name, numbers in zip(names, every)
    ]


def scores(result: SweepResult, metric: str, last: float) -> np.ndarray:
    """The score of each run `[N, S]`; see `SweepResult.scores`."""
    values = result.values(metric)
    weights = result.values(EPISODES) if metric.startswith(EPISODE_PREFIX) else np.ones_like(values)
    late = result.update[:, None, :] > (1 - last) * result.reached[:, :, None]
    weights = np.where(late & np.isfinite(values), weights, 0.0)
    total = weights.sum(-1)
    sums = np.where(weights > 0, values * weights, 0.0).sum(-1)
    return np.where((total > 0) & ~result.diverged, sums / np.where(total > 0, total, 1.0), np.nan)


def comparable(result: SweepResult, metric: str, last: float) -> np.ndarray:
    """The same, in which a diverged run counts as the worst on its environment; see `SweepResult.comparable`."""
    found, names = scores(result, metric, last), np.array(result.environments)
    for name in set(names.tolist()):
        here = found[names == name]
        worst = np.min(here, where=np.isfinite(here), initial=np.inf)
        found[names == name] = np.where(result.diverged[names == name], worst, here)
    return np.where(np.isfinite(found), found, np.nan)


def ranked(result: SweepResult, metric: str, last: float, statistic: stats.Statistic = stats.iqm) -> list[Score]:
    """The rows of each environment in turn, the best first; see `SweepResult.ranked`."""
    scored, every_run = np.isfinite(scores(result, metric, last)), comparable(result, metric, last)
    every, rows = result.environments, result.rows
    found = []
    for row in np.flatnonzero(result.finished.any(1)).tolist():
        values, diverged = every_run[row][np.isfinite(every_run[row])], int(result.diverged[row].sum())
        value, low, high = np.nan, np.nan, np.nan
        if scored[row].any():
            value, (low, high) = float(statistic(values, axis=-1)), stats.bootstrap_ci(statistic, values)
        counted = values.size if scored[row].any() else 0
        settings, seeds = rows[row], len(result.seeds)
        found.append(Score(row, settings, value, low, high, every[row], counted, diverged, seeds))
    order = {name: i for i, name in enumerate(dict.fromkeys(every))}
    share = (result.reached.max(1) / np.nanmax(result.update, axis=1)).tolist()

    def order_of(score: Score) -> tuple[Any, ...]:
        known = np.isfinite(score.value)
        # Of two that score alike the one whose interval begins higher comes first.
        by_score = (-score.value, -np.nan_to_num(score.low, nan=-np.inf)) if known else (0.0, 0.0)
        return order[score.environment], not known, -share[score.row], *by_score

    return sorted(found, key=order_of)


def columns(rows: int, scores: Iterable[Score]) -> np.ndarray:
    """Value, low and high of each row `[3, N]`; NaN for one that is not among the scores."""
    found = np.full((3, rows), np.nan)
    for score in scores:
        found[:, score.row] = score.value, score.low, score.high
    return found


def the_best(result: SweepResult, metric: str, last: float, rows: np.ndarray) -> Score:
    """The best of these rows (a mask `[N]`), which must all be of one environment; see `SweepResult.best`."""
    on = {name: row for row, name in reversed(list(enumerate(result.environments))) if rows[row]}
    if len(on) > 1:
        raise ConfigError(
            f"env: returns on {' and '.join(sorted(on, key=on.__getitem__))} do not compare; choose one, e.g. "
            f"best({_choice(result, list(on.values()))}), or select() likewise"
        )
    ranking = [score for score in ranked(result, metric, last) if rows[score.row] and np.isfinite(score.value)]
    if not ranking:
        raise ConfigError(f"sweep '{result.folder}': no run has a {metric} yet")
    return ranking[0]


def _choice(result: SweepResult, rows: list[int]) -> str:
    """Writes the arguments that select the environment of the first of these rows, each of another environment."""
    first, *others = (result.record["rows"][result.index[row]] for row in sorted(rows))
    chosen = [f"env={first['env']!r}"] if any(other["env"] != first["env"] for other in others) else []
    alike = [other["task"] for other in others if other["env"] == first["env"]]
    for name, value in first["task"].items():
        if any(other.get(name) != value for other in alike):
            chosen.append(f"**{{{TASK + name!r}: {value!r}}}")
    return ", ".join(chosen)


def text(result: SweepResult, metric: str, last: float, most: int = SCREEN) -> str:
    """Formats the ranking for a screen: for each environment its best rows, with all of their columns."""
    import pandas

    width = shutil.get_terminal_size().columns
    scores = ranked(result, metric, last) if result.metrics else []
    if metric not in (RETURN, result.score):  # nobody has said that more of it is better
        scores.sort(key=lambda score: score.row)
    if not scores:
        return f"{len(result)} rows x {len(result.seeds)} seeds, nothing is stored yet"
    names, lines = list(dict.fromkeys(result.environments)), []
    several = 1 < len(names) < len(result)
    for name in names if several else [""]:  # where each row has its own, they stand beside each other
        here = [score for score in scores if score.environment == name or not several]
        if not here:
            continue
        columns: dict[str, list[Any]] = {}
        for field in (n for n in result.varied if not (several and (n == "env" or n.startswith(TASK)))):
            columns[field] = [score.settings.get(field) for score in here]
        columns |= {end: [score[i] for score in here] for i, end in ((2, "iqm"), (3, "low"), (4, "high"))}
        notes = ["; ".join([*score.notes, *_stopped(result, score)]) for score in here]
        columns |= {"notes": notes} if any(notes) else {}
        table = pandas.DataFrame(columns, index=pandas.Index([result.index[s.row] for s in here], name="row"))
        lines += [f"{name}:"] if several else []
        in_order = metric not in (RETURN, result.score) and not lines
        lines += [f"{metric}, in the order of the rows:"] if in_order else []
        lines.append(table.head(most).to_string(float_format=lambda x: f"{x:.4g}", line_width=width))
        lines += [f"... and {len(here) - most} more rows"] if len(here) > most else []
    return "\n".join(lines)


def table(result: SweepResult, metric: str, last: float) -> pandas.DataFrame:
    """The rows in their order with all that is known of them; see `SweepResult.table`."""
    import pandas

    scores, ranked = result.scores(metric, last), {score.row: score for score in result.ranked(metric, last)}
    value, low, high = columns(len(result), ranked.values())
    known = np.isfinite(scores)
    mean = np.where(known, scores, 0.0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
    found = {name: [row[name] for row in result.rows] for name in result.varied}
    found |= {"iqm": value, "low": low, "high": high, "mean": mean}
    done = result.reached.max(1)
    found |= {result.unit: result.steps_behind(done).astype(int) if result.unit == "steps" else done}
    found |= {"finished": result.finished.sum(1), "diverged": result.diverged.sum(1), "scored": known.sum(1)}
    found |= {"notes": ["; ".join(ranked[i].notes) if i in ranked else "" for i in range(len(result))]}
    if NOT_FINITE in result.metrics:
        codes = np.nan_to_num(result.metrics[NOT_FINITE]).astype(int).reshape(len(result), -1)
        found |= {"NaN from the environment": [in_words(x) for x in np.bitwise_or.reduce(codes, axis=1)]}
    return pandas.DataFrame(found, index=pandas.Index(result.index, name="row"))


def _stopped(result: SweepResult, score: Score) -> list[str]:
    """Says if a row that has a score was stopped before its end."""
    share = result.reached[score.row].max() / np.nanmax(result.update[score.row])
    return [f"stopped at {share:.0%}"] if share < 1 and score.counted else []


def matching(result: SweepResult, fields: Mapping[str, Any]) -> np.ndarray:
    """The rows with these settings, a mask `[N]`.

    Raises:
      ConfigError: a field that does not exist, or a value that no row has.
    """
    keep, records = np.ones(len(result), bool), [result.record["rows"][i] for i in result.index]
    every = [{"algo": r.get("algo"), "env": r.get("env"), **of_record(r), **r["varied"]} for r in records]
    for name, value in fields.items():
        if name not in every[0]:
            raise unknown("field", name, every[0])
        values = [row.get(name) for row in every]
        matches = np.array([_same(x, value) for x in values])
        if not matches.any():
            existing = ", ".join(dict.fromkeys(str(x) for x in values))
            raise ConfigError(f"{name}={value}: no row has it; there are {existing}")
        keep &= matches
    return keep


def _same(value: Any, wanted: Any) -> bool:
    value, wanted = (math.inf if isinstance(x, str) and x == "inf" else x for x in (value, wanted))  # as JSON has it
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-6)
    if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
        return list(value) == list(wanted)
    return value == wanted
