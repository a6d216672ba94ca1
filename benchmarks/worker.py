"""One contestant in a process of its own: `worker.py NAME AGENTS WORKLOAD` (AGENTS 0: one agent, not vmapped).

It compiles, says so, and then answers each line on standard input with one line of JSON: `go` trains once from a new
seed, `score` tells the final returns and the peak memory.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from program import Program, each, final_return, jitted, keys
from workload import MATMUL_SIZE, MATMULS, Workload

PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "brax", "numpy", "rljax-research", "rejax", "memorax")


def _rljax(workload: Workload) -> tuple[Any, Any]:
    import rljax

    settings = {n: tuple(v) if isinstance(v, list) else v for n, v in workload.settings.items()}
    return rljax.make(workload.algo, workload.env, horizon=float(workload.updates), **settings)


def rljax_run(workload: Workload, agents: int, played: bool = False) -> Program:
    """`rljax.run.run`: a whole run as one compiled program; scored in training, or by playing the final policy."""
    algo, env = _rljax(workload)
    import jax

    from rljax.run import as_arrays, evaluate, run

    updates = algo.updates(workload.updates * workload.batch)

    def train(key, hypers, task):
        return run(algo, key, hypers, task, updates)

    many = jax.vmap(train, (0, None, None)) if agents else train
    hypers, task = as_arrays(algo.hypers), as_arrays(env.task)

    def score(out):
        if not played:
            return final_return(out[1]["episodes"], out[1]["episode_return"])
        states = each(out[0], agents)
        return [float(evaluate(algo, state, env, jax.random.key(0)).mean()) for state in states]  # as rejax scores

    return Program(jitted(many, lambda seed: (keys(seed, agents), hypers, task)), score)


def rljax_advance(workload: Workload, agents: int) -> Program:
    """The updates alone, of an agent that has warmed up; its `init` is not timed."""
    algo, env = _rljax(workload)
    import jax

    from rljax.run import advance, as_arrays

    hypers, task = as_arrays(algo.hypers), as_arrays(env.task)
    state = jax.jit(algo.init)(jax.random.key(0), hypers, task)
    updates = workload.updates

    def train(state, hypers, task):
        return advance(algo, state, hypers, task, updates, updates)

    return Program(
        jitted(train, lambda seed: (state, hypers, task)),
        lambda out: final_return(out[1]["episodes"], out[1]["episode_return"]),
    )


class _Rows(list):
    write = list.append


def _score_rows(rows: Any) -> float:
    return final_return(*([row[name] for row in rows] for name in ("episodes", "episode_return")))


def rljax_train(workload: Workload, agents: int) -> Program:
    """`rljax.run.train`: the host loop over compiled chunks, with a sink that keeps the rows."""
    algo, env = _rljax(workload)
    from rljax.run import train

    def go(seed, updates=workload.updates):
        rows = _Rows()
        chunk = max(1, workload.updates // 200)
        train(algo, keys(seed, 0), algo.hypers, env.task, updates, sinks=[rows], log_every=chunk)
        return rows

    def build():
        go(0, 1)
        return go

    return Program(build, _score_rows)


def rljax_folder(workload: Workload, agents: int) -> Program:
    """`rljax.train` with a run folder: logs, TensorBoard, progress lines and checkpoints."""
    import rljax

    settings = {n: tuple(v) if isinstance(v, list) else v for n, v in workload.settings.items()}

    def go(seed, steps=workload.steps):
        with tempfile.TemporaryDirectory() as folder:
            chunk = max(1, workload.updates // 200)
            run = rljax.train(
                workload.algo, workload.env, steps=steps, seed=seed, out=folder, log_every=chunk, **settings
            )
        return run.metrics

    def build():
        go(0, 1)
        return go

    return Program(build, lambda rows: final_return(rows["episodes"], rows["episode_return"]))


def rljax_sweep(workload: Workload, agents: int) -> Program:
    """`rljax.sweep` of so many seeds, planned and with its processes warm: trained and stored."""
    import dataclasses

    from rljax import resources
    from rljax.engine import pool
    from rljax.sweeps import planning, result, spec
    from rljax.sweeps.execute import SweepJob, shards_of

    settings = {n: tuple(v) if isinstance(v, list) else v for n, v in workload.settings.items()}
    asked = spec.specify(workload.algo, workload.env, workload.steps, agents, **settings, use_preset=False)

    def build():
        planned = planning.make_plan(asked, workers=resources.cores())
        processes = pool.Pool(planned.machine.workers, Path(tempfile.mkdtemp()), "")
        atexit.register(processes.__exit__)

        def go(seed, shorter=None):
            folder = Path(tempfile.mkdtemp())
            seeds = [seed * agents + i for i in range(agents)]
            groups = [dataclasses.replace(g, updates=shorter or g.updates) for g in planned.groups]
            job = SweepJob(planned.programs, groups, folder)
            planned_now = dataclasses.replace(planned, groups=groups, sweep=dataclasses.replace(asked, seeds=seeds))
            processes.run(job, shards_of(groups, seeds), lambda report: None, lambda: False)
            return folder, planned_now

        go(0, shorter=1)
        return go

    def score(out):
        from rljax.storage import write_json
        from rljax.sweeps import planning, store

        folder, planned = out
        write_json(folder / store.RECORD, planning.to_record(planned))
        return float(result.load(folder).scores().mean())

    return Program(build, score)


def bare(workload: Workload, agents: int, one_sort: bool = False) -> Program:
    """The hand-written scan."""
    import jax
    from bare_ppo import make_train

    train = make_train(workload.env, workload.updates, workload.settings, one_sort)
    return Program(
        jitted(jax.vmap(train) if agents else train, lambda seed: (keys(seed, agents),)),
        lambda out: final_return(out[1], out[2]),
    )


def bare_recurrent(workload: Workload, agents: int) -> Program:
    """The hand-written scan of an agent with a GRU."""
    import jax
    from bare_recurrent import make_train

    train = make_train(workload.env, workload.updates, workload.settings | {"width": workload.gru_width})
    return Program(
        jitted(jax.vmap(train) if agents else train, lambda seed: (keys(seed, agents),)),
        lambda out: final_return(out[1], out[2]),
    )


def rejax(workload: Workload, agents: int) -> Program:
    """The peer."""
    import rejax_peer

    return rejax_peer.build(workload, agents)


def memorax(workload: Workload, agents: int) -> Program:
    """The peer with memories."""
    import memorax_peer

    return memorax_peer.build(workload)


def unroll(workload: Workload, agents: int) -> Program:
    """A memory alone."""
    import unroll

    return unroll.build(workload)


def matmul(workload: Workload, agents: int) -> Program:
    """The yardstick: float32 matrix products, as fast as the machine does them."""
    import jax

    def products(x, w):
        return jax.lax.fori_loop(0, MATMULS, lambda _, x: x @ w, x)

    w = jax.random.normal(jax.random.key(0), (MATMUL_SIZE, MATMUL_SIZE)) / MATMUL_SIZE**0.5
    return Program(jitted(products, lambda seed: (w, w)), lambda out: float("nan"))


CONTESTANTS: dict[str, Callable[[Workload, int], Program]] = {
    "rljax run": rljax_run,
    "rljax run, played": lambda workload, agents: rljax_run(workload, agents, played=True),
    "rljax advance": rljax_advance,
    "rljax train": rljax_train,
    "rljax folder": rljax_folder,
    "rljax sweep": rljax_sweep,
    "bare": bare,
    "bare, one sort": lambda workload, agents: bare(workload, agents, one_sort=True),
    "bare recurrent": bare_recurrent,
    "rejax": rejax,
    "memorax": memorax,
    "unroll": unroll,
    "matmul": matmul,
}


def peak_memory() -> int:
    """Bytes: of the accelerator if there is one, else of this process."""
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe() -> dict[str, Any]:
    """The platform, the device, the threads and the versions of this process."""
    import jax

    device = jax.devices()[0]
    found = {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)}
    threads = os.environ.get("PJRT_NPROC", "default")
    return {"platform": device.platform, "device": device.device_kind, "threads": threads, "versions": found}


def _installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def main() -> None:
    """Compiles the contestant, then answers standard input line by line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that a chatty library cannot spoil the answers

    def say(**answer):
        print(json.dumps(answer), file=answers, flush=True)

    name, agents, workload = sys.argv[1], int(sys.argv[2]), Workload(**json.loads(sys.argv[3]))
    program = CONTESTANTS[name](workload, agents)
    import jax

    began = time.perf_counter()
    play = program.compile()
    say(compile_seconds=time.perf_counter() - began, **describe())
    seed, out = 0, None
    for line in sys.stdin:
        if line.strip() == "score":
            score = program.score(out)
            returns = [x if math.isfinite(x) else None for x in (score if isinstance(score, list) else [score])]
            say(returns=returns, peak_memory=peak_memory())
            continue
        seed += 1
        began, cpu_began = time.perf_counter(), time.process_time()
        out = jax.block_until_ready(play(seed))
        say(seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - cpu_began)


if __name__ == "__main__":
    main()
