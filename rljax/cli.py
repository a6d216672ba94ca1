"""The command `rljax`: train, eval, plot, render, list. What it prints first needs no jax."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from rljax import algos, envs
from rljax.algos.presets import PRESETS, preset
from rljax.errors import ConfigError, DivergedError, RljaxError, require
from rljax.settings import Setting, assignments, objectives

USAGE = 2  # the exit code of a command that cannot be carried out as given
DIVERGED = 1
SIGNALLED = 128  # plus the signal's number, as shells have it


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped or killed, to the same bits as one that never was.

    Args:
      resume: the run folder.
    """

    resume: Path

    def __call__(self) -> int:
        from rljax import api

        return _finish(api.resume(self.resume))


@dataclasses.dataclass(frozen=True)
class Eval:
    """Play whole episodes with a trained policy; prints the mean return and its 95 % interval.

    Args:
      run: the run folder.
      episodes: how many, side by side.
      greedy: the most likely actions, or sampled ones.
      seed: of the episodes.
      json: print one JSON object instead.
    """

    run: Positional[Path]
    episodes: int = 128
    greedy: bool = True
    seed: int = 0
    json: bool = False

    def __call__(self) -> int:
        from rljax import api

        require(self.episodes >= 1, "episodes", self.episodes, "must be at least 1")
        policy = api.load(self.run)
        found = _evaluate(policy, self.run, self.episodes, self.greedy, self.seed)
        print(json.dumps(found) if self.json else _sentence(found))
        return 0


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the learning curves of one or more runs; runs that differ by their seed alone become one curve.

    Args:
      runs: run folders.
      out: the picture (png, pdf or svg); by default curve.png in the first folder.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path | None = None

    def __call__(self) -> int:
        from rljax.results import plots

        require(len(self.runs) > 0, "runs", "()", "give at least one run folder")
        print(plots.plot_runs(self.runs, self.out or self.runs[0] / "curve.png"))
        return 0


@dataclasses.dataclass(frozen=True)
class Render:
    """Play one episode with a trained policy and keep it as a GIF.

    Args:
      run: the run folder.
      out: the picture; by default episode.gif in the run folder.
      steps: the most steps to show.
      fps: frames per second.
      greedy: the most likely actions, or sampled ones.
      seed: of the episode.
    """

    run: Positional[Path]
    out: Path | None = None
    steps: int = 500
    fps: int = 30
    greedy: bool = True
    seed: int = 0

    def __call__(self) -> int:
        from rljax import api
        from rljax.results import video

        require(self.steps >= 1, "steps", self.steps, "must be at least 1")
        require(1 <= self.fps <= 100, "fps", self.fps, "must lie between 1 and 100")
        frames = api.load(self.run).film(self.steps, self.greedy, self.seed)
        print(video.save_gif(frames, self.out or self.run / "episode.gif", self.fps))
        return 0


@dataclasses.dataclass(frozen=True)
class List:
    """What there is: algorithms, environments, objectives, or presets with their sources.

    Args:
      what: which.
    """

    what: Positional[Literal["algos", "envs", "objectives", "presets"]]

    def __call__(self) -> int:
        if self.what == "presets":
            for (algo, env), known in PRESETS.items():
                values = " ".join(f"{name}={value}" for name, value in known.settings.items()) or "the defaults"
                print(f"{algo} {env}: {known.steps:,} steps, {values} ({known.source})")
        else:
            print("\n".join({"algos": algos.names, "envs": envs.names, "objectives": objectives}[self.what]()))
        return 0


COMMANDS: dict[str, type] = {"eval": Eval, "plot": Plot, "render": Render, "list": List}

