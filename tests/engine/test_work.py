"""Shards at work: what all members share is uploaded once, whatever the number of shards and programs."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from toys import asked

from rljax.engine.plan import Programs, group
from rljax.engine.program import Program
from rljax.engine.work import Job
from rljax.sweeps.execute import SweepJob, shards_of


def test_what_all_members_share_is_uploaded_once_whatever_the_number_of_shards(monkeypatch):
    rows = asked(grid={"lr": [1e-3, 1e-2, 1e-1], "num_envs": [4, 8]}).rows
    data, copies, copy = np.arange(6.0, dtype=np.float32), [], Program.copy

    def counted(self, leaf):
        copies.append(leaf)
        return copy(self, leaf)

    monkeypatch.setattr(Program, "copy", counted)
    built = [row.prepare() for row in rows]
    built = [one._replace(task=dataclasses.replace(one.task, length=data)) for one in built]
    programs = Programs(built, rows)
    monkeypatch.setattr(Programs, "of", lambda self, planned: PROGRAM)
    groups = group(programs)
    PROGRAM = Program.__new__(Program)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("population",))
    PROGRAM._split = PROGRAM._copied = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    job = SweepJob(programs, groups)
    for shard in map(job.filled, shards_of(groups, [0, 1])):
        assert shard.inputs is not None
        inputs = programs.upload(groups[shard.group], shard.inputs.varied)
        assert len(shard.members) == len(shard.inputs.seeds) == 1
        shared = [x for x in inputs.fixed if x is not None and x.shape == data.shape]
        assert len(shared) == 1
    assert len(groups) == 2 and sum(x is data for x in copies) == 1


def test_a_job_that_fills_nothing_leaves_a_shard_as_it_is():
    [shard] = shards_of(group(Programs([row.prepare() for row in asked(grid={}).rows])), [0])
    assert Job(Programs([]), []).filled(shard) is shard
