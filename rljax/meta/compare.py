"""Compares learned objectives and rules with others, on environments, seeds and lengths that they have not seen."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rljax import footprint, runtime
from rljax.engine.progress import Progress
from rljax.errors import ConfigError, require
from rljax.meta import fitness
from rljax.meta.runner import Runner
from rljax.meta.tasks import Domain, Run, steps_of
from rljax.results import stats
from rljax.run import stop, stop_signals
from rljax.storage import absolute, write_json

if TYPE_CHECKING:
    import pandas

FEW = 6  # runs below which two contenders cannot be told apart at 95 %


@dataclass(frozen=True)
class Comparison:
    """Scores of contenders in the same runs.

    Attributes:
      contenders: their names, what was learned first.
      places: (environment, environment steps of a run) each.
      scores: `[contenders, places, S]`; run s has the same seed, and the same task where tasks are drawn, for all.
        NaN where a run diverged.
      record: how it came about.
    """

    contenders: list[str]
    places: list[tuple[str, int]]
    scores: np.ndarray
    record: dict[str, Any]

    def __repr__(self) -> str:
        places = ", ".join(f"{env} for {steps:,} steps" for env, steps in self.places)
        return f"Comparison({', '.join(self.contenders)} on {places}, {self.scores.shape[-1]} runs each)"

    def comparable(self) -> np.ndarray:
        """`scores`, with a diverged run counting as the worst one at its place: leaving it out would flatter.

        NaN for a contender of which all diverged there: it has no score.
        """
        known = np.isfinite(self.scores)
        worst = np.min(self.scores, axis=(0, 2), keepdims=True, where=known, initial=np.inf)
        return np.where(known, self.scores, np.where(known.any(2, keepdims=True), worst, np.nan))

    def table(self) -> pandas.DataFrame:
        """One line for each place and contender.

        `iqm`, `low`, `high`: interquartile mean over runs and its 95 % interval. `gain`, `gain_low`, `gain_high`: by
        how much the first contender is above this one, run by run: IQM of the differences. `wins`: how likely a run
        of the first is better than one of this. See `note`.
        """
        import pandas

        rows = []
        for p, (env, steps) in enumerate(self.places):
            first = self.comparable()[0, p]
            for name, scores, raw in zip(self.contenders, self.comparable()[:, p], self.scores[:, p]):
                low, high = stats.bootstrap_ci(stats.iqm, scores)
                row = {
                    "env": env,
                    "steps": steps,
                    "contender": name,
                    "iqm": stats.iqm(scores),
                    "low": low,
                    "high": high,
                }
                if name != self.contenders[0]:
                    gain, gain_low, gain_high = stats.paired_difference(first, scores, stats.iqm)
                    wins, _, _ = stats.probability_of_improvement(first, scores)
                    row |= {"gain": gain, "gain_low": gain_low, "gain_high": gain_high, "wins": wins}
                rows.append(row | {"diverged": int((~np.isfinite(raw)).sum())})
        return pandas.DataFrame(rows)

    @property
    def note(self) -> str:
        """Explains the columns of the table."""
        first, runs = self.contenders[0], self.scores.shape[2]
        few = f"; {runs} runs tell little: an interval is narrower than it should be" if runs < FEW else ""
        one = "; one run has no interval" if runs == 1 else few
        return (
            f"iqm, low, high: interquartile mean over {runs} runs, 95 % bootstrap interval{one}\n"
            f"gain: of {first} over that one, the interquartile mean of the differences run by run; not the "
            "difference of the two iqm, which leave out the best and worst runs of each\n"
            f"wins: how likely a run of {first} is better than one of that; a diverged run counts as the worst there"
        )

    def save(self, path: str | Path) -> Path:
        """Writes everything as JSON."""
        found = {
            "contenders": self.contenders,
            "places": self.places,
            "scores": _without_nan(self.scores.tolist()),
            "table": _without_nan(self.table().to_dict("records")),
        }
        path = absolute(path)
        write_json(path, found | self.record)
        return path


def compare(
    contenders: Mapping[str, Sequence[Domain]],
    seeds: int = 32,
    kind: fitness.Kind = "final",
    progress: bool = True,
    **how: Any,
) -> Comparison:
    """Trains every contender in the same runs, on the whole machine.

    Args:
      contenders: name -> its domains, one for each place in the same order, with runs of one length.
      seeds: S, runs of each contender at each place: seeds 0 to S - 1.
      kind: what a run's score is, see `fitness`.
      **how: `workers`, `width`, `memory_limit`.

    Raises:
      ConfigError: contenders that do not run on the same environments.
      Interrupted, Terminated: SIGINT or SIGTERM came; nothing is kept.
    """
    given = contenders.values() if isinstance(contenders, Mapping) else ()
    fits = all(isinstance(some, Sequence) and all(isinstance(d, Domain) for d in some) for some in given)
    remedy = "must be names, each with a list of rljax.domain(...)"
    require(len(given) > 0 and fits, "contenders", contenders, remedy)
    names, count = list(contenders), len(next(iter(contenders.values())))
    domains = [domain for name in names for domain in contenders[name]]
    prepared = [domain.row.prepare() for domain in domains]
    places = [(built.env.name, domain.row.steps) for built, domain in zip(prepared, domains)]
    if places != places[:count] * len(names):
        raise ConfigError("contenders: must run on the same environments, in the same order")
    require(all(d.shortest is None and not d.vary for d in domains), "steps", "...", "must be one length for all runs")
    for domain, built in zip(domains, prepared):
        fitness.check(kind, footprint.check(domain.row.algo, built), domain.row.algo)
    require(seeds >= 1, "seeds", seeds, "must be at least 1")
    runs = [(0, Run(i, seed, built.updates, {})) for seed in range(seeds) for i, built in enumerate(prepared)]
    total = steps_of(prepared, [run for _, run in runs])
    with tempfile.TemporaryDirectory(prefix="rljax-compare-", ignore_cleanup_errors=True) as folder:
        runner = Runner(domains, prepared, len(runs), Path(folder), "nothing is kept", kind=kind, **how)
        bar = Progress("compare", total) if progress else None
        with runner, stop_signals() as received:
            found = runner.run({}, runs, bar.report if bar else lambda report: None, lambda: bool(received))
        if bar:
            bar.close()
    if received:
        stop(received[0], None)
    assert found is not None
    record = {
        "seeds": seeds,
        "kind": kind,
        "rows": [domain.row.record(built) for domain, built in zip(domains, prepared)],
        **runtime.provenance(),
    }
    scores = found.reshape(seeds, len(names), count).transpose(1, 2, 0)
    return Comparison(names, places[:count], scores, record)


def _without_nan(tree: Any) -> Any:
    """Replaces NaN by None, for JSON."""
    if isinstance(tree, dict):
        return {name: _without_nan(x) for name, x in tree.items()}
    if isinstance(tree, list):
        return [_without_nan(x) for x in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