OVERVIEW = """usage: rljax COMMAND [options]

  train ALGO ENV     train one agent:         rljax train ppo CartPole-v1 --out runs/a
  train --resume RUN go on with a stopped run
  eval RUN           score it:                rljax eval runs/a --episodes 128
  plot RUN...        draw its learning curve
  render RUN         film an episode as a GIF
  list WHAT          algos, envs, objectives or presets

rljax COMMAND --help shows the options; rljax train ALGO ENV --help those of an algorithm, with the values that
would be used on that environment.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    gc.set_threshold(
        200_000, 50, 50
    )  # imports and tracing make objects that stay: fewer collections start 0.2 s sooner
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(OVERVIEW, end="")
        return 0 if arguments else USAGE
    try:
        return _parse(arguments)()
    except DivergedError as error:
        print(f"rljax: {error}", file=sys.stderr)
        return DIVERGED
    except RljaxError as error:
        print(f"rljax: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return SIGNALLED + 2
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGNALLED + 13


def _parse(arguments: list[str]) -> Callable[[], int]:
    command, rest = arguments[0], arguments[1:]
    if command == "--version":
        from importlib.metadata import version

        return lambda: print(f"rljax {version('rljax')}") or 0
    if command == "train":
        return _parse_train(rest)
    if command not in COMMANDS:
        from rljax.errors import unknown

        raise unknown("command", command, ["train", *COMMANDS], "rljax --help")
    return tyro.cli(COMMANDS[command], prog=f"rljax {command}", args=rest)


def _parse_train(arguments: list[str]) -> Callable[[], int]:
    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        return tyro.cli(Resume, prog="rljax train", args=arguments)
    names = []
    for argument in arguments[:2]:
        if argument.startswith("-"):
            break
        names.append(argument)
    asked_for_help = any(a in ("-h", "--help") for a in arguments)
    if len(names) < 2 and not asked_for_help:
        raise ConfigError("train needs an algorithm and an environment, e.g. rljax train ppo CartPole-v1")
    algo = names[0] if names else "ppo"
    known = algos.settings(algo)  # refuses an unknown algorithm
    if len(names) > 1:
        envs.check(names[1])
    start = preset(algo, names[1]) if len(names) > 1 else None
    defaults = {name: setting.default for name, setting in known.items()} | (start.settings if start else {})
    kind = _train_type(algo, known, defaults, start.steps if start else None)
    parsed = tyro.cli(kind, prog=f"rljax train {' '.join(names) or 'ALGO ENV'}", args=arguments[len(names) :])
    given = {name: getattr(parsed, _identifier(name)) for name in known}
    changed = {name: value for name, value in given.items() if value != defaults[name]}
    return lambda: _train(algo, names[1], parsed, changed)


def _train_type(algo: str, known: dict[str, Setting], defaults: dict[str, Any], steps: int | None) -> type:
    """The dataclass whose fields are the options of `rljax train ALGO ENV`."""
    options: list[tuple[str, Any, Any, Any]] = [
        ("steps", int if steps else int | None, steps, "environment steps, rounded up to whole updates"),
        ("seed", int, 0, "of the run"),
        ("out", Path | None, None, "a new run folder; by default runs/ALGO-ENV-sSEED, numbered"),
        ("episodes", int, 128, "of the evaluation at the end; 0: none"),
        ("task", tuple[str, ...], (), "environment parameters to change: NAME=NUMBER ..."),
        ("log_every", int | None, None, "updates per logged row; by default a 100th of the run"),
        ("save_every", int | None, None, "updates per checkpoint; by default every ten seconds"),
        ("tensorboard", bool, True, "log for TensorBoard too"),
        ("wandb", str | None, None, "log to this Weights & Biases project too"),
        *((name, setting.type, defaults[name], setting.doc) for name, setting in known.items()),
    ]
    fields = [
        (
            _identifier(name),
            Annotated[kind, arg(name=name.replace("_", "-"), help=doc)],
            dataclasses.field(default=start),
        )
        for name, kind, start, doc in options
    ]
    made = dataclasses.make_dataclass("Train", fields, frozen=True)
    made.__doc__ = f"Train one {algo} agent: a live progress bar, a run folder, its score and its learning curve."
    return made


def _identifier(setting: str) -> str:
    return setting.replace(".", "__")


def _train(algo: str, env: str, options: Any, settings: dict[str, Any]) -> int:
    from rljax import api
    from rljax.results import store

    require(options.episodes >= 0, "episodes", options.episodes, "must be at least 0")
    out = options.out or store.free_folder(Path("runs"), f"{algo}-{env.replace('/', '-')}-s{options.seed}")
    run = api.train(
        algo,
        env,
        steps=options.steps,
        seed=options.seed,
        out=out,
        task=assignments(options.task),
        tensorboard=options.tensorboard,
        wandb=options.wandb,
        log_every=options.log_every,
        save_every=options.save_every,
        **settings,
    )
    return _finish(run, options.episodes)


def _finish(run: Any, episodes: int = 128) -> int:
    """Says what a run came to: how to go on with it, or its score and picture."""
    asked = run.record["steps"]
    if run.stopped_by:
        print(f"stopped by {run.stopped_by.name} at step {run.step:,}; to go on: rljax train --resume {run.folder}")
        return SIGNALLED + run.stopped_by
    if run.step != asked:
        print(f"{run.step:,} steps done for {asked:,} asked: whole updates of {run.record['steps_per_update']:,}")
    if episodes:
        print(_sentence(_evaluate(run.policy, run.folder, episodes, greedy=True, seed=0)))
    from rljax.results import plots

    print(f"learning curve: {plots.plot_runs([run.folder], run.folder / 'curve.png')}")
    print(f"run folder: {run.folder}")
    return 0


def _evaluate(policy: Any, folder: Path, episodes: int, greedy: bool, seed: int) -> dict[str, Any]:
    from rljax.results import stats, store

    returns = policy.evaluate(episodes, greedy, seed)
    mean, low, high = stats.mean_ci(returns)
    found = {
        "run": str(folder),
        "step": policy.step,
        "episodes": episodes,
        "greedy": greedy,
        "seed": seed,
        "mean": float(mean),
        "low": float(low),
        "high": float(high),
        "returns": returns.tolist(),
    }
    store.write(folder / store.EVALUATION, found)
    return found


def _sentence(found: dict[str, Any]) -> str:
    how = "greedy" if found["greedy"] else "sampled"
    return (
        f"return {found['mean']:.4g} [{found['low']:.4g}, {found['high']:.4g}] "
        f"(mean and 95 % interval, {found['episodes']} {how} episodes, after {found['step']:,} steps)"
    )
