"""A plan: made without running anything, within the memory given, and saying what it will do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from toys import PROBE, asked

from rljax import resources
from rljax.errors import ConfigError
from rljax.sweeps import store
from rljax.sweeps.driver import run
from rljax.sweeps.planning import make_plan


@pytest.fixture
def the_wider_the_faster(monkeypatch):
    monkeypatch.setattr("rljax.engine.width._time", lambda programs, group: 10.0 / group.width)
    monkeypatch.setattr(resources, "free", lambda: 2**40)


def test_a_plan_says_what_it_will_do(monkeypatch):
    monkeypatch.setattr("rljax.engine.width._time", lambda programs, group: 1.0)
    found = make_plan(asked(grid={"num_envs": [4, 8], "lr": [1e-3, 1e-2]}, seeds=3), workers=2, width=1)
    assert len(found.groups) == 2 and found.steps == 4 * 3 * 640
    text = str(found).splitlines()
    assert text[0] == "4 rows x 3 seeds = 12 runs, 7,680 steps in all"
    assert text[1].startswith("2 training programs, 2 processes, about 90 s")
    assert text[2] == f"group 0: ppo {PROBE}, 2 rows from 0 (num_envs=4 lr=0.001), 20 updates"
    assert text[3] == "  as given" and text[4].startswith("  6 shards of 1, ") and text[4].endswith("B each")
    assert text[5] == f"group 1: ppo {PROBE}, 2 rows from 2 (num_envs=8 lr=0.001), 10 updates"


def test_a_few_seconds_are_not_worth_several_processes(monkeypatch):
    monkeypatch.setattr(resources, "cores", lambda: 4)
    monkeypatch.setattr(resources, "free", lambda: 2**40)  # tests beside this one may take what there is
    for seconds, workers in ((0.01, 1), (1.0, 4)):
        monkeypatch.setattr("rljax.engine.width._time", lambda programs, group, s=seconds: s)
        assert make_plan(asked(), width=1).machine.workers == workers
    assert make_plan(asked(), width=1, workers=2).machine.workers == 2


def test_there_are_no_more_processes_than_runs(the_wider_the_faster):
    assert make_plan(asked(), width=1, workers=64).machine.workers == 4


def test_thousands_of_agents_fit_into_a_small_memory(the_wider_the_faster):
    found = make_plan(asked(grid={"lr": "log:1e-5:1e-2:64"}, seeds=64), workers=1, memory_limit="50kB")
    [group] = found.groups
    shards = group.shards(range(64))
    assert group.width > 1 and group.bytes <= 50_000
    assert len({member for shard in shards for member in shard}) == sum(map(len, shards)) == 4096
    assert f"{len(shards)} shards of {group.width}, {resources.write(group.bytes)} each" in str(found)
    assert "the fastest measured (in turn" in str(found)


def test_a_smaller_memory_means_fewer_processes(the_wider_the_faster):
    need = make_plan(asked(), width=1).groups[0].bytes
    assert make_plan(asked(), width=1, workers=4, memory_limit=3 * need).machine.workers == 3
    assert make_plan(asked(), width=1, workers=4, memory_limit=need).machine.workers == 1


def test_a_row_too_big_is_refused_before_anything_runs(tmp_path):
    small = asked(num_epochs=1, num_minibatches=1, num_steps=1)
    with pytest.raises(ConfigError, match=r"num_envs=4: one run needs .* and 1 kB are free") as caught:
        run(small, tmp_path / "a", progress=False, memory_limit=1000)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a" / store.RECORD).exists() and not store.chunks(tmp_path / "a")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"workers": 0}, "workers=0: must be at least 1"),
        ({"width": 0}, "width=0: must be at least 1"),
        ({"memory_limit": "plenty"}, "memory_limit=plenty: write it as"),
    ],
)
def test_nonsense_is_refused_in_one_line(how, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(asked(), **how)


def test_a_limit_above_what_is_free_is_what_is_free(the_wider_the_faster):
    assert make_plan(asked(), width=1, memory_limit="1000TB").machine.memory <= resources.free() * 1.5


def test_many_cores_and_little_memory_mean_few_processes(the_wider_the_faster, monkeypatch):
    for name, value in (("free", 10**9), ("resident", 3 * 10**8), ("cores", 64)):
        monkeypatch.setattr(resources, name, lambda value=value: value)
    assert 1 <= make_plan(asked(seeds=100), width=1).machine.workers <= 3


POPULATION = """
from pathlib import Path

import jax
import numpy as np

from rljax import resources
from rljax.engine import width
from rljax.engine.program import stack
from rljax.sweeps import planning, spec

width._time = lambda programs, group: 1.0
settings = {"capacity": 2**21, "num_envs": 4, "warmup": 512, "hidden": (8,), "batch_size": 8}
found = planning.make_plan(spec.specify("dqn", "CartPole-v1", 4096, 4, **settings), workers=1, width=4)
[group] = found.groups
program = found.programs.of(group)
members = stack([found.programs.member(0)] * 4, frozenset(group.varying))
before = resources.resident()
inputs = program.upload(members)
done = program.advance(program.start(np.arange(4), inputs), inputs, 2)
jax.block_until_ready(done)
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
took = 1024 * int(peak) - before
assert group.bytes > 350e6 and abs(took / group.bytes - 1) < 0.1, (took, group.bytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what was held at most")
def test_a_population_with_memories_takes_what_the_plan_says():
    """Four memories of 100 MB, changed in place."""
    subprocess.run([sys.executable, "-c", POPULATION], check=True, timeout=120)
