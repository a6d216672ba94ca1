"""`rljax sweep` and `rljax report`: many runs, and their results on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction

from rljax import algos, envs
from rljax.algos.presets import preset
from rljax.arguments import EVERY, PROCESSES, SEED, SOME, STEPS
from rljax.cli import launch, parser
from rljax.cli.options import (
    EVALUATION,
    WANDB,
    Option,
    command_type,
    given,
    of_settings,
    project,
    split_names,
    with_chosen_objective,
)
from rljax.cli.shared import elsewhere, file_name, keep, outcome
from rljax.errors import SIGNALLED, require
from rljax.kinds import Count, Maybe
from rljax.settings import assignments, pairs, split_commas, values
from rljax.storage import absolute, shown
from rljax.sweeps.space import DISTRIBUTIONS, GRIDS


@dataclasses.dataclass(frozen=True)
class Report:
    """Write a sweep as one self-contained page.

    Args:
      sweep: the sweep's folder.
      out: the page; by default report.html in the folder.
      objective: module:Class, where that is one of your own.
    """

    sweep: Positional[Path]
    out: str | None = None
    objective: str | None = None

    def __call__(self) -> int:
        from rljax.sweeps import report, result

        out = None if self.out is None else absolute(self.out)
        with elsewhere():
            print(shown(report.write_report(result.load(self.sweep, self.objective), out)))
        return 0


@dataclasses.dataclass(frozen=True)
class Merge:
    """Put several sweeps together into a new folder; they stay as they are, and nothing is run.

    Args:
      sweeps: their folders.
      out: the new folder; by default sweeps/merged, numbered.
    """

    sweeps: Positional[tuple[Path, ...]]
    out: str | None = None

    def __call__(self) -> int:
        from rljax.results.folder import Numbered
        from rljax.sweeps import merging

        out = Numbered(absolute("sweeps"), "merged") if self.out is None else self.out
        with elsewhere():
            return _finish(merging.merge(self.sweeps, out))


@dataclasses.dataclass(frozen=True)
class Resume:
    """Continue a sweep that was stopped or killed, to the same arrays as without the stop; or give it more.

    Args:
      resume: the sweep's folder.
      seeds: more seeds for every row: as many as there are to be.
      steps: another length of all rows, beyond what they have done, where whole states were kept (keep=state).
      workers: processes.
      objective: module:Class, where that is one of your own.
    """

    resume: Path
    seeds: Annotated[int | None, Maybe(SOME)] = None
    steps: Annotated[int | None, Maybe(STEPS)] = None
    workers: Annotated[int | None, PROCESSES] = None
    objective: str | None = None

    def __call__(self) -> int:
        from rljax.sweeps import driver

        more: dict[str, Any] = {"seeds": self.seeds, "steps": self.steps, "workers": self.workers}
        return _finish(outcome(lambda: driver.resume(self.resume, objective=self.objective, **more)))


def parse(arguments: Sequence[str]) -> Callable[[], int]:
    """`rljax sweep`, ready to be called."""
    where, rest = launch.split(arguments)
    return lambda: where.carry_out(lambda: _parse(rest), ["sweep", *rest])


def _parse(arguments: Sequence[str]) -> Callable[[], int]:
    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        return parser.parse(Resume, "rljax sweep", arguments)
    names = split_names("sweep", arguments)
    algorithms = split_commas(names[0] if names else "ppo")
    environments = split_commas(names[1]) if len(names) > 1 else []
    every = {name: setting for algo in reversed(algorithms) for name, setting in algos.settings(algo).items()}
    known = with_chosen_objective(arguments, every)
    for env in environments:
        envs.accept(env)
    start = preset(algorithms[0], environments[0]) if len(algorithms) == len(environments) == 1 else None
    defaults = {name: setting.default for name, setting in known.items()} | (start.settings if start else {})
    doc = "Train every row of settings with every seed; several algorithms or environments, with commas, are swept too."
    kind = command_type("Sweep", doc, [*_options(start.steps if start else None), *of_settings(known, defaults)])
    parsed = parser.read(kind, f"rljax sweep {' '.join(names or ['ALGO', 'ENV'])}", arguments[len(names) :])
    return lambda: _sweep(algorithms, environments, parsed.command, given(parsed, known))


def _options(steps: int | None) -> list[Option]:
    several = UseAppendAction[tuple[str, ...]]
    return [
        Option("steps", STEPS if steps else Maybe(STEPS), steps, "environment steps of each run"),
        Option("seeds", SOME, 8, "seeds of every row"),
        Option("grid", several, (), f"values of a field, FIELD=VALUES, VALUES being {GRIDS}; may be repeated"),
        Option("sample", several, (), f"a distribution, FIELD=DISTRIBUTION, being {DISTRIBUTIONS}; may be repeated"),
        Option("trials", Maybe(SOME), None, "points to draw from the distributions"),
        Option("sample_seed", SEED, 0, "of the draws"),
        Option("sampler", Literal["random", "optuna"], "random", "optuna: draw points by the scores of earlier ones"),
        Option("batch", Maybe(SOME), None, "points that optuna gives at a time, run as one program; by default 16"),
        Option("halving", Maybe(Count(2)), None, "successive halving: after each rung one row in so many goes on"),
        Option("rungs", Maybe(SOME), None, "of successive halving; by default 3"),
        Option("score", str, "episode_return", "the metric that rows are ranked by, or evaluation; searches go by it"),
        *EVALUATION,
        Option("keep", Literal["last", "best", "state"], "last", "of each run: that of its best evaluation, or all"),
        Option("out", str | None, None, "the folder; by default sweeps/ALGO-ENV, numbered; of this same sweep: go on"),
        Option("extend", bool, False, "the folder holds a part of this sweep: run the seeds and rows that it lacks"),
        Option("dry_run", bool, False, "print the plan: groups, programs, memory, time; run nothing"),
        Option("workers", PROCESSES, None, "processes; by default one for each core, or one for all accelerators"),
        Option("width", Maybe(SOME), None, "members side by side in a program; by default what measures fastest"),
        Option("memory_limit", str | None, None, "for all arrays, e.g. 16GB; by default most of what is free"),
        Option("log_every", EVERY, None, "updates per logged point; by default a 100th of the run"),
        Option("task", tuple[str, ...], (), "environment parameters of all rows: NAME=NUMBER ..."),
        Option("curriculum", str | None, None, "a function (progress, task) -> task of yours, module:function"),
        Option("env_args", tuple[str, ...], (), "arguments of the environment's factory: NAME=VALUE ..."),
        Option("wandb", tuple[str, ...], (), WANDB),
        *launch.OPTIONS,
    ]


def _sweep(algorithms: list[str], environments: list[str], options: Any, settings: dict[str, Any]) -> int:
    from rljax.engine import cluster
    from rljax.results.folder import Numbered
    from rljax.sweeps import driver, planning, spec

    name = file_name("-".join([*algorithms, *environments]))
    where = Numbered(absolute("sweeps"), name) if options.out is None else absolute(options.out)
    asked = spec.specify(
        algorithms,
        environments,
        options.steps,
        options.seeds,
        grid=pairs(options.grid, GRIDS, "grid"),
        sample=pairs(options.sample, DISTRIBUTIONS, "sample"),
        trials=options.trials,
        sample_seed=options.sample_seed,
        sampler=options.sampler,
        batch=options.batch,
        halving=options.halving,
        rungs=options.rungs,
        score=options.score,
        evaluate_every=options.evaluate_every,
        evaluation=values(options.evaluation, "evaluation"),
        keep=options.keep,
        wandb=project(options.wandb),
        log_every=options.log_every,
        task=assignments(options.task),
        **({} if options.curriculum is None else {"curriculum": options.curriculum}),
        env_args=values(options.env_args, "env_args"),
        **settings,
    )
    how = {"workers": options.workers, "width": options.width, "memory_limit": options.memory_limit}
    require(options.out is not None or not options.extend, "extend", True, "needs the sweep's folder, --out")
    cluster.agree(lambda: {"dry_run": options.dry_run})
    if options.dry_run:
        print(planning.make_plan(asked, **how))
        return 0
    require(options.out is not None or _alone(), "out", None, "several processes need a folder they share")
    return _finish(outcome(lambda: driver.run(asked, where, extend=options.extend, **how)))


def _finish(found: Any) -> int:
    """Prints the result of a sweep: how to continue it, or its best rows and its report."""
    from rljax.results.folder import SWEEP

    if found.stopped_by:
        stored, runs = int(found.finished.sum()), found.finished.size
        print(
            f"stopped by {found.stopped_by.name} with {stored} of {runs} runs stored; "
            f"to go on: {SWEEP.again(found.folder)}"
        )
        return SIGNALLED + found.stopped_by
    if not _speaks():
        return 0
    print(found)
    score = found.metric.replace("_", " ")
    print(f"(score: {score} over the last tenth of training; interquartile mean over seeds, 95 % interval)")
    from rljax.sweeps.report import write_report

    page = keep("the report", lambda: write_report(found))
    if page:
        print(f"report: {shown(page)}")
    print(f"sweep folder: {shown(found.folder)}")
    return 0


def _alone() -> bool:
    import jax

    return jax.process_count() == 1


def _speaks() -> bool:
    """Whether this process prints: of several, the first does."""
    import jax

    return jax.process_index() == 0
