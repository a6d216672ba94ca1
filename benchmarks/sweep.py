"""Sweeps on a CPU: throughput beside rejax, programs compiled, cost by size, memory, kills. See README.md.

python benchmarks/sweep.py
python benchmarks/sweep.py --parts throughput memory
python benchmarks/sweep.py --table benchmarks/results/sweep-cpu-2026-11-21.json
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import Contestant, environment, header, markdown, peer_python, play, save, say
from throughput import CPU, ONE_THREAD
from workload import CARTPOLE, Workload

STEPS = 2**19
AGENTS, SIZES = 16, (8, 16, 32)
ONE, SWEEP, PEER, PEER_ONE = (
    "rljax, one agent on one core",
    "rljax sweep",
    "rejax, vmapped",
    "rejax, vmapped, one thread",
)
TINY = {"num_envs": 4, "num_steps": 32, "num_minibatches": 2, "num_epochs": 2, "hidden": [16]}
MANY, MANY_STEPS, LIMIT = 4096, 2**13, 16
KILLS = 10


def throughput(workload: Workload, repeats: int, peer: bool, timeout: float) -> dict[str, Any]:
    """Steps a second of 16 agents, rljax on all cores and the peer vmapped, and of sweeps of other sizes."""
    common: dict[str, Any] = {"workload": workload, "timeout": timeout}
    players = [Contestant(ONE, "rljax run", agents=0, env=ONE_THREAD, **common)]
    players += [Contestant(f"{SWEEP}, {n} agents", "rljax sweep", agents=n, env=CPU, **common) for n in SIZES]
    if peer:
        python = peer_python()
        players.append(Contestant(PEER, "rejax", agents=AGENTS, env=CPU, python=python, **common))
        players.append(Contestant(PEER_ONE, "rejax", agents=AGENTS, env=ONE_THREAD, python=python, **common))
    play(players, repeats)
    records = [player.record() for player in players]
    rate = {r["label"]: r["steps_per_second"]["median"] for r in records if r["steps_per_second"]}
    here = rate.get(f"{SWEEP}, {AGENTS} agents", float("nan"))
    median = {r["label"]: float(np.median(r["seconds"])) for r in records if r["seconds"]}
    sizes = [median.get(f"{SWEEP}, {n} agents", float("nan")) for n in SIZES]
    return {
        "contestants": records,
        "ratios": {label: here / x for label, x in rate.items() if not label.startswith(SWEEP)},
        "time_when_doubled": [b / a for a, b in itertools.pairwise(sizes)],
    }


PROGRAMS = """
import json, sys, tempfile, time, jax, rljax
from rljax.sweeps import planning, spec
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **about: compiled.append(seconds) if name.endswith("backend_compile_duration") else None)
rows, seeds, settings = json.loads(sys.argv[1])
grid = {"lr": [1e-3 * 0.9**i for i in range(rows)]}
what = {"grid": grid, "use_preset": False, **settings, "hidden": tuple(settings["hidden"])}
del what["lr"]
asked = spec.specify("ppo", "CartPole-v1", 8192, seeds, **what)
began = time.perf_counter()
planned = planning.make_plan(asked)
planning_seconds = time.perf_counter() - began
long = [seconds for seconds in compiled if seconds > 0.5]
with tempfile.TemporaryDirectory() as out:
    rljax.sweep("ppo", "CartPole-v1", 8192, seeds, out=out, workers=1, progress=False, **what)
print(json.dumps({"rows": rows, "seeds": seeds, "groups": len(planned.groups), "programs": len(planned.programs.made),
                  "large_compilations": len(long), "compile_seconds": sum(long), "plan_seconds": planning_seconds}))
"""


def programs() -> list[dict[str, Any]]:
    """Counts the programs compiled for sweeps of 1, 6 and 24 rows x 16 seeds, without the persistent cache."""
    found = []
    for rows in (1, 6, 24):
        arguments = json.dumps([rows, 16, CARTPOLE.settings | {"num_envs": 8}])
        env = environment(JAX_ENABLE_COMPILATION_CACHE="false", **CPU)
        done = subprocess.run([sys.executable, "-c", PROGRAMS, arguments], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
        say(str(found[-1]))
    return found


MEMORY = """
import json, sys, rljax
seeds, steps, limit, out, settings = json.loads(sys.argv[1])
what = {"use_preset": False, **settings, "hidden": tuple(settings["hidden"])}
grid = {"lr": [1e-3 * 0.9**i for i in range(16)]}
rljax.sweep("ppo", "CartPole-v1", steps, seeds // 16, grid=grid, out=out, memory_limit=f"{limit}GB", **what)
"""


def memory() -> dict[str, Any]:
    """The peak memory of a sweep of thousands of tiny agents, its processes together."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        arguments = json.dumps([MANY, MANY_STEPS, LIMIT, str(out), TINY])
        began = time.perf_counter()
        command = [sys.executable, "-c", MEMORY, arguments]
        process = subprocess.Popen(command, env=environment(**CPU), start_new_session=True)
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.2)
        assert process.returncode == 0
        seconds = time.perf_counter() - began
        plan = json.loads((out / "sweep.json").read_text())["plan"][0]
    facts = {"agents": MANY, "steps_each": MANY_STEPS, "limit_gb": LIMIT, "peak_bytes": peak, "seconds": seconds}
    return facts | {"steps_per_second": MANY * MANY_STEPS / seconds, "width": plan["width"], "why": plan["why"]}


