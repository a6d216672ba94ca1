"""Discovered and learned policy objectives against PPO. Run by discovery.py.

Whatever is compared is tuned first: learning rate, epochs and its own numbers, on seeds apart from those compared on. A
score is the mean return over a whole training run, unless it says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import say
from kept import compared, finished, once, summary

import rljax
from rljax.meta import evolve, fitness, spec
from rljax.meta.result import Learned
from rljax.meta.strategies import OpenES, raw
from rljax.objectives import LPO, TALPO, files, network
from rljax.results import stats

KIND: fitness.Kind = "mean"
SMALL: dict[str, Any] = {"num_envs": 16, "num_steps": 64, "hidden": (32, 32)}
STEPS = {
    "CartPole-v1": 49_152,
    "Catch-bsuite": 24_576,
    "Acrobot-v1": 49_152,
    "FourRooms-misc": 49_152,
    "Breakout-MinAtar": 65_536,
    "Pendulum-v1": 98_304,
    "Reacher-misc": 49_152,
    "PointRobot-misc": 49_152,
    "DiscountingChain-bsuite": 24_576,
    "UmbrellaChain-bsuite": 24_576,
    "DeepSea-bsuite": 24_576,
    "brax/inverted_pendulum/spring": 49_152,
    "brax/inverted_double_pendulum/spring": 49_152,
    "brax/reacher/spring": 49_152,
}
CHANGES: dict[str, dict[str, Any]] = {  # to the settings that all environments share
    "Pendulum-v1": {"discount": 0.95, "entropy_coef": 0.0, "value_clip": float("inf")},
    "Reacher-misc": {"entropy_coef": 0.0},
    "PointRobot-misc": {"entropy_coef": 0.0},
    "brax/inverted_pendulum/spring": {"entropy_coef": 0.0},
    "brax/inverted_double_pendulum/spring": {"entropy_coef": 0.0},
    "brax/reacher/spring": {"entropy_coef": 0.0},
}
RATES, EPOCHS, CLIPS = (1e-3, 4e-3, 1e-2), (4, 16), (0.1, 0.2, 0.3, 0.5)
TUNING = list(range(1000, 1008))
SEEDS = 32
MORE_SEEDS = {"PointRobot-misc": 128, "Reacher-misc": 128}  # where returns vary most
STANDARD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # what is fixed, and which other fields are tuned
    "ppo": ({}, {"objective.clip": CLIPS}),
    "dpo": ({"objective": "dpo"}, {}),
}

DPO_ENVS = ("CartPole-v1", "Catch-bsuite", "Acrobot-v1", "Breakout-MinAtar", "Pendulum-v1", "Reacher-misc")
Tasks = tuple[tuple[str, dict[str, Any]], ...]  # environments to learn on, with settings near what suits PPO there
CONTROL: Tasks = (  # continuous actions
    ("Pendulum-v1", {"lr": 4e-3, "num_epochs": 16}),
    ("Pendulum-v1", {"lr": 1e-2, "num_epochs": 16}),
    ("Reacher-misc", {"lr": 1e-2, "num_epochs": 16}),
)
PENDULUM: Tasks = CONTROL[:2]
TIMED: Tasks = (  # constant rates: what is to slow down at the end of a run must know of it
    ("CartPole-v1", {"lr": 1e-2, "num_epochs": 16, "lr_final": 1.0}),
    ("Catch-bsuite", {"lr": 1e-2, "num_epochs": 16, "lr_final": 1.0}),
    ("Acrobot-v1", {"lr": 1e-3, "num_epochs": 16, "lr_final": 1.0}),
)
HELD_OUT = (
    "FourRooms-misc",
    "Reacher-misc",
    "DiscountingChain-bsuite",
    "UmbrellaChain-bsuite",
    "DeepSea-bsuite",
)
HELD_OUT_OF_CONTROL = (
    "PointRobot-misc",
    "brax/inverted_pendulum/spring",
    "brax/inverted_double_pendulum/spring",
    "brax/reacher/spring",
    "CartPole-v1",
    "Catch-bsuite",
    "Acrobot-v1",
)
HELD_OUT_OF_PENDULUM = ("Reacher-misc", "PointRobot-misc")
LONG = (("Reacher-misc", 196_608),)  # environments that were not learned on, in long runs, tuned in as long ones
SHIPPED = Path(rljax.__file__).parent / "objectives" / "learned" / "lpo.npz"
LONGER = 4  # times the steps that were learned on
SPREAD = 2.0  # the runs that are learned on are half to twice as long
LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # and compared, the first and the last unseen

Settings = dict[str, Any]


def common(env: str) -> Settings:
    """Settings of all contenders on an environment."""
    return {**SMALL, **CHANGES.get(env, {})}


def tuned(env: str, steps: int, name: str, fixed: Settings, fields: dict[str, Any], work: Path) -> Settings:
    """The best of a grid over learning rates, epochs and other fields, by IQM over the tuning seeds."""
    grid = {"lr": RATES, "num_epochs": EPOCHS, **fields}
    length = "" if steps == STEPS[env] else f"-{steps}"
    found = rljax.sweep(
        "ppo", env, steps, TUNING, grid=grid, log_every=1, use_preset=False, progress=False,
        out=work / f"tune-{name}-{env.replace('/', '-')}{length}", **common(env), **fixed,
    )  # fmt: skip
    shape = found.metrics["episodes"].shape
    metrics = {n: found.metrics[n].reshape(-1, shape[-1]) for n in ("episodes", "episode_return")}
    scores = fitness.of_training(KIND, metrics, np.full(shape[0] * shape[1], shape[-1])).reshape(shape[:2])
    best = max(range(len(found)), key=lambda row: stats.iqm(scores[row]))
    say(f"{env}: {name} tuned to {found.rows[best]}, {stats.iqm(scores[best]):.4g}")
    return {**fixed, **found.rows[best]}


def compare_on(env: str, contenders: dict[str, Settings], steps: int, kind: fitness.Kind = KIND) -> dict[str, Any]:
    """Compares contenders in the same runs on an environment."""
    domains = {
        name: [spec.domain("ppo", env, steps, use_preset=False, **common(env), **settings)]
        for name, settings in contenders.items()
    }
    found = compared(domains, MORE_SEEDS.get(env, SEEDS), kind)
    say(found.table().to_string(index=False))
    table = json.loads(found.table().to_json(orient="records") or "")
    return {"env": env, "steps": steps, "table": table, "scores": np.round(found.scores[:, 0], 4).tolist()}


def plain(settings: Settings) -> Settings:
    """Settings as a result can hold them."""
    return {name: value for name, value in settings.items() if isinstance(value, int | float | str)}


def standard(env: str, steps: int, names: Sequence[str], work: Path) -> dict[str, Settings]:
    """The tuned settings of known objectives."""
    return {name: tuned(env, steps, name, *STANDARD[name], work) for name in names}


def compare_tuned(env: str, contenders: dict[str, Settings], steps: int) -> dict[str, Any]:
    """Compares contenders and adds their tuned settings."""
    return compare_on(env, contenders, steps) | {"tuned": {n: plain(s) for n, s in contenders.items()}}


def dpo(work: Path) -> dict[str, Any]:
    """Compares DPO with PPO, both tuned on each environment."""

    def one(env: str) -> dict[str, Any]:
        return compare_tuned(env, standard(env, STEPS[env], ("dpo", "ppo"), work), STEPS[env])

    return {"places": [once(work / f"dpo-{env}.json", lambda env=env: one(env)) for env in DPO_ENVS]}


def learned(
    objective: Any,
    tasks: Tasks,
    name: str,
    work: Path,
    kind: fitness.Kind = KIND,
    spread: float = 1.0,
    generations: int = 50,
) -> Learned:
    """Evolves an objective on several environments at once, in runs of up to `spread` times the usual length."""
    domains = []
    for env, settings in tasks:
        steps = (int(STEPS[env] / spread), int(STEPS[env] * spread)) if spread > 1 else STEPS[env]
        domains.append(spec.domain("ppo", env, steps, objective=objective, **common(env), **settings))
    found = evolve.evolve(
        "ppo",
        domains,
        strategy=OpenES(
            popsize=32, shaping=raw, sigma=0.1, sigma_decay=0.99, sigma_limit=0.03, lr=0.03, lr_decay=0.98, beta1=0.9
        ),
        generations=generations,
        runs=len(domains),
        kind=kind,
        validation_runs=16,
        validate_every=15,
        out=work / name,
    )
    return finished(found)


def lpo(work: Path) -> dict[str, Any]:
    """Compares the LPO that ships, learned on five environments; its file says how."""
    history = files.read(SHIPPED).provenance
    tasks = tuple((task["env"], {}) for task in history["tasks"])
    return {"search": history, "places": rivalry("lpo", LPO.load(SHIPPED), tasks, HELD_OUT, work)}


def lpo_control(work: Path) -> dict[str, Any]:
    """Learns on continuous actions alone."""
    return learned_and_compared("lpo-control", CONTROL, HELD_OUT_OF_CONTROL, work)


def lpo_pendulum(work: Path) -> dict[str, Any]:
    """Learns on Pendulum alone."""
    return learned_and_compared("lpo-pendulum", PENDULUM, HELD_OUT_OF_PENDULUM, work)


def learned_and_compared(name: str, tasks: Tasks, held_out: Sequence[str], work: Path) -> dict[str, Any]:
    """Learns an LPO and compares it with tuned PPO and DPO."""
    found = learned(LPO(**network(8, 16)), tasks, name, work)
    return {"search": summary(found), "places": rivalry(name, found.objective, tasks, held_out, work)}


def rivalry(name: str, objective: Any, tasks: Tasks, held_out: Sequence[str], work: Path) -> list[dict[str, Any]]:
    """Compares a learned objective with tuned PPO and DPO: where it was learned, elsewhere, and for longer."""

    def one(env: str, steps: int, before: int) -> dict[str, Any]:
        """Compares in runs of `steps`, with settings tuned in runs of `before`."""
        contenders = {name: tuned(env, before, name, {"objective": objective}, {"objective.clip": CLIPS}, work)}
        return compare_tuned(env, contenders | standard(env, before, ("ppo", "dpo"), work), steps)

    places = [(env, STEPS[env], STEPS[env]) for env in (*dict(tasks), *held_out)]
    places += [(env, LONGER * STEPS[env], STEPS[env]) for env in dict(tasks)]
    places += [(env, steps, steps) for env, steps in LONG if env in held_out]
    return [
        once(work / f"{name}-{env.replace('/', '-')}-{steps}.json", lambda entry=(env, steps, before): one(*entry))
        for env, steps, before in places
    ]


def ta_lpo(work: Path) -> dict[str, Any]:
    """Compares TA-LPO and LPO, both learned over runs of several lengths for the final return, all with one setting."""
    found = {
        name: learned(objective, TIMED, f"{name}-lengths", work, "final", SPREAD, generations=60)
        for name, objective in (("ta-lpo", TALPO(**network(16, 16))), ("lpo", LPO(**network(8, 16))))
    }
    settings = dict(TIMED)

    def one(env: str, steps: int) -> dict[str, Any]:
        contenders: dict[str, Settings] = {name: {"objective": x.objective} for name, x in found.items()}
        contenders |= {f"ppo, clip {clip}": {"objective.clip": clip} for clip in CLIPS}
        contenders |= {"dpo": {"objective": "dpo"}}
        contenders |= {f"ppo, clip {clip}, annealed": {"objective.clip": clip, "lr_final": 0.0} for clip in CLIPS}
        return compare_on(env, {name: settings[env] | x for name, x in contenders.items()}, steps, "final")

    places = [
        once(work / f"ta-lpo-{env}-{steps}.json", lambda env=env, steps=steps: one(env, steps))
        for env in settings
        for steps in (int(STEPS[env] * times) for times in LENGTHS)
    ]
    return {"searches": {name: summary(x) for name, x in found.items()}, "places": places}
