"""Speed of off-policy learning on a CPU, beside rejax at its own default settings, in one run. See README.md.

python benchmarks/off_policy.py
python benchmarks/off_policy.py --table benchmarks/results/off_policy-cpu-2026-11-22.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
from pathlib import Path
from typing import Any

from harness import Contestant, header, markdown, peer_python, play, save, say
from workload import MATMUL_SIZE, MATMULS, Workload

CPU = {"JAX_PLATFORMS": "cpu"}
ONE_THREAD = CPU | {"PJRT_NPROC": "1"}
BATCH = {
    "num_envs": 1,
    "num_steps": 1,
    "gradient_steps": 1,
    "batch_size": 256,
    "capacity": 131_072,
    "warmup": 2_048,
    "hidden": [64, 64],
    "lr": 3e-4,
    "discount": 0.99,
}
DQN = Workload(  # what rejax 0.1.3 does unless it is told otherwise
    "CartPole-v1",
    65_536,
    BATCH
    | {
        "activation": "swish",
        "target": "double",
        "loss": "squared",
        "target_rate": 0.01,
        "target_period": 1.0,
        "epsilon": 1.0,
        "epsilon_final": 0.05,
        "exploration_fraction": 0.1,
        "max_grad_norm": float("inf"),
    },
    "dqn",
)
SAC = Workload(
    "Pendulum-v1",
    16_384,
    BATCH | {"activation": "relu", "target_rate": 0.01, "critic_lr": 3e-4, "temperature_lr": 3e-4},
    "sac",
)
SLOTS = (10_000, 1_000_000)  # capacities whose throughput is compared, both filled
AGENTS = 16  # learning almost from the start, so that a short run is enough to time
SHORT = dataclasses.replace(DQN, steps=8_192, settings=DQN.settings | {"warmup": 256})
QUICK = 4  # times shorter
RUN, PEER, PEER_ONE, SWEEP, VMAPPED = "rljax", "rejax", "rejax, one thread", "rljax sweep", "rljax, vmapped"


def players(options: argparse.Namespace) -> dict[str, list[Contestant]]:
    """The contestants, by the question that they answer."""
    peer = peer_python() if options.peer else None

    def contestant(label: str, name: str, workload: Workload, **others: Any) -> Contestant:
        if options.quick:
            workload = dataclasses.replace(workload, steps=workload.steps // QUICK)
        return Contestant(label, name, workload, timeout=options.timeout, **{"env": ONE_THREAD} | others)

    found: dict[str, list[Contestant]] = {}
    for workload in (DQN, SAC):
        one = [contestant(RUN, "rljax run, played", workload)]
        if peer:
            one.append(contestant(PEER, "rejax", workload, env=CPU, python=peer))
            one.append(contestant(PEER_ONE, "rejax", workload, python=peer))
        found[f"{workload.algo} on {workload.env}"] = one
        together = [contestant(RUN, "rljax run, played", workload, agents=options.agents)]
        if peer:
            together.append(contestant(PEER, "rejax", workload, agents=options.agents, python=peer))
        found[f"{workload.algo} on {workload.env}, {options.agents} agents a round"] = together
    found["slots"] = [contestant(f"{slots:,}", "rljax advance", _holding(DQN, slots)) for slots in SLOTS]
    found["agents"] = [
        contestant(RUN, "rljax run, played", SHORT),
        contestant(VMAPPED, "rljax run, played", SHORT, agents=AGENTS),
        contestant(SWEEP, "rljax sweep", SHORT, agents=AGENTS, env=CPU),
    ]
    if peer:
        found["agents"].append(contestant(PEER, "rejax", SHORT, agents=AGENTS, env=CPU, python=peer))
    return found


def _holding(workload: Workload, slots: int) -> Workload:
    """The same with room for so many steps, all of which are there when learning begins."""
    return dataclasses.replace(workload, settings=workload.settings | {"capacity": slots, "warmup": slots})


def flops_per_step(workload: Workload, obs_size: int, actions: int) -> int:
    """Matrix arithmetic of an environment step, two operations to a multiply and add.

    A backward pass is two forward passes, less the gradient with respect to what goes in where nobody asks for it. DQN:
    values of a batch, forward and backward, and of its successors by the network and its copy. SAC: the policy at the
    successors, two slow critics there, two critics forward and backward; then the policy forward and backward, the
    critics forward and back to the actions.
    """
    s = workload.settings
    widths, batch = s["hidden"], s["batch_size"] * s["gradient_steps"] // (s["num_envs"] * s["num_steps"])

    def forward(inputs: int, outputs: int) -> int:
        return sum(a * b for a, b in zip([inputs, *widths], [*widths, outputs]))

    if workload.algo == "dqn":
        return 2 * batch * (5 * forward(obs_size, actions) - obs_size * widths[0])
    actor, critic = forward(obs_size, 2 * actions), forward(obs_size + actions, 1)
    return 2 * batch * (4 * actor - obs_size * widths[0] + 2 * (6 * critic - (obs_size + actions) * widths[0]))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole benchmark as one JSON object."""
    result = header("off_policy")
    yardstick = Contestant("matmul", "matmul", DQN, env=ONE_THREAD)  # how fast one core multiplies
    cases = {name: contestants for name, contestants in players(options).items() if options.only in name}
    if not cases:
        raise SystemExit(f"--only {options.only}: no case of that name; there are {', '.join(players(options))}")
    for name, contestants in cases.items():
        say(name)
        play([yardstick, *contestants], options.repeats)
    result["matmul_flops"] = 2 * MATMUL_SIZE**3 * MATMULS / min(yardstick.seconds)
    result["cases"] = {name: [c.record() for c in contestants] for name, contestants in cases.items()}
    result["workloads"] = {w.algo: dataclasses.asdict(w) for w in (DQN, SAC)}
    result["flops_per_step"] = {DQN.env: flops_per_step(DQN, 4, 2), SAC.env: flops_per_step(SAC, 3, 1)}
    result["load_after"] = os.getloadavg()[0]
    return result


