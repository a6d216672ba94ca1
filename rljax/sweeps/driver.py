"""`rljax.sweep`: from what is asked, by way of a plan, to what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from rljax import algos, envs, runtime
from rljax.errors import ConfigError, require
from rljax.run import stop_signals
from rljax.sweeps import cluster, execute, plan, pool, result, rows, space, store
from rljax.sweeps import memory as machine_memory
from rljax.sweeps.execute import Job
from rljax.sweeps.plan import Group, Machine, Programs
from rljax.sweeps.progress import Progress
from rljax.types import Env


@dataclass(frozen=True)
class Sweep:
    """What is to be run: checked, not planned yet.

    Attributes:
      rows: every setting.
      seeds: that each of them is run with.
      log_every: updates a logged point; None: a 100th of the run.
      asked: how it was asked for, to be recorded.
    """

    rows: list[rows.Row]
    seeds: list[int]
    log_every: int | None
    asked: dict[str, Any]


def specify(
    algo: str | Sequence[str] | None,
    env: str | Env | Sequence[str | Env] | None,
    steps: int | None = None,
    seeds: int | Sequence[int] = 8,
    *,
    grid: Mapping[str, space.Values] | None = None,
    sample: Mapping[str, str | space.Distribution] | None = None,
    trials: int | None = None,
    sample_seed: int = 0,
    use_preset: bool = True,
    task: Mapping[str, Any] | None = None,
    env_args: Mapping[str, Any] | None = None,
    log_every: int | None = None,
    **settings: Any,
) -> Sweep:
    """What is to be run; arguments and errors as for `sweep`."""
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    require(len(numbers) > 0, "seeds", seeds, "must be at least 1")
    for seed in numbers:
        require(isinstance(seed, int) and 0 <= seed < 2**32, "seed", seed, "must be a whole number in [0, 2^32)")
    require(len(set(numbers)) == len(numbers), "seeds", seeds, "must differ from each other")
    require(log_every is None or log_every >= 1, "log_every", log_every, "must be at least 1")
    require(
        steps is None or (isinstance(steps, int) and steps >= 1), "steps", steps, "must be a whole number, at least 1"
    )
    asked = space.space(grid or {}, sample or {}, trials, sample_seed)
    fixed = {**settings, **{rows.TASK + name: value for name, value in (task or {}).items()}}
    found = rows.build(algo, env, steps, asked.rows(), fixed, env_args or {}, use_preset)
    return Sweep(
        found,
        numbers,
        log_every,
        {
            "grid": {name: [rows.plain(x) for x in values] for name, values in asked.grid.items()},
            "sample": {name: dataclasses.asdict(d) for name, d in asked.sample.items()},
            "trials": trials,
            "sample_seed": sample_seed,
            "fixed": {name: rows.plain(value) for name, value in fixed.items()},
        },
    )


@dataclass(frozen=True)
class Plan:
    """A sweep, and how it will be run: print it.

    Attributes:
      sweep: what.
      groups: rows that share a program.
      machine: what for.
      programs: built rows, and the programs compiled so far.
    """

    sweep: Sweep
    groups: list[Group]
    machine: Machine
    programs: Programs

    @property
    def steps(self) -> int:
        """Environment steps of all runs."""
        return sum(self.steps_of(group) for group in self.groups)

    def steps_of(self, group: Group) -> int:
        """Environment steps of a group's runs."""
        per_update = self.programs.prepared[group.rows[0]].algorithm.steps_per_update
        return (group.updates - group.start) * per_update * len(group.rows) * len(self.sweep.seeds)

    def __str__(self) -> str:
        runs = len(self.sweep.rows) * len(self.sweep.seeds)
        takes = plan.seconds(self.groups, len(self.sweep.seeds), self.machine)
        where = _where(self.machine)
        lines = [
            f"{len(self.sweep.rows)} rows x {len(self.sweep.seeds)} seeds = {runs} runs, {self.steps:,} steps in all",
            f"{len(self.groups)} training program{'s' * (len(self.groups) > 1)}, {where}, about {_duration(takes)}",
        ]
        for i, group in enumerate(self.groups):
            first = self.sweep.rows[group.rows[0]]
            prepared = self.programs.prepared[group.rows[0]]
            lots = group.lots(self.sweep.seeds)
            lines += [
                f"group {i}: {first.algo} {prepared.env.name}, {len(group.rows)} rows from {group.rows[0]}"
                f" ({rows.describe(first.varied) or 'no field varies'}), {group.updates} updates",
                f"  {group.why}",
                f"  {len(lots)} lots of {group.width}, {machine_memory.write(group.bytes)} each",
            ]
        return "\n".join(lines)


