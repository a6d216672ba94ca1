"""The runtime settles before jax starts, leaves a user's choice alone, and keeps vmapped programs from hanging."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from rljax import runtime
from rljax.runtime import CACHE, THREADS, cpu_threads, report


def python(program: str, timeout: int = 240, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in (THREADS, CACHE, "XLA_FLAGS")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean | environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("flags", "version", "threads"),
    [
        ("", (0, 10), 1),
        ("", (0, 11), 1),
        ("--xla_force_host_platform_device_count=2", (0, 10), 4),
        ("--xla_force_host_platform_device_count=8", (0, 10), 16),
        ("--xla_force_host_platform_device_count=2 --other", (0, 11), 2),
    ],
)
def test_pool_size(flags, version, threads):
    assert cpu_threads(flags, version) == threads


def test_importing_settles_the_pool_and_the_cache_without_jax(tmp_path):
    program = f"import os, sys, rljax; print(os.environ['{THREADS}'], os.environ['{CACHE}'], 'jax' in sys.modules)"
    assert python(program, XDG_CACHE_HOME=str(tmp_path), JAX_PLATFORMS="cpu") == f"1 {tmp_path}/rljax/xla False"


@pytest.mark.parametrize(
    ("device", "plugin", "environment", "expected"),
    [
        (True, True, {}, True),
        (True, True, {"JAX_PLATFORMS": "cuda,cpu"}, True),
        (True, True, {"JAX_PLATFORMS": "cpu"}, False),
        (True, True, {"CUDA_VISIBLE_DEVICES": ""}, False),
        (True, False, {}, False),  # jax without support for it
        (False, True, {}, False),  # a login node
    ],
)
def test_with_an_accelerator_programs_are_compiled_by_all_cores(
    device, plugin, environment, expected, tmp_path, monkeypatch
):
    found = tmp_path / "nvidia0"
    if device:
        found.touch()
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", THREADS):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runtime, "DEVICES", (str(tmp_path / "nvidia[0-9]*"),))
    monkeypatch.setattr(runtime, "version", lambda name: "0.11.2" if plugin and "cuda13" in name else None)
    assert runtime.accelerated() is expected
    runtime.settle()
    assert (THREADS in os.environ) is not expected


def test_a_users_own_variables_win():
    program = f"import os, rljax; print(os.environ['{THREADS}'], os.environ['{CACHE}'])"
    assert python(program, **{THREADS: "7", CACHE: "/elsewhere"}) == "7 /elsewhere"


NO_HOME = """
import os, pwd
def none(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = none
for name in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"): os.environ.pop(name, None)
"""


@pytest.mark.parametrize("home", [NO_HOME, "import os; os.environ['XDG_CACHE_HOME'] = '/dev/null/cache'"])
def test_without_a_home_there_is_no_cache(home):
    program = f"\nimport os, rljax; print(os.environ.get('{CACHE}')); import rljax.cli; rljax.cli.main(['--help'])"
    found = python(home + program)
    assert found.startswith("None\nusage: rljax")


def test_a_device_that_is_not_there_is_refused_in_a_line():
    program = """
import rljax
from rljax import envs
for call in (lambda: rljax.train("ppo", "CartPole-v1"), lambda: rljax.sweep("ppo", "CartPole-v1"),
             lambda: rljax.evolve("ppo", "CartPole-v1", 64), lambda: envs.make("gridworld/rand-all")):
    try:
        call()
    except rljax.errors.ConfigError as error:
        print(error)
"""
    found = python(program, JAX_PLATFORMS="cuda").splitlines()
    assert len(found) == 4 and all(re.fullmatch("JAX_PLATFORMS=cuda: .*; unset it, or set it to cpu", x) for x in found)


def test_the_version_needs_no_installation():
    program = "from rljax import runtime, __version__ as v; assert runtime.version('rljax') == v; print(v)"
    assert re.fullmatch(r"\d+\.\d+\.\d+", python(program))


def test_jax_imported_first_still_gets_the_cache(tmp_path):
    program = "import jax, rljax; print(jax.config.jax_compilation_cache_dir)"
    assert python(program, XDG_CACHE_HOME=str(tmp_path)) == f"{tmp_path}/rljax/xla"


def test_compiled_programs_are_kept(tmp_path):
    program = (
        "import rljax, jax, jax.numpy as jnp\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8)))"
    )
    python(program, XDG_CACHE_HOME=str(tmp_path))
    assert list((tmp_path / "rljax" / "xla").iterdir())


def test_the_report_is_plain():
    import json

    found = json.loads(json.dumps(report()))
    assert found["platform"] and found["versions"]["jax"] and found["precision"] == "float32"


STRESS = """
import rljax, jax
from rljax import envs
from rljax.algos import ppo
from rljax.run import as_arrays, run
env = envs.make("CartPole-v1")
algo = ppo.PPO(env, ppo.Config(num_envs=64, num_steps=128, num_minibatches=8))
hypers, task = as_arrays(algo.hypers), as_arrays(env.task)
go = jax.jit(jax.vmap(lambda key: run(algo, key, hypers, task, 8)))
for seed in range(3):
    jax.block_until_ready(go(jax.random.split(jax.random.key(seed), 4)))
print("finished")
"""


def test_a_vmapped_program_that_hangs_under_the_default_pool_finishes():
    """Four agents of this size have been seen to block for ever on jax 0.10.2 with the default pool of two threads."""
    assert python(STRESS).endswith("finished")