def table(result: dict[str, Any]) -> str:
    """A result as Markdown."""
    machine = result["machine"]
    speed = f"One core multiplies matrices at {result['matmul_flops'] / 1e9:.0f} GFLOP/s."
    parts = [f"{machine['cpu']}, {machine['cores']} cores; {result['date'][:10]}. {speed}"]
    for name, records in result["cases"].items():
        first = records[0]["steps_per_second"]
        limit = result["matmul_flops"] / result["flops_per_step"][records[0]["env"]]  # steps per second of a core
        rows = [_row(record, first and first["median"], limit) for record in records]
        columns = ["", "k steps/s (min, max)", "first over it", "matmul rate", "compile s", "peak MB", "return"]
        parts += [f"**{name}**", markdown(columns, rows)]
    return "\n\n".join(parts)


def _row(record: dict[str, Any], first: float | None, limit: float) -> list[str]:
    rate = record["steps_per_second"]
    if record["error"] or not rate or not first:
        return [record["label"], record["error"] or "", *[""] * 5]
    return [
        record["label"],
        f"{rate['median'] / 1e3:.2f} ({rate['min'] / 1e3:.2f}, {rate['max'] / 1e3:.2f})",
        f"{first / rate['median']:.2f}",
        f"{rate['median'] / limit:.0%}",
        f"{record['compile_seconds']:.1f}",
        f"{record['peak_memory'] / 1e6:.0f}",
        _returns([x for x in record["returns"] if x is not None]),
    ]


def _returns(found: list[float]) -> str:
    """Their mean, and of several the standard deviation and how many there are."""
    spread = f" ± {statistics.stdev(found):.0f} ({len(found)})" if len(found) > 1 else ""
    return f"{statistics.mean(found):.0f}{spread}" if found else ""


def main() -> None:
    """Measures, stores the result and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; medians are reported")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="install and run rejax")
    parser.add_argument("--only", default="", help="the cases whose name contains this")
    parser.add_argument("--agents", type=int, default=3, help="vmapped a round, to compare what many come to")
    parser.add_argument("--quick", action="store_true", help="a quarter of the steps: to try the script")
    parser.add_argument("--timeout", type=float, default=400.0, help="seconds after which a contestant counts as hung")
    parser.add_argument("--out", type=Path, help="the JSON; by default results/off_policy-cpu-DATE.json")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print this result as Markdown and measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())))
        return
    result = measure(options)
    print(table(result))
    say(f"\n{save(result, options.out, 'cpu')}")


if __name__ == "__main__":
    main()
