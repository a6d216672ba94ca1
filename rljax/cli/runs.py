"""Commands on runs: eval, plot, render; and list."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional

from rljax import plugins, registry, shipped
from rljax.algos.presets import PRESETS
from rljax.arguments import SEED, SOME
from rljax.cli.shared import elsewhere, keep
from rljax.envs.references import REFERENCES
from rljax.errors import require
from rljax.kinds import Count, Maybe
from rljax.progress import amount
from rljax.settings import assignments
from rljax.storage import absolute, shown, write_json

LISTED = {  # registries, by the word that lists them
    "algos": "rljax.algos:ALGORITHMS",
    "envs": "rljax.envs:ENVIRONMENTS",
    "wrappers": "rljax.envs:WRAPPERS",
    "objectives": "rljax.catalogue:OBJECTIVES",
    "torsos": "rljax.catalogue:TORSOS",
    "memories": "rljax.catalogue:MEMORIES",
    "activations": "rljax.catalogue:ACTIVATIONS",
    "optimisers": "rljax.catalogue:OPTIMISERS",
    "schedules": "rljax.catalogue:SCHEDULES",
    "sinks": "rljax.log:SINKS",
}


@dataclasses.dataclass(frozen=True)
class Eval:
    """Play whole episodes with a trained policy; prints the mean return and its 95 % interval.

    Args:
      run: the run folder.
      episodes: how many, side by side.
      greedy: the most likely actions, or sampled ones.
      seed: of the episodes.
      seeds: how many times so many episodes, from that seed on.
      env: another environment of the same spaces.
      task: environment parameters to change, NAME=NUMBER ...
      json: print one JSON object instead.
      best: the policy of the best evaluation while it was trained, where that was kept.
      objective: module:Class, where that is one of your own.
    """

    run: Positional[Path]
    episodes: Annotated[int, SOME] = 128
    greedy: bool = True
    seed: Annotated[int, SEED] = 0
    seeds: Annotated[int, SOME] = 1
    env: str | None = None
    task: tuple[str, ...] = ()
    json: bool = False
    best: bool = False
    objective: str | None = None

    def __call__(self) -> int:
        from rljax import api

        policy = api.load(self.run, best=self.best, objective=self.objective)
        say = json.dumps if self.json else sentence
        where = {"env": self.env, "task": assignments(self.task)}
        evaluate(policy, self.run, self.episodes, self.greedy, self.seed, say, self.seeds, **where)
        return 0


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw learning curves, one for runs that differ by their seed alone; or the course and the result of a search.

    Args:
      runs: run folders, or one folder that meta-train wrote.
      out: the picture (png, pdf or svg); by default curve.png in the folder of a single run, and for several
        comparison.png in the current folder, numbered. For a search, the folder of its pictures.
      metric: the column to draw; by default the return, or of runs that log none the first that they have.
      objective: module:Class, where that is one of your own.
    """

    runs: Positional[tuple[Path, ...]]
    out: str | None = None
    metric: str | None = None
    objective: str | None = None

    def __call__(self) -> int:
        from rljax.results import plots

        require(len(self.runs) > 0, "runs", "()", "give at least one run folder")
        runs = list(dict.fromkeys(absolute(run, "run") for run in self.runs))
        out = None if self.out is None else absolute(self.out)
        if (runs[0] / "meta.json").exists():
            from rljax.meta import result

            require(len(runs) == 1, "runs", "...", "draw one meta-run at a time")
            with elsewhere():
                print(*map(shown, result.load(runs[0], objective=self.objective).plot(out)), sep="\n")
            return 0
        with elsewhere():
            out = out or (runs[0] / "curve.png" if len(runs) == 1 else _comparison())
            print(shown(plots.plot_runs(runs, out, self.metric)))
        return 0


@dataclasses.dataclass(frozen=True)
class Render:
    """Play one episode with a trained policy and write it as an animated picture.

    Args:
      run: the run folder.
      out: the picture, gif, webp or an animated png; by default episode.gif in the run folder.
      steps: the most steps to show.
      fps: frames per second.
      greedy: the most likely actions, or sampled ones.
      seed: of the episode.
      best: the policy of the best evaluation while it was trained, where that was kept.
      objective: module:Class, where that is one of your own.
    """

    run: Positional[Path]
    out: str | None = None
    steps: Annotated[int, SOME] = 500
    fps: Annotated[int, Count(1, 100)] = 30
    greedy: bool = True
    seed: Annotated[int, SEED] = 0
    best: bool = False
    objective: str | None = None

    def __call__(self) -> int:
        from rljax import api
        from rljax.results import video

        out = absolute(self.run, "run") / "episode.gif" if self.out is None else absolute(self.out)
        video.check(out)
        policy = api.load(self.run, best=self.best, objective=self.objective)
        frames = policy.film(self.steps, self.greedy, self.seed)
        with elsewhere():
            print(shown(video.save_film(frames, out, self.fps)))
        return 0


