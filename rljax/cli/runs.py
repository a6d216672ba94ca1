"""What is done with runs: eval, plot, render; and list."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from rljax import algos, envs
from rljax.algos.presets import PRESETS
from rljax.errors import require
from rljax.settings import objectives


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
        found = evaluate(policy, self.run, self.episodes, self.greedy, self.seed)
        print(json.dumps(found) if self.json else sentence(found))
        return 0


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw learning curves; runs that differ by their seed alone become one. Or what a meta-run has learned, and how.

    Args:
      runs: run folders, or one folder that meta-train wrote.
      out: the picture (png, pdf or svg), by default curve.png in the first folder; the folder for those of a meta-run.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path | None = None

    def __call__(self) -> int:
        from rljax.results import plots

        require(len(self.runs) > 0, "runs", "()", "give at least one run folder")
        if (self.runs[0] / "meta.json").exists():
            from rljax.meta import result

            require(len(self.runs) == 1, "runs", "...", "draw one meta-run at a time")
            print(*result.load(self.runs[0]).plot(self.out), sep="\n")
            return 0
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


def evaluate(policy: Any, folder: Path, episodes: int, greedy: bool, seed: int) -> dict[str, Any]:
    """Plays episodes and records their returns."""
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


def sentence(found: dict[str, Any]) -> str:
    """An evaluation in words."""
    how = "greedy" if found["greedy"] else "sampled"
    return (
        f"return {found['mean']:.4g} [{found['low']:.4g}, {found['high']:.4g}] "
        f"(mean and 95 % interval, {found['episodes']} {how} episodes, after {found['step']:,} steps)"
    )
