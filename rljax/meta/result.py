"""The result of a search: the learned parts, the course of the search, and scores in validation runs.

searches/a/meta.json      what was asked, every setting, plan, machine, versions, command
searches/a/metrics.jsonl  one row a generation
searches/a/checkpoints/   the newest states
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import log, modes, records
from rljax.build import Prepared
from rljax.checkpoint import Checkpointer
from rljax.errors import require
from rljax.meta import spec
from rljax.meta.runner import write
from rljax.meta.validation import COLUMNS
from rljax.objectives import files
from rljax.ops.tree import named_leaves
from rljax.results import store
from rljax.results.folder import SEARCH
from rljax.spec import RunSpec
from rljax.storage import absolute, shown
from rljax.sweeps.store import ROW
from rljax.types import Env

RECORD = SEARCH.record
FORM = {
    "method": str,
    "kind": str,
    "generations": records.Whole(1, spec.MOST),
    "seed": records.SEED,
    "validation_runs": records.Whole(1, spec.MOST),
    "validate_every": records.COUNT,
    "learn": [str],
    "names": [str],
    "rows": [ROW],
    "draws": [{"shortest": (records.COUNT, None), "vary": dict, "reference": [float]}],
    "plan": [{"width": records.COUNT}],
    "workers": records.COUNT,
    "machine": dict,
}
LOGS = "logs"


@dataclass(frozen=True)
class Learned:
    """The result of a search.

    Attributes:
      record: what was asked, as in `meta.json`.
      theta: what was learned: name -> part of hypers.
      start: where the search began, likewise.
      hypers: those of the first domain with theta in place.
      history: columns `[G + 1]`, one row a generation, NaN where there is nothing to say: what the method says of it
        (an evolution: `fitness_mean` and its quartiles `fitness_low`, `fitness_high`, `fitness_best` over members, and
        `fitness/NAME`, the mean on each domain), and the scores in validation runs, see `validation`.
      generation: how many have been told.
      folder: where it is kept, or None.
      stopped_by: the signal that ended it early, or None.
    """

    record: dict[str, Any]
    theta: dict[str, Any]
    start: dict[str, Any]
    hypers: Any
    history: dict[str, np.ndarray]
    generation: int
    folder: Path | None
    stopped_by: signal.Signals | None = None

    def __repr__(self) -> str:
        what = f"{', '.join(self.theta)} of {self.record['rows'][0]['algo']} on {', '.join(self.record['names'])}"
        done = f"{min(self.generation, self.record['generations'])} of {self.record['generations']} generations"
        stopped = f", stopped by {self.stopped_by.name}" if self.stopped_by else ""
        return f"Learned({what}: {done}{stopped}{f', in {self.folder}' if self.folder else ''})"

    @property
    def objective(self) -> Any:
        """The policy objective that was learned."""
        return self.hypers.objective

    @property
    def complete(self) -> bool:
        """Whether all generations are done, and the last one validated."""
        return self.generation > self.record["generations"]

    def save(self, path: str | Path) -> Path:
        """Writes what was learned as one small file with its history; `objectives.load` reads a learned objective.

        Anything else is an npz of its arrays by their paths.

        Raises:
          StorageError: the file cannot be written.
        """
        path, history = absolute(path), self.provenance()
        if all(name.startswith("objective") for name in self.theta) and hasattr(self.objective, "save"):
            self.objective.save(path, history)
        else:
            arrays = {name: np.asarray(x) for name, x in named_leaves(self.theta).items()}
            files.write(path, files.Stored(f"hypers of {self.record['rows'][0]['algo']}", arrays, history))
        return path

    def plot(self, folder: str | Path | None = None) -> list[Path]:
        """Draws how the search went, `course.png`, and a learned policy objective, `learned.png`, into a folder."""
        from rljax.results.evolution_plots import evolution_plot
        from rljax.results.objective_plots import plot_objective

        where = absolute(folder or self.folder or ".")
        drawn = [evolution_plot(self.history, where / "course.png")]
        if any(name.startswith("objective") for name in self.theta):
            drawn.append(plot_objective(self.objective, where / "learned.png", name="learned"))
        return drawn

    def provenance(self) -> dict[str, Any]:
        """The provenance: the method, the tasks and the scores."""
        bare = (
            "learn",
            "names",
            "rows",
            "draws",
            "plan",
            "workers",
            "command",
            "commit",
            "created",
            "machine",
            "generations",
        )
        asked = {name: value for name, value in self.record.items() if name not in bare}
        rows = [RunSpec.from_json(row).without(self.theta).to_json() for row in self.record["rows"]]
        last = {
            name: float(x[np.isfinite(x)][-1])
            for name, x in self.history.items()
            if name.split("/")[0] in COLUMNS and np.isfinite(x).any()
        }
        return {
            "method": asked | {"generations": min(self.generation, self.record["generations"])},
            "tasks": [{**row, **drawn} for row, drawn in zip(rows, self.record["draws"])],
            "scores": last,
        }


def load(folder: str | Path, envs: Mapping[str, Env] | None = None, objective: Any = None) -> Learned:
    """Loads the result of a search.

    Args:
      folder: what a search wrote.
      envs: environments that are not registered, by name.
      objective: the class of the objective, if it is one of your own: nothing is imported because a record names it.

    Raises:
      ConfigError: there is no search, or its first generation is not finished.
      CheckpointError: its checkpoints are all damaged, or of something else.
    """
    folder = absolute(folder, "search")
    record = read(folder)
    with records.understood(folder / RECORD):
        asked = spec.from_record(record, envs, objective, f"rljax.meta.result.load({str(folder)!r}")
    return reached(folder, record, asked, asked.prepare())


def reached(folder: Path, record: dict[str, Any], asked: spec.Search, prepared: Sequence[Prepared]) -> Learned:
    """The result so far of a search in its folder; errors as for `load`."""
    hypers, start = prepared[0].algorithm.hypers, asked.start(prepared)
    shapes = jax.eval_shape(lambda: new_state(asked, prepared, start))
    with Checkpointer(folder / store.CHECKPOINTS, asked.method) as checkpoints:
        found = checkpoints.restore_latest(shapes)
    theta, done = (asked.theta(found.state["learner"]), found.step) if found else (start, 0)
    path = folder / store.METRICS
    history = log.read_jsonl(path) if path.exists() else {}
    return Learned(record, theta, start, write(hypers, theta), history, done, folder)


def read(folder: Path) -> dict[str, Any]:
    """The record of a search. Raises ConfigError where there is none, or where it is not as it was written."""
    record = records.read(folder, SEARCH, FORM)
    counts = {name: len(record[name]) for name in ("rows", "draws", "plan", "names")}
    require(
        len({*counts.values()}) == 1, f"{shown(folder / RECORD)}", counts, "must be as many of each; put the file back"
    )
    return record


@modes.in_32_bits()
def new_state(asked: spec.Search, prepared: Sequence[Prepared], theta: dict[str, Any]) -> dict[str, Any]:
    """The state of a search before its first generation; arrays only."""
    at_start = jnp.zeros(asked.validation_runs * len(asked.domains))  # fitnesses of the start
    return {"learner": asked.begin(prepared, modes.narrow(theta)), "at_start": at_start}