@dataclasses.dataclass(frozen=True)
class Export:
    """Write the greedy policy of a run into a file that needs no rljax.

    Args:
      run: the run folder.
      out: the file: .jax, .onnx, or .npz for plain numpy; by default policy.jax in the run folder.
      best: the policy of the best evaluation while it was trained, where that was kept.
      batch: observations that an .onnx file takes at once; by default one.
      objective: module:Class, where that is one of your own.
    """

    run: Positional[Path]
    out: str | None = None
    best: bool = False
    batch: Annotated[int | None, Maybe(SOME)] = None
    objective: str | None = None

    def __call__(self) -> int:
        from rljax import api, deploy

        out = absolute(self.run, "run") / "policy.jax" if self.out is None else absolute(self.out)
        policy = api.load(self.run, best=self.best, objective=self.objective)
        with elsewhere():
            print(shown(deploy.export(policy, out, self.batch)))
        if out.suffix == ".npz":
            print("to act with it: rljax/deploy/numpy_policy.py, a file that needs numpy alone")
        return 0


@dataclasses.dataclass(frozen=True)
class List:
    """List what can be chosen by a name, that of plugins included, or the plugins.

    Args:
      what: the kind of things to list.
    """

    what: Positional[Literal[*LISTED, "learned", "plugins", "presets"]]  # pyright: ignore

    def __call__(self) -> int:
        plugins.find()
        if self.what == "presets":
            for name, known in PRESETS.items():
                values = " ".join(f"{name}={value}" for name, value in known.settings.items()) or "the defaults"
                print(f"{name}: {known.steps:,} steps, {values} ({known.source})")
        elif self.what == "learned":
            from rljax.objectives import files

            for name in shipped.names():
                stored = files.read(shipped.file_of(name))
                environments = dict.fromkeys(task["env"] for task in stored.provenance["tasks"])
                print(f"{name}: {stored.kind}, on {', '.join(environments)}")
        elif self.what == "plugins":
            for plugin in plugins.known():
                print(f"{plugin.source}: {plugin.error or plugin.version}")
        else:
            names = registry.resolve(LISTED[self.what], self.what)
            for name in sorted(names) if self.what == "algos" else names:
                source = registry.source(names.what, name)
                name += "..." if name.endswith("/") else ""  # a family
                known = str(REFERENCES.get(name, "")) if self.what == "envs" else ""
                print(f"{name}  ({source})" if source else f"{name}  ({known})" if known else name)
        return 0


def evaluate(
    policy: Any,
    folder: Path,
    episodes: int,
    greedy: bool,
    seed: int,
    say: Callable[[Any], str],
    seeds: int = 1,
    env: str | None = None,
    task: Mapping[str, Any] | None = None,
) -> None:
    """Plays episodes and prints their mean return; an evaluation where it was trained is stored in the run's folder."""
    import numpy as np

    from rljax.results import stats, store

    each = [policy.evaluate(episodes, greedy, seed + i, env=env, task=task) for i in range(seeds)]
    returns, episodes = np.concatenate(each), episodes * seeds
    mean, low, high = stats.mean_ci(returns)
    found = {
        "run": str(folder),
        "step": policy.step,
        "episodes": episodes,
        "greedy": greedy,
        "seed": seed,
        "seeds": seeds,
        "env": env or policy.env.name,
        "task": dict(task or {}),
        "elsewhere": env is not None or bool(task),
        "mean": float(mean),
        "low": float(low),
        "high": float(high),
        "returns": returns.tolist(),
    }
    print(say(found), flush=True)
    if env is None and not task:
        keep("this evaluation", lambda: write_json(absolute(folder, "run") / store.EVALUATION, found))


def _comparison() -> Path:
    """Finds a free name: a picture of several runs belongs to none of them, and replaces no other."""
    names = (Path(f"comparison{'' if i == 1 else f'-{i}'}.png") for i in range(1, 10**6))
    return absolute(next(path for path in names if not path.exists()))


def sentence(found: dict[str, Any]) -> str:
    """An evaluation in words."""
    how = "greedy" if found["greedy"] else "sampled"
    changed = " ".join(f"{name}={value:g}" for name, value in found["task"].items())
    how += f" episodes on {found['env']}{f' with {changed}' if changed else ''}" if found["elsewhere"] else " episodes"
    return (
        f"return {found['mean']:.4g} [{found['low']:.4g}, {found['high']:.4g}] "
        f"(mean and 95 % interval, {found['episodes']} {how}, after {found['step']:,} steps)"
    )


def after(policy: Any) -> str:
    """Says for how long a policy was trained."""
    return f"after {amount(policy.step, policy.updates)}"
