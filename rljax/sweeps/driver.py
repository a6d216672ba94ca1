"""The driver of `rljax.sweep`: from a specification, by way of a plan, to results.

A sweep from the command to the compiled program:

cli/sweep.py         reads the command
sweeps/spec.py       checks it: rows, seeds, search
sweeps/driver.py     runs it in its folder, round after round
sweeps/planning.py   makes and records a plan of it
engine/plan.py       groups rows that share a program
engine/program.py    compiles `init` and `step` over a population

Then engine/pool.py deals shards to processes, where engine/work.py advances them and sweeps/execute.py stores them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from rljax import log, records, runtime
from rljax.engine import cluster
from rljax.engine.pool import Pool
from rljax.engine.work import Say, Shard
from rljax.errors import Stopped, require
from rljax.records import versioned
from rljax.results.folder import SWEEP, Numbered, locked, stopping
from rljax.run import stop, stop_signals
from rljax.storage import absolute, write_json
from rljax.sweeps import extending, planning, ranking, result, space, spec, store, wandb_runs
from rljax.sweeps.execute import Progress, SweepJob, pending, shards_of
from rljax.sweeps.planning import Plan, next_round, to_record
from rljax.types import Env


def sweep(
    algo: str | Sequence[str] | None,
    env: str | Env | Sequence[str | Env] | None = None,
    steps: int | None = None,
    seeds: int | Sequence[int] = 8,
    *,
    grid: Mapping[str, space.Values] | None = None,
    sample: Mapping[str, str | space.Distribution] | None = None,
    trials: int | None = None,
    out: str | Path | None = None,
    extend: bool = False,
    workers: int | None = None,
    width: int | None = None,
    memory_limit: str | int | None = None,
    progress: bool = True,
    **what: Any,
) -> result.SweepResult:
    """Trains every row with every seed, as few compiled programs; killed or stopped, the same call goes on.

    Args:
      algo, env: one, or several to be swept.
      steps: environment steps of each run, rounded up to whole updates; by default the preset's.
      seeds: how many (0, 1, ...), or which; every row gets the same.
      grid: field -> values, e.g. `{"lr": [1e-4, 3e-4], "num_envs": [16, 64], "task.length": "linear:0.5:1:3"}`.
      sample: field -> distribution, e.g. `{"discount": "uniform:0.9:0.999"}`; all points are tried in every grid cell.
      trials: how many points to sample.
      out: a folder, new or of this same sweep; None keeps the results in a temporary one.
      extend: the folder holds a part of this sweep: run the seeds and rows that it lacks, or all of it for longer.
      workers: processes; by default one for each core of a CPU, and one where there are other devices.
      width: members side by side in a program; by default what measures fastest and fits.
      memory_limit: for all arrays, on each device or of all processes, e.g. `16GB`; by default most of what is free.
      progress: show a progress bar.
      **what: `sample_seed`, `log_every`, `use_preset`, `task`, `env_args`, `data`, and settings of all rows;
        `evaluate_every`, `evaluation`, `keep` as for `train`; `score`: what ranks the rows, `evaluation`, or a metric;
        `wandb`: a project, or options of `wandb.init`, to send each run to when it is stored, in one group.

    Raises:
      ConfigError: a name, field or value that cannot be; a folder of something else; a row too big for the memory.
      StorageError: a result cannot be stored; what was stored before is kept.
      WorkerError: a process died.
      Interrupted, Terminated: SIGINT or SIGTERM came, and what was reached was stored first; a KeyboardInterrupt and a
        SystemExit with the partial `SweepResult` as `result`. A second Ctrl-C interrupts at once.
    """
    where = None if out is None else absolute(out)
    asked = spec.specify(algo, env, steps, seeds, grid=grid, sample=sample, trials=trials, **what)
    how = {"workers": workers, "width": width, "memory_limit": memory_limit, "extend": extend}
    require(out is not None or not extend, "extend", extend, "needs the folder of the sweep that is there, out=")
    require(out is not None or jax.process_count() == 1, "out", None, "several processes need a folder they share")
    if where is not None:
        return run(asked, where, progress, **how)
    folder = tempfile.TemporaryDirectory(prefix="rljax-sweep-", ignore_cleanup_errors=True)
    try:
        found = run(asked, Path(folder.name), progress, **how)
    except Stopped as stopped:
        raise stopped.carrying(dataclasses.replace(stopped.result, keep=folder)) from None
    return dataclasses.replace(found, keep=folder)


def resume(
    folder: str | Path,
    progress: bool = True,
    envs: Mapping[str, Env] | None = None,
    objective: Any = None,
    data: Any = None,
    seeds: int | Sequence[int] | None = None,
    steps: int | None = None,
    **how: Any,
) -> result.SweepResult:
    """Goes on with a sweep that was stopped or killed; one that is finished is read.

    Args:
      folder: what `sweep` wrote.
      seeds, steps: more of them, for a sweep that is to be extended.
      envs: environments that are not registered, by name.
      objective: the class of the objective, if it is one of your own.
      data: what is learned from, if anything is.
      **how: `workers`.
    """
    path = absolute(folder, "sweep")
    record = store.read(path)
    with records.understood(path / store.RECORD):
        asked = spec.from_record(record, envs, objective, f"rljax.sweeps.driver.resume({str(folder)!r}", data)
    if seeds is None and steps is None:
        return run(asked, path, progress, **how)
    return run(asked.with_more(seeds, steps), path, progress, extend=True, **how)


def run(
    asked: spec.Sweep, out: Path | Numbered, progress: bool = True, extend: bool = False, **how: Any
) -> result.SweepResult:
    """Runs what is left of a sweep in its folder, round after round."""
    runtime.start()
    plan_in = extending.plan_in if extend else planning.plan_in
    if asked.wandb is not None:
        log.check_wandb(asked.wandb["project"])
    first = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(cluster.one_fate())
        cluster.agree(lambda: asked.arguments() | {"out": out.name})
        lock = stack.enter_context(locked(out, SWEEP)) if first else None
        folder = lock.path if lock else out.parent / out.name
        if first:
            planned = plan_in(folder, asked, **how)
            cluster.gather("planned", planning.mark(folder))
        else:
            planning.shared(folder, cluster.gather("planned")[0])
            planned = plan_in(folder, asked, **how)
        pool = stack.enter_context(Pool(planned.machine.workers, folder / store.PROGRESS, SWEEP.kept(folder)))
        while True:
            whole = asked.search.keep_states or asked.keep == spec.STATE
            job = SweepJob(planned.programs, planned.groups, folder, whole, asked.evaluation, asked.keep, asked.score)
            left = pending(folder, shards_of(planned.groups, planned.sweep.seeds))
            cluster.wait("listed")
            with _progress(planned, left, progress and first) as say, stop_signals() as received:
                asked_to_stop = cluster.stopping(received, stopping(lock, received))
                pool.run(job, left, say, asked_to_stop)
                cluster.wait("finished", asked_to_stop)
            found = result.load(folder)
            if first and asked.wandb is not None:
                wandb_runs.send(found, asked.wandb)
            if received:
                stop(received[0], dataclasses.replace(found, stopped_by=received[0]))
            more = next_round(planned, found)
            if more is None:
                break
            planned = more
            if first:
                write_json(folder / store.RECORD, versioned(to_record(planned)))
        if first:
            store.put_together(folder)
            shutil.rmtree(folder / store.PROGRESS, ignore_errors=True)
            found.save(folder / store.RESULT)
        cluster.wait("saved")
        return found


@contextlib.contextmanager
def _progress(planned: Plan, left: list[Shard], show: bool) -> Iterator[Say]:
    if not show:
        yield lambda report: None
        return
    share = jax.process_count()  # each process hears of its own shards alone
    seeds, names = planned.sweep.seeds, {shard.name for shard in left}
    every = shards_of(planned.groups, seeds)
    members = [len(g.rows) * len(g.seeds or seeds) for g in planned.groups]
    done = [shard for shard in every if shard.name not in names]
    per_run = {i: planned.steps_of(g) // members[i] for i, g in enumerate(planned.groups)}
    stored, runs = (sum(len(shard.members) for shard in shards) for shards in (done, every))
    start = sum(len(shard.members) * per_run[shard.group] for shard in done)
    on = ranking.environments([row.where for row in planned.sweep.rows])
    of = (planned.steps // share, start // share, runs // share, stored // share, len(seeds), on)
    bar = Progress("sweep", *of, unit=planned.unit)
    try:
        yield bar.report
    finally:
        bar.close()
