"""A job arrives in another process as it left, with the classes of a script; one that does not is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import jax
import pytest
from flax import struct
from toys import asked, counter

from rljax.engine import payload, pickling
from rljax.errors import ConfigError, WorkerError
from rljax.sweeps import execute
from rljax.sweeps.planning import make_plan


def sent(**changes):
    """The payload of a small sweep, as the other process has it."""
    planned = make_plan(asked(**changes), width=1)
    return pickling.loads(payload.pack(execute.SweepJob(planned.programs, planned.groups)))


def test_what_arrived_as_something_else_is_refused_by_its_class_and_field():
    found = sent(env=counter(), task={"truncate_at": 5}, env_args={})
    assert list(found.rows) == [0]  # the numbers of the others come with their shards
    name = next(name for name in found.sent[0] if name.endswith("task.truncate_at"))
    changed = {0: found.sent[0] | {name: ((), "int64", "7")}}
    with pytest.raises(WorkerError, match=r"row 0: toys:CounterTask task.truncate_at is .*7.* here and .*5.* in"):
        found._replace(sent=changed)()
    with pytest.raises(WorkerError, match=r"row 0: .*task.lost is .* here and nothing in another process"):
        found._replace(sent={0: found.sent[0] | {"task.lost": 1}})()
    states = {0: found.states[0] | {"key": ((7,), "float32")}}
    with pytest.raises(WorkerError, match=r"the state of row 0: key is \(\(7,\), 'float32'\) here and"):
        found._replace(states=states)()


def test_what_cannot_be_sent_is_named():
    with pytest.raises(ConfigError, match=r"cannot be sent to other processes \(TypeError: cannot pickle"):
        pickling.dumps(threading.Lock())
    data = pickling.dumps(importlib.util.find_spec("toys"))
    with pytest.raises(WorkerError, match=r"cannot be rebuilt there"):
        pickling.loads(data.replace(b"importlib", b"importlob"))


def test_a_module_that_only_this_process_has_is_sent_by_value(tmp_path, monkeypatch):
    file = tmp_path / "only_here.py"
    file.write_text("FACTOR = 3\n\ndef times(x):\n    return FACTOR * x\n")
    spec = importlib.util.spec_from_file_location("only_here", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "only_here", module)
    spec.loader.exec_module(module)
    data = pickling.dumps(module.times)
    monkeypatch.delitem(sys.modules, "only_here")
    assert pickling.loads(data)(2) == 6


def test_a_cached_function_inside_another_is_sent_with_its_cache():
    @cache
    def half(x):
        return x / 2

    arrived = pickling.loads(pickling.dumps(half))
    assert arrived(3.0) == 1.5 and arrived.cache_info().currsize == 1


def local_classes():
    """Pytrees of every kind that are in no module."""

    class Node(struct.PyTreeNode):
        x: float = 1.0
        label: str = struct.field(pytree_node=False, default="a")

    class Later(Node, kw_only=True):
        y: float = 2.0

    @struct.dataclass
    class Decorated:
        x: float = 1.0

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Registered:
        x: float = 1.0

    @jax.tree_util.register_pytree_with_keys_class
    class Keyed:
        def __init__(self, x):
            self.x = x

        def tree_flatten_with_keys(self):
            return [(jax.tree_util.GetAttrKey("x"), self.x)], None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

    class ByHand:
        def __init__(self, x):
            self.x = x

    jax.tree_util.register_pytree_node(ByHand, lambda node: ((node.x,), None), lambda _, xs: ByHand(*xs))
    return [Node(x=3.0, label="b"), Later(x=4.0, y=5.0), Decorated(6.0), Registered(7.0), Keyed(8.0), ByHand(9.0)]


def test_own_classes_are_pytrees_in_another_process_as_they_are_here(tmp_path):
    trees = local_classes()
    (tmp_path / "trees").write_bytes(pickling.dumps(trees, [trees]))
    program = (
        "import sys, jax; from pathlib import Path; from rljax.engine import pickling;"
        "trees = pickling.loads(Path(sys.argv[1]).read_bytes());"
        "print(jax.tree.leaves_with_path(trees)); print(jax.tree.structure(jax.tree.map(lambda x: x + 1, trees)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "trees")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    leaves, structure = done.stdout.splitlines()
    assert leaves == str(jax.tree.leaves_with_path(trees))
    assert structure == str(jax.tree.structure(trees))


def test_a_script_gets_the_same_from_two_processes_as_from_one_and_from_lone_runs():
    with (Path(__file__).parent / "own_script.py").open() as script:  # by standard input: there is no file to import
        command = [sys.executable, "-"]
        done = subprocess.run(command, stdin=script, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and done.stdout.endswith("the same\n"), done.stderr
