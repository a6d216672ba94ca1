"""The experiments of memory.py: plain data, each with what would falsify its claim, written before it was run.

Settings that the arms of an experiment share were not tuned for any of them; the learning rate was, over the same
values for each. An arm without a memory is in all of them: what it comes to can be had without remembering.
"""

from __future__ import annotations

from typing import Any, NamedTuple

RATES = (3e-4, 1e-3, 3e-3)
MEMORIES = {
    "S5": "s5(width=64,layers=1,states=64)",
    "GRU": "gru(width=64)",
    "LSTM": "lstm(width=64)",
    "minGRU": "mingru(width=64,layers=1)",
    "transformer": "transformer(width=64,layers=1,context=128)",
    "no memory": "none",
}
_ppo = {"num_envs": 32, "num_steps": 128}


class Arm(NamedTuple):
    """One of the agents of an experiment."""

    label: str
    algo: str
    env: str
    settings: dict[str, Any]
    task: dict[str, Any] = {}  # noqa: RUF012  nobody writes to it


class Experiment(NamedTuple):
    """A claim, and how it is tried."""

    claim: str
    falsified_if: str
    arms: tuple[Arm, ...]
    steps: int
    seeds: int
    trials: bool = False  # report the return of each episode of a trial


def _chain(length: int) -> tuple[Arm, ...]:
    """PPO with every memory, and a GRU whose gates begin as if it were to remember that long."""
    memories = MEMORIES | {"GRU + chrono": f"gru(width=64,chrono={length + 10})"}
    task = {"memory_length": length}
    return tuple(
        Arm(f"{name}, {length} steps", "ppo", "MemoryChain-bsuite", _ppo | {"memory": memory}, task)
        for name, memory in memories.items()
    )


def _on(env: str, algo: str = "ppo", **settings: Any) -> tuple[Arm, ...]:
    """An algorithm with some memories on an environment."""
    chosen = {name: MEMORIES[name] for name in ("S5", "GRU", "no memory")}
    return tuple(Arm(name, algo, env, _ppo | {"memory": memory} | settings) for name, memory in chosen.items())


_PROJECTED = "CartPole-v1|mask_observation([1,3])|time_limit(200)|random_projection(obs=4)"
_replayed = {"num_envs": 1, "batch_size": 32, "sequence": 32, "burn_in": 32, "hidden": (64, 64), "warmup": 2_000}
_hidden = {"num_steps": 32, "gradient_steps": 16}
_POSITION = "Pendulum-v1|mask_observation([2])"
_continuous = tuple(
    Arm(name, name.split()[0].lower(), env, _hidden | _replayed | {"memory": memory})
    for name, env, memory in (
        ("RSAC", _POSITION, "gru(width=64)"),
        ("RTD3", _POSITION, "gru(width=64)"),
        ("RDPG", _POSITION, "gru(width=64)"),
        ("SAC without a memory", _POSITION, "none"),
        ("SAC, three frames", f"{_POSITION}|frame_stack(3)", "none"),
        ("SAC, all is seen", "Pendulum-v1", "none"),
    )
)
_ROOMS = "darkroom/5x5|trials(6)|with_past"
_whole_trials = {"num_steps": 120, "clear_memory": True, "num_epochs": 2, "num_minibatches": 2, "entropy_coef": 0.02}
_parts = {"partial_updates": 3}  # the fourth is the whole rollout
_window = "transformer(width=64,layers=2,context=120)"
_window_and_sink = _window.replace(")", ",sink='kv')")
_relic = tuple(
    Arm(label, "ppo", _ROOMS, _ppo | _whole_trials | {"memory": memory} | settings)
    for label, memory, settings in (
        ("partial updates, sink", _window_and_sink, _parts),
        ("partial updates", _window, _parts),
        ("whole rollouts, sink", _window_and_sink, {}),
        ("whole rollouts", _window, {}),
        ("whole rollouts, four times the epochs", _window, {"num_epochs": 8}),
        ("GRU", MEMORIES["GRU"], {"num_epochs": 8}),
        ("GRU, partial updates", MEMORIES["GRU"], _parts),
        ("no memory", "none", {"num_epochs": 8, "clear_memory": False}),
    )
)
_pulls = {"num_envs": 64, "num_steps": 100, "num_minibatches": 8}
_greedy = tuple(
    Arm(
        f"{name}, gamma {gamma}", "pqn", f"bandit/3x300|{kind}with_past", _pulls | {"memory": memory, "discount": gamma}
    )
    for name, memory, kind in (
        ("GRU", MEMORIES["GRU"], "trials(1)|"),
        ("no memory", "none", "trials(1)|"),
    )
    for gamma in (0.0, 0.9)
)

EXPERIMENTS = {
    "chain": Experiment(
        "S5 remembers a bit for 100 steps within 300,000 steps of training; a GRU does not, nor one with long gates.",
        "S5 at 100 is not above a return of 0.8 (success 0.9) on 4 of 5 seeds, or no memory is above 0.1.",
        (*_chain(10), *_chain(30), *_chain(100), *_chain(300)),
        300_000,
        5,
    ),
    "previous-easy": Experiment(
        "Order within a short window is learned by all that remember.",
        "S5 is not above 0.9.",
        _on("popgym/RepeatPrevious-easy"),
        2_000_000,
        5,
    ),
    "previous-medium": Experiment(
        "Order within 32 steps is learned by S5 and not by a GRU.",
        "S5 is at most 0.1 above the GRU.",
        _on("popgym/RepeatPrevious-medium"),
        2_000_000,
        5,
    ),
    "maze": Experiment(
        "A cue is kept over a corridor of 50 steps.",
        "S5 is below 0.95, or the arm without a memory above 0.55.",
        _on("tmaze/passive", num_steps=256),
        1_000_000,
        5,
    ),
    "projections": Experiment(
        "With a memory that lasts over four trials, an agent gets better from each to the next at a pole whose two"
        " positions it sees through a random matrix.",
        "The fourth trial is not above the first by its interval with S5, or it is without a memory as well.",
        _on(f"{_PROJECTED}|trials(4)|with_past", num_steps=256),
        3_000_000,
        5,
        True,
    ),
    "continuous": Experiment(
        "Of recurrent SAC, TD3 and DDPG on a pendulum without its velocity, SAC is the most reliable.",
        "The worst seed of RSAC is not above the worst ones of RTD3 and RDPG. Stacked frames are the control: they hold"
        " the velocity.",
        _continuous,
        30_000,
        10,
    ),
    "relic": Experiment(
        "Updates within a rollout make a transformer adapt better than as many steps of the optimiser after it.",
        "The return of the sixth episode less that of the first is not higher with partial updates than with whole"
        " rollouts and four times the epochs, which take as many steps of the optimiser.",
        _relic,
        1_000_000,
        3,
        True,
    ),
    "greedy": Experiment(
        "An agent that values nothing but the next pull explores, if it remembers and its task goes on.",
        "At 300 pulls of three arms its regret is not below that of the greedy choice by the posterior mean, 11.2"
        " (Thompson sampling: 7.2): that policy is what a perfect predictor does, and it does not explore.",
        _greedy,
        3_000_000,
        10,
    ),
}
