"""`rljax meta-eval`: compares the result of a search with other algorithms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from tyro.conf import Positional, UseAppendAction

from rljax import algos, envs, shipped
from rljax.algos.presets import preset
from rljax.arguments import PROCESSES, SOME, STEPS
from rljax.cli.options import named
from rljax.cli.shared import keep
from rljax.errors import SIGNALLED, ConfigError, Stopped, require
from rljax.kinds import Several
from rljax.storage import absolute, shown

LEARNED = "learned"


class Source(NamedTuple):
    """A learned part, with the settings it was learned with."""

    algo: str
    settings: dict[str, Any]  # what was learned, as settings of the algorithm
    places: dict[str, dict[str, Any]]  # environment -> other settings there
    steps: dict[str, int]  # environment -> steps of the longest run


@dataclasses.dataclass(frozen=True)
class MetaEval:
    """Compare the result of a search with other algorithms in the same runs: scores, paired differences, intervals.

    Args:
      learned: a search's folder, the file of a learned objective, or the name of one that comes with rljax.
      env: NAME[,FIELD=VALUE...] with settings there, for all contenders; may be repeated; by default where it was
        learned.
      steps: environment steps of a run; may be repeated.
      seeds: runs of each contender on each environment, the same for all.
      against: contenders, each with its settings, e.g. ppo,dpo,ppo,objective.clip=0.3.
      fitness: of a run: its end, all of it, or episodes after it.
      out: the file; by default comparison.json beside the learned part, numbered.
      workers: processes; by default one for each core, or one for all accelerators.
      objective: module:Class, where that is one of your own.
    """

    learned: Positional[Path]
    env: UseAppendAction[tuple[str, ...]] = ()
    steps: UseAppendAction[Annotated[tuple[int, ...], Several(STEPS)]] = ()
    seeds: Annotated[int, SOME] = 32
    against: str = "ppo"
    fitness: Literal["final", "mean", "evaluation"] = "final"
    out: str | None = None
    workers: Annotated[int | None, PROCESSES] = None
    objective: str | None = None

    def __call__(self) -> int:
        places = [named(text, "env") for text in self.env]
        for env, _ in places:
            envs.accept(env)
        rivals = _rivals(self.against)
        from rljax import records, runtime
        from rljax.meta import compare

        ours = str(self.learned) in shipped.names() and not self.learned.exists()
        learned = shipped.file_of(str(self.learned)) if ours else absolute(self.learned, "learned")
        out = None if self.out is None else absolute(self.out)
        runtime.start()
        source = _source(learned, self.objective)
        places = places or [(env, {}) for env in source.places]
        require(bool(places), "env", None, "say where, e.g. --env CartPole-v1")
        with records.understood(learned):
            contenders = _contenders(source, rivals, places, self.steps)
        try:
            found = compare.compare(contenders, self.seeds, self.fitness, workers=self.workers)
        except Stopped as stopped:
            print("stopped; nothing is kept")
            return SIGNALLED + stopped.by
        print(found.table().to_string(index=False, na_rep="", float_format=lambda x: f"{x:.4g}"))
        print(found.note)
        path = keep("this comparison", lambda: found.save(out or _free(Path.cwd() if ours else learned)))
        if path:
            print(shown(path))
        return 0


def _contenders(
    source: Source, rivals: dict[str, tuple[str, dict[str, Any]]], places: list[Any], lengths: Sequence[int]
) -> dict[str, list[Any]]:
    """The domains of each contender, by its name."""
    from rljax.meta import spec

    found: dict[str, list[Any]] = {LEARNED: [], **{label: [] for label in rivals}}
    for env, numbers in places:
        common, recorded = _common(source, env) | numbers, env in source.places
        for steps in lengths or [_steps(source, env)]:
            how: dict[str, Any] = {"use_preset": False, "recorded": recorded}
            learned = spec.domain(source.algo, env, steps, **common, **source.settings, **how)
            found[LEARNED].append(learned)
            for label, (algo, changes) in rivals.items():
                fields = {name: x for name, x in common.items() if name in algos.settings(algo)} | changes
                found[label].append(spec.domain(algo, env, steps, **fields, **how))
    return found


def _source(path: Path, objective: str | None) -> Source:
    """Reads a learned part from a folder or a file."""
    from rljax.meta import result
    from rljax.objectives import files

    if path.is_file():
        stored = files.read(path)
        parts = {name.split("/")[0] for name in stored.arrays if "/" in name}
        return _described(path, stored.provenance, dict.fromkeys(parts or ["objective"], str(path)), objective)
    found = result.load(path, objective=objective)
    learned = {name: getattr(found.hypers, name) for name in {part.split(".")[0] for part in found.theta}}
    return _described(path, found.provenance(), learned, None)


def _described(path: Path, provenance: dict[str, Any], learned: dict[str, Any], objective: str | None) -> Source:
    """Reads the provenance of a learned part. Raises ConfigError where it is not as rljax writes it."""
    from rljax import records
    from rljax.objectives.plugged import plug_in_again
    from rljax.spec import RunSpec

    with records.understood(path):
        tasks = [task for task in provenance["tasks"] if isinstance(task, dict) and "algo" in task]  # or in other words
        if any("settings" in task for task in tasks):
            remedy = "name the file as an objective, which still works, or learn it again"
            raise ConfigError(f"{path}: its history is of rljax 0.1, which this version does not read; {remedy}")
        specs = [RunSpec.from_json(task) for task in tasks]
        plug_in_again((spec.objective.name for spec in specs if spec.objective), objective, "")
        other = lambda name: name.split(".")[0] not in (*learned, "horizon")  # noqa: E731
        algo = tasks[0]["algo"] if tasks else "ppo"
        learned |= {n: x for n, x in algos.with_defaults(algo, {}).items() if n not in learned}  # what makes it that
        places = {str(spec.env): {n: x for n, x in spec.settings.items() if other(n)} for spec in specs}
        return Source(algo, learned, places, {str(spec.env): spec.steps for spec in specs})


def _common(source: Source, env: str) -> dict[str, Any]:
    """The settings of all contenders on an environment: as learned with there, else its preset, else as elsewhere."""
    known = preset(source.algo, env)
    if env in source.places or known is None:
        return dict(source.places.get(env, next(iter(source.places.values()), {})))
    return dict(known.settings)


def _steps(source: Source, env: str) -> int:
    known = preset(source.algo, env)
    if env in source.steps:
        return source.steps[env]
    if known is None:
        raise ConfigError(f"steps=None: there is no preset for {env}; say how many")
    return known.steps


def _rivals(text: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """`ppo,dpo,ppo,objective.clip=0.3` by label: (algorithm, its own settings)."""
    found: list[tuple[str, dict[str, Any]]] = []
    for part in text.split(","):
        if "=" not in part:
            algos.settings(part)  # refuses an unknown one
            found.append((part, {}))
            continue
        require(bool(found), "against", text, "begin with an algorithm")
        found[-1][1].update(named(f"{found[-1][0]},{part}", "against")[1])
    return {",".join([algo, *(f"{n}={x}" for n, x in numbers.items())]): (algo, numbers) for algo, numbers in found}


def _free(learned: Path) -> Path:
    folder = learned if learned.is_dir() else learned.parent
    names = (folder / f"comparison{'' if i == 1 else f'-{i}'}.json" for i in range(1, 10**6))
    return next(path for path in names if not path.exists())