def resident(session: int) -> int:
    """Bytes that the processes of a session hold in memory."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):  # it has ended
            continue
    return total


def kills() -> dict[str, Any]:
    """A sweep that is killed with SIGKILL at ten random moments, compared with one that is left alone."""
    command = [sys.executable, "-m", "rljax", "sweep", "ppo", "CartPole-v1", "--steps", "200000", "--seeds", "4"]
    command += [
        "--grid",
        "lr=1e-4,1e-3",
        "--grid",
        "num_envs=8,16",
        "--num-minibatches",
        "4",
        "--workers",
        "2",
        "--out",
    ]
    quiet: dict[str, Any] = {"env": environment(**CPU), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        began = time.perf_counter()
        subprocess.run([*command, str(whole)], check=True, **quiet)
        takes, moments = time.perf_counter() - began, []
        for _ in range(KILLS):
            process = subprocess.Popen([*command, str(killed)], start_new_session=True, **quiet)
            moments.append(random.uniform(1.0, takes / 2))
            time.sleep(moments[-1])
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            say(f"killed after {moments[-1]:.1f} s with {len(list((killed / 'chunks').glob('*.npz')))} shards stored")
        subprocess.run([*command, str(killed)], check=True, **quiet)
        with np.load(whole / "result.npz") as a, np.load(killed / "result.npz") as b:
            names = a.files
            equal = names == b.files and all(a[n].tobytes() == b[n].tobytes() for n in names)
    return {"kills": KILLS, "moments": moments, "undisturbed_seconds": takes, "arrays": len(names), "identical": equal}


def table(result: dict[str, Any]) -> str:
    """A result as Markdown."""
    machine = result["machine"]
    parts = [f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {result['date'][:10]}."]
    if "throughput" in result:
        found = result["throughput"]
        rows = []
        for r in found["contestants"]:
            rate = r["steps_per_second"]
            speed = (
                f"{rate['median'] / 1e3:.0f} ({rate['min'] / 1e3:.0f}, {rate['max'] / 1e3:.0f})" if rate else r["error"]
            )
            rows.append([r["label"], speed, f"{r['final_return']:.0f}" if r.get("final_return") else ""])
        parts.append(markdown(["contestant", "k steps/s, all agents (min, max)", "return"], rows))
        label = f"{SWEEP}, {AGENTS} agents, is as fast as"
        parts.append(markdown([label, "times"], [[n, f"{x:.2f}"] for n, x in found["ratios"].items()]))
        parts.append(
            "Twice the agents take " + " and ".join(f"{x:.2f}" for x in found["time_when_doubled"]) + " times as long."
        )
    if "programs" in result:
        rows = [
            [str(p["rows"] * p["seeds"]), str(p["groups"]), str(p["programs"]), f"{p['compile_seconds']:.1f}"]
            for p in result["programs"]
        ]
        parts.append(markdown(["runs", "groups", "training programs", "seconds compiling"], rows))
    if "memory" in result:
        m = result["memory"]
        parts.append(
            f"{m['agents']} tiny agents, {m['width']} side by side: {m['peak_bytes'] / 1e9:.1f} GB at the peak, of "
            f"{m['limit_gb']} allowed, {m['steps_per_second'] / 1e3:.0f} k steps/s from start to end ({m['why']})."
        )
    if "kills" in result:
        k = result["kills"]
        parts.append(f"Killed {k['kills']} times at random: arrays {'identical' if k['identical'] else 'DIFFERENT'}.")
    return "\n\n".join(parts)


def main() -> None:
    """Measures, stores the result and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ["throughput", "programs", "memory", "kills"]
    parser.add_argument("--parts", nargs="+", choices=known, default=known)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; medians are reported")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="install and run rejax")
    parser.add_argument("--quick", action="store_true", help="few steps: to try the script, not to report")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a contestant counts as hung")
    parser.add_argument("--out", type=Path, help="the JSON; by default results/sweep-cpu-DATE.json")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print this result as Markdown and measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())))
        return
    workload = dataclasses.replace(CARTPOLE, steps=CARTPOLE.batch * 8 if options.quick else STEPS)
    result = header("sweep") | {"workload": dataclasses.asdict(workload)}
    measured = {
        "throughput": lambda: throughput(workload, options.repeats, options.peer, options.timeout),
        "programs": programs,
        "memory": memory,
        "kills": kills,
    }
    for part in options.parts:
        say(part)
        result[part] = measured[part]()
    result["load_after"] = os.getloadavg()[0]
    print(table(result))
    say(f"\n{save(result, options.out, 'cpu')}")


if __name__ == "__main__":
    main()
