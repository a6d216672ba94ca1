"""`rljax train`: one agent."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from rljax import algos, envs
from rljax.algos.presets import preset
from rljax.arguments import EVERY, NUMBER, SEED, STEPS
from rljax.cli import parser
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
from rljax.cli.runs import after, evaluate, sentence
from rljax.cli.shared import file_name, keep, outcome
from rljax.errors import SIGNALLED, require
from rljax.kinds import Maybe
from rljax.progress import amount
from rljax.settings import assignments, values
from rljax.storage import absolute, shown


@dataclasses.dataclass(frozen=True)
class Resume:
    """Continue a run that was stopped or killed, to the same bits as without the stop.

    Args:
      resume: the run folder.
      steps: another end, beyond what is done; also of a run that is finished.
      episodes: of the evaluation at the end; 0: none.
      objective: module:Class, where that is one of your own.
    """

    resume: Path
    steps: Annotated[int | None, Maybe(STEPS)] = None
    episodes: int = 128
    objective: str | None = None

    def __call__(self) -> int:
        from rljax import api

        require(self.episodes >= 0, "episodes", self.episodes, "must be at least 0")
        if self.steps is None and api.finished(self.resume):
            print("this run is finished: nothing is left to train; --steps gives it another end")
        go_on = functools.partial(api.resume, self.resume, objective=self.objective, steps=self.steps)
        return finish(outcome(go_on), self.episodes)


def parse(arguments: Sequence[str]) -> Callable[[], int]:
    """`rljax train`, ready to be called."""
    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        return parser.parse(Resume, "rljax train", arguments)
    names = split_names("train", arguments)
    algo = names[0] if names else "ppo"
    known = with_chosen_objective(arguments, algos.settings(algo))  # refuses an unknown algorithm
    if len(names) > 1:
        envs.accept(names[1])
    start = preset(algo, names[1]) if len(names) > 1 else None
    defaults = {name: setting.default for name, setting in known.items()} | (start.settings if start else {})
    doc = f"Train one {algo} agent: a live progress bar, a run folder, its score and its learning curve."
    options = [*_options(start.steps if start else None), *of_settings(known, defaults)]
    kind = command_type("Train", doc, options)
    parsed = parser.read(kind, f"rljax train {' '.join(names) or 'ALGO ENV'}", arguments[len(names) :])
    return lambda: _train(algo, names[1], parsed.command, given(parsed, known))


def _options(steps: int | None) -> list[Option]:
    return [
        Option("steps", STEPS if steps else Maybe(STEPS), steps, "environment steps, rounded up to whole updates"),
        Option("seed", SEED, 0, "of the run"),
        Option("out", str | None, None, "a new run folder; by default runs/ALGO-ENV-sSEED, numbered"),
        Option("episodes", NUMBER, 128, "of the evaluation at the end; 0: none"),
        Option("task", tuple[str, ...], (), "environment parameters to change: NAME=NUMBER, or NAME=linear(FROM,TO)"),
        Option("curriculum", str | None, None, "a function (progress, task) -> task of yours, module:function"),
        Option("env_args", tuple[str, ...], (), "arguments of the environment's factory: NAME=VALUE ..."),
        Option("start", str | None, None, "a run whose networks and normalisers this one begins with; --from RUN"),
        Option("log_every", EVERY, None, "updates per logged row; by default a 100th of the run"),
        Option("save_every", EVERY, None, "updates per checkpoint; by default every ten seconds"),
        *EVALUATION,
        Option("keep", Literal["last", "best"], "last", "best: the state of the best evaluation too, for eval --best"),
        Option("until_return", float | None, None, "end when an evaluation, or without any a row, has this return"),
        Option("tensorboard", bool, True, "log for TensorBoard too"),
        Option("wandb", tuple[str, ...], (), WANDB),
        Option("sinks", tuple[str, ...], (), "more to log to, by name: rljax list sinks"),
    ]


def _train(algo: str, env: str, options: Any, settings: dict[str, Any]) -> int:
    from rljax import api
    from rljax.results.folder import Numbered

    numbered = Numbered(absolute("runs"), file_name(f"{algo}-{env}-s{options.seed}"))
    run = outcome(
        lambda: api.train(
            algo,
            env,
            steps=options.steps,
            seed=options.seed,
            out=numbered if options.out is None else options.out,
            task=assignments(options.task),
            curriculum=options.curriculum,
            env_args=values(options.env_args, "env_args"),
            sinks=options.sinks,
            start=options.start,
            tensorboard=options.tensorboard,
            wandb=project(options.wandb),
            evaluate_every=options.evaluate_every,
            evaluation=values(options.evaluation, "evaluation"),
            keep=options.keep,
            until_return=options.until_return,
            log_every=options.log_every,
            save_every=options.save_every,
            **settings,
        )
    )
    return finish(run, options.episodes)


def finish(run: Any, episodes: int) -> int:
    """Prints the result of a run: how to continue it, or its score and picture."""
    from rljax.results.folder import RUN

    asked = run.record["steps"]
    if run.stopped_by:
        without = " --episodes 0" if episodes == 0 else ""
        print(f"stopped by {run.stopped_by.name} at step {run.step:,}; to go on: {RUN.again(run.folder)}{without}")
        return SIGNALLED + run.stopped_by
    if run.updates < run.record["updates"]:
        done, enough = amount(run.step, run.updates), run.record["until_return"]
        print(f"ended after {done} of {asked:,}: the return came to {enough:g}")
    elif run.step != asked:
        print(f"{run.step:,} steps done for {asked:,} asked: whole updates of {run.record['steps_per_update']:,}")
    if episodes:
        evaluate(run.policy, run.folder, episodes, greedy=True, seed=0, say=sentence)
    if run.best is not None:
        score, policy = run.best
        print(f"best evaluation: {score:.4g} {after(policy)}; to go by it: rljax eval {shown(run.folder)} --best")
    returns = run.metrics.get("episode_return", ())
    if any(x == x for x in returns):
        from rljax.results import plots

        drawn = keep("the learning curve", lambda: plots.plot_runs([run.folder], run.folder / "curve.png"))
        if drawn:
            print(f"learning curve: {shown(drawn)}")
    else:
        print("no episode ended while training, so there is no learning curve")
    print(f"run folder: {shown(run.folder)}")
    return 0