def make_plan(
    sweep: Sweep, *, workers: int | None = None, width: int | None = None, memory_limit: str | int | None = None
) -> Plan:
    """Groups the rows by what must be compiled apart, and measures how to run each group.

    Args:
      workers: processes; by default one for each core of a CPU, and one where there are other devices.
      width: members side by side on a device; by default what measures fastest and fits.
      memory_limit: bytes to stay within, e.g. `16GB`; by default most of what is free.

    Raises:
      ConfigError: a row that cannot be built, or that does not fit into memory.
    """
    require(workers is None or workers >= 1, "workers", workers, "must be at least 1")
    require(width is None or width >= 1, "width", width, "must be at least 1")
    several = jax.device_count() > 1 or jax.default_backend() != "cpu"
    require(not (several and (workers or 1) > 1), "workers", workers, "there is one process for all devices here")
    free = (
        machine_memory.free() if memory_limit is None else min(machine_memory.read(memory_limit), machine_memory.free())
    )
    runs = len(sweep.rows) * len(sweep.seeds)
    machine = Machine(1 if several else min(workers or machine_memory.cores(), runs), jax.device_count(), free)
    programs = Programs([row.prepare() for row in sweep.rows])
    groups = plan.group(programs, sweep.log_every)
    need = max(programs.of(group).bytes for group in groups)  # of one member alone
    machine = machine._replace(workers=min(machine.workers, max(1, machine.memory // need)))
    groups = [
        plan.choose(programs, group, len(sweep.seeds), machine, sweep.rows[group.rows[0]], width) for group in groups
    ]
    if workers is None and plan.seconds(groups, len(sweep.seeds), machine._replace(workers=1)) < plan.BRIEF:
        machine = machine._replace(workers=1)  # more processes would take longer to start than they save
    return Plan(sweep, groups, machine, programs)


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
    workers: int | None = None,
    width: int | None = None,
    memory: str | int | None = None,
    progress: bool = True,
    **what: Any,
) -> result.SweepResult:
    """Trains every row of settings with every seed, as few compiled programs, on the whole machine.

    Killed or stopped, the same call goes on where it was and ends with the same arrays.

    Args:
      algo, env: one, or several to be swept.
      steps: environment steps of each run, rounded up to whole updates; by default the preset's.
      seeds: how many (0, 1, ...), or which; every row gets the same.
      grid: field -> values, e.g. `{"lr": [1e-4, 3e-4], "num_envs": [16, 64], "task.length": "linear:0.5:1:3"}`.
      sample: field -> distribution, e.g. `{"discount": "uniform:0.9:0.999"}`; all points are tried in every grid cell.
      trials: how many points to sample.
      out: a folder, new or of this same sweep; None keeps the results in a temporary one.
      workers: processes; by default one for each core of a CPU, and one where there are other devices.
      width: members side by side in a program; by default what measures fastest and fits.
      memory: to stay within, e.g. `16GB`; by default most of what is free.
      progress: show a progress bar.
      **what: `sample_seed`, `log_every`, `use_preset`, `task`, `env_args`, and settings of all rows.

    Returns:
      The results; those so far if a signal stopped it.

    Raises:
      ConfigError: a name, field or value that cannot be; a folder of something else; a row too big for the memory.
      StorageError: a result cannot be stored; what was stored before is kept.
      WorkerError: a process died.
    """
    asked = specify(algo, env, steps, seeds, grid=grid, sample=sample, trials=trials, **what)
    how = {"workers": workers, "width": width, "memory_limit": memory}
    require(out is not None or jax.process_count() == 1, "out", None, "several processes need a folder they share")
    if out is not None:
        return run(asked, Path(out), progress, **how)
    folder = tempfile.TemporaryDirectory(prefix="rljax-sweep-", ignore_cleanup_errors=True)
    found = run(asked, Path(folder.name), progress, **how)
    return dataclasses.replace(found, keep=folder)


def resume(
    folder: str | Path, progress: bool = True, own: Mapping[str, Env] | None = None, **how: Any
) -> result.SweepResult:
    """Goes on with a sweep that was stopped or killed; one that is finished is read.

    Args:
      folder: what `sweep` wrote.
      own: environments that are not registered, by name.
      **how: `workers`.
    """
    record = store.read(Path(folder))
    asked = Sweep(rows.from_record(record, own), record["seeds"], record["log_every"], record["asked"])
    return run(asked, Path(folder), progress, **how)


def run(asked: Sweep, folder: Path, progress: bool = True, **how: Any) -> result.SweepResult:
    """Runs what is left of a sweep in its folder."""
    first = jax.process_index() == 0
    with store.locked(folder) if first else contextlib.nullcontext():
        if not first:
            cluster.wait("planned")
        planned = _planned(asked, folder, **how)
        if first:
            cluster.wait("planned")
        job = Job(folder, planned.programs, planned.groups, asked.seeds)
        pending = job.pending()
        cluster.wait("listed")
        with _progress(planned, job, pending, progress and first) as say, stop_signals() as received:
            if planned.machine.workers > 1:
                work, logs = _portable(asked, folder, planned), folder / store.PROGRESS
                pool.run(work, pending, planned.machine.workers, logs, say, lambda: bool(received))
            else:
                _here(job, pending, say, lambda: bool(received))
        if received:
            return dataclasses.replace(result.load(folder), stopped_by=received[0])
        cluster.wait("finished")
        found = result.load(folder)
        if first:
            shutil.rmtree(folder / store.PROGRESS, ignore_errors=True)
            found.save(folder / store.RESULT)
        cluster.wait("saved")
        return found


def _planned(asked: Sweep, folder: Path, **how: Any) -> Plan:
    """A new plan, recorded; or the recorded one, if the folder is of this sweep."""
    if not (folder / store.RECORD).exists():
        strangers = [path.name for path in folder.iterdir() if path.name != store.LOCK]
        require(not strangers, "out", folder, "exists, and is not of a sweep; choose another folder")
        planned = make_plan(asked, **how)
        store.write_record(folder, _record(planned))
        return planned
    there = store.read(folder)
    programs = Programs([row.prepare() for row in asked.rows])
    _refuse_another(folder, there, [r.record(p) for r, p in zip(asked.rows, programs.prepared)], asked)
    groups = [Group(**{f.name: g[f.name] for f in dataclasses.fields(Group)}) for g in there["plan"]]
    several = jax.device_count() > 1 or jax.default_backend() != "cpu"
    workers = 1 if several else how.get("workers") or there["workers"]
    return Plan(asked, groups, Machine(workers, jax.device_count(), 0), programs)


def _record(planned: Plan) -> dict[str, Any]:
    """What `sweep.json` says."""
    asked = planned.sweep
    records = [row.record(prepared) for row, prepared in zip(asked.rows, planned.programs.prepared)]
    of = {row: i for i, group in enumerate(planned.groups) for row in group.rows}
    for i, row in enumerate(records):
        row |= {"group": of[i], "points": planned.groups[of[i]].points()}
    return {
        "algo": list(dict.fromkeys(row["algo"] for row in records)),
        "env": list(dict.fromkeys(row["env"] for row in records)),
        "seeds": asked.seeds,
        "varied": list(dict.fromkeys(name for row in records for name in row["varied"])),
        "log_every": asked.log_every,
        "asked": asked.asked,
        "plan": [dataclasses.asdict(group) for group in planned.groups],
        "workers": planned.machine.workers,
        "devices": planned.machine.devices,
        **runtime.provenance(),
        "rows": records,
    }


def _refuse_another(folder: Path, there: dict[str, Any], records: list[dict[str, Any]], asked: Sweep) -> None:
    """Raises ConfigError if the folder is of another sweep, with the first difference."""
    pairs = [("seeds", there["seeds"], asked.seeds), ("rows", len(there["rows"]), len(records))]
    pairs += [("log_every", there["log_every"], asked.log_every)]
    for a, b in zip(there["rows"], records):
        pairs += [(name, a[name], b[name]) for name in ("algo", "env", "env_args", "steps")]
        pairs += [(n, a["settings"].get(n), b["settings"].get(n)) for n in {**a["settings"], **b["settings"]}]
    for name, old, new in pairs:
        if old != new and list(_flat(old)) != list(_flat(new)):
            raise ConfigError(
                f"out={folder}: holds another sweep ({name} is {old} there, {new} here); choose another folder"
            )


def _flat(value: Any) -> Iterator[Any]:
    """A value as JSON gives it back."""
    if isinstance(value, list | tuple):
        for x in value:
            yield from _flat(x)
    else:
        yield value


def _here(
    job: Job, pending: list[execute.Lot], say: Callable[[execute.News], None], stopping: Callable[[], bool]
) -> None:
    """Runs the lots in this process, as many at once as there are devices."""
    for number in dict.fromkeys(lot.group for lot in pending):
        lots = [lot for lot in pending if lot.group == number]
        for i in range(0, len(lots), jax.device_count()):
            if not execute.run(job, lots[i : i + jax.device_count()], say, stopping):
                return


def _portable(asked: Sweep, folder: Path, planned: Plan) -> bytes:
    """The job as a pickled function, so that another process can build it, the user's own things included."""
    import cloudpickle

    groups, registered, modules = planned.groups, dict(envs._registered), dict(algos._modules)

    def job() -> Job:
        envs._registered.update(registered)
        algos._modules.update(modules)
        return Job(folder, Programs([row.prepare() for row in asked.rows]), groups, asked.seeds)

    return cloudpickle.dumps(job)


@contextlib.contextmanager
def _progress(planned: Plan, job: Job, pending: list[execute.Lot], show: bool) -> Iterator[Callable[[Any], None]]:
    if not show:
        yield lambda news: None
        return
    share = jax.process_count()  # each process hears of its own lots alone
    left = {lot.name for lot in pending}
    done = [lot for lot in job.lots() if lot.name not in left]
    per_run = {i: planned.steps_of(g) // (len(g.rows) * len(job.seeds)) for i, g in enumerate(planned.groups)}
    stored = sum(len(lot.members) for lot in done)
    start = sum(len(lot.members) * per_run[lot.group] for lot in done)
    rows_, seeds = len(planned.sweep.rows), len(job.seeds)
    bar = Progress("sweep", planned.steps // share, start // share, rows_ * seeds // share, stored // share, seeds)
    try:
        yield bar.news
    finally:
        bar.close()


def _where(machine: Machine) -> str:
    if machine.workers > 1:
        return f"{machine.workers} processes"
    return f"{machine.devices} devices" if machine.devices > 1 else "1 process"


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "an unmeasured time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
