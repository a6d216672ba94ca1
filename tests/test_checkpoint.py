"""Checkpoints: what goes in comes out, bit by bit, or is refused."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rljax import orbax_files
from rljax.checkpoint import Checkpointer
from rljax.errors import CheckpointError, StorageError

CONFIG = {"hidden": (8, 8), "num_envs": 4}


class State(NamedTuple):
    params: Any
    opt: Any
    key: jax.Array
    odd: dict[str, Any]


def optimiser() -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-2, eps_root=1e-10))


def init(key: jax.Array, width: int = 8) -> State:
    k_params, k_odd, k_state = jax.random.split(key, 3)
    params = {"Dense_0": {"kernel": jax.random.normal(k_params, (4, width)), "bias": jnp.zeros(width)}}
    odd = {
        "none": None,
        "empty": jnp.zeros((0, 3), jnp.bfloat16),
        "no_keys": jax.random.split(k_odd, 2)[:0],
        "keys": jax.random.split(k_odd, (2, 3)),
        "rbg": jax.random.key(7, impl="rbg"),
        "bool": jnp.array([True, False, True]),
        "uint8": jnp.arange(6, dtype=jnp.uint8).reshape(2, 3),
        "bfloat16": jax.random.normal(k_odd, (5,), jnp.bfloat16),
        "scalar": jnp.int32(-3),
        "special": jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45]),
        "nothing": {},
        "tuple": (jnp.ones(2), [jnp.zeros(1, jnp.int16)]),
    }
    return State(params, optimiser().init(params), k_state, odd)


def step(state: State) -> State:
    key, k_noise = jax.random.split(state.key)
    noise = jax.random.normal(k_noise, (4, state.params["Dense_0"]["kernel"].shape[1]))
    grads = jax.grad(lambda p: jnp.mean((p["Dense_0"]["kernel"] - noise) ** 2) + p["Dense_0"]["bias"].sum())(
        state.params
    )
    updates, opt = optimiser().update(grads, state.opt, state.params)
    return state._replace(params=optax.apply_updates(state.params, updates), opt=opt, key=key)


TARGET = jax.eval_shape(init, jax.random.key(0))


def as_bytes(tree: Any) -> list[tuple]:
    """Every leaf as its path, dtype, shape and bytes."""

    def data(leaf: Any) -> np.ndarray:
        return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)

    flat = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(p), str(leaf.dtype), leaf.shape, data(leaf).tobytes()) for p, leaf in flat]


def states(*steps: int) -> dict[int, State]:
    return {n: init(jax.random.key(n)) for n in steps}


def write(folder: Path, *steps: int, **options: Any) -> dict[int, State]:
    written = states(*steps)
    with Checkpointer(folder, "ppo", CONFIG, **options) as checkpointer:
        for n, state in written.items():
            checkpointer.save(n, state, {"seconds": float(n)})
    return written


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intact") / "checkpoints"
    write(folder, 10, 20, 30)
    return folder


@pytest.fixture
def folder(intact: Path, tmp_path: Path) -> Path:
    """A private copy of steps 10, 20 and 30."""
    return Path(shutil.copytree(intact, tmp_path / "checkpoints"))


def test_every_kind_of_leaf_round_trips(tmp_path):
    big = 3_000_000_000  # steps outgrow int32
    written = write(tmp_path / "made" / "on" / "demand", big)
    restored = Checkpointer(tmp_path / "made" / "on" / "demand", "ppo").restore_latest(TARGET)
    assert restored is not None
    assert restored.step == big and restored.meta == {"seconds": float(big)}
    assert jax.tree.structure(restored.state) == jax.tree.structure(TARGET)
    assert as_bytes(restored.state) == as_bytes(written[big])


def test_resuming_equals_not_stopping(tmp_path):
    advance = jax.jit(lambda s: jax.lax.fori_loop(0, 5, lambda _, x: step(x), s), donate_argnums=0)
    straight = advance(advance(init(jax.random.key(3))))
    half = advance(init(jax.random.key(3)))
    with Checkpointer(tmp_path, "ppo") as checkpointer:
        checkpointer.save(5, half)
        advance(half)  # donates what was just saved
        restored = checkpointer.restore_latest(TARGET)
    assert restored is not None
    assert not any(leaf.committed for leaf in jax.tree.leaves(restored.state))  # like a fresh one: nothing recompiles
    assert as_bytes(advance(restored.state)) == as_bytes(straight)


def test_restores_onto_the_shardings_of_the_target(folder):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[-1])
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), TARGET)
    restored = Checkpointer(folder, "ppo").restore_latest(target)
    assert restored is not None
    assert all(leaf.committed and leaf.sharding == sharding for leaf in jax.tree.leaves(restored.state))
    assert as_bytes(restored.state) == as_bytes(states(30)[30])


def test_no_checkpoint_is_none(tmp_path):
    for missing in (tmp_path, tmp_path / "missing"):
        checkpointer = Checkpointer(missing, "ppo")
        assert checkpointer.steps() == [] and checkpointer.restore_latest(TARGET) is None
    assert not (tmp_path / "missing").exists()


def test_keeps_the_newest(tmp_path):
    write(tmp_path, 10, 20, 30, 40, keep=2)
    assert Checkpointer(tmp_path, "ppo").steps() == [30, 40]


def test_saving_again(folder):
    with Checkpointer(folder, "ppo") as checkpointer:
        for n in (30, 25):  # a fresh run in a used folder
            with pytest.raises(CheckpointError, match=f"cannot save step {n}: {folder} already holds step 30"):
                checkpointer.save(n, init(jax.random.key(1)))
        checkpointer.restore_latest(TARGET)
        checkpointer.save(30, init(jax.random.key(1)))  # just restored: nothing to write
        checkpointer.save(40, init(jax.random.key(40)))
        checkpointer.save(40, init(jax.random.key(1)))  # just saved
        assert checkpointer.steps() == [20, 30, 40]
        restored = checkpointer.restore_latest(TARGET)
    assert restored is not None and as_bytes(restored.state) == as_bytes(states(40)[40])


def test_ctrl_c_waits_for_the_save(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    save = ocp.Checkpointer.save

    def interrupted(self, folder, *args, **options):
        signal.raise_signal(signal.SIGINT)
        return save(self, folder, *args, **options)

    with Checkpointer(tmp_path, "ppo") as checkpointer:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(ocp.Checkpointer, "save", interrupted)
            checkpointer.save(10, init(jax.random.key(10)))
        assert checkpointer.steps() == [10]
        checkpointer.save(10, init(jax.random.key(10)))  # what a driver may do as it ends
        checkpointer.save(20, init(jax.random.key(20)))
        assert checkpointer.steps() == [10, 20]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot save step 1 in .*: Not a directory"):
        Checkpointer(tmp_path / "file" / "checkpoints", "ppo").save(1, init(jax.random.key(0)))


@pytest.mark.parametrize("name", ["x[1]", "a*b", "q?", "back\\slash", "{a,b}", "~", "it's 50% é"])
def test_a_folder_may_have_any_name(tmp_path, name):
    """Orbax takes a path for a pattern, tensorstore a backslash for a slash."""
    written = write(tmp_path / name / "checkpoints", 10, 20)
    restored = Checkpointer(tmp_path / name / "checkpoints", "ppo").restore_latest(TARGET)
    assert restored is not None and restored.step == 20 and as_bytes(restored.state) == as_bytes(written[20])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_written_is_read_back_before_it_counts(folder, monkeypatch):
    whole = orbax_files.write

    def forgetful(path, arrays, record):
        whole(path, arrays | {"odd/scalar": arrays["odd/scalar"] + 1}, record)

    with Checkpointer(folder, "ppo", CONFIG) as checkpointer:
        monkeypatch.setattr(orbax_files, "write", forgetful)
        with pytest.raises(StorageError, match=r"cannot save step 40 in .*: 'odd/scalar' is not what was written"):
            checkpointer.save(40, init(jax.random.key(40)))
        monkeypatch.undo()
        assert sorted(path.name for path in folder.iterdir()) == ["10", "20", "30"]
        checkpointer.save(40, init(jax.random.key(40)))
        assert checkpointer.steps() == [20, 30, 40]


def test_a_full_disk_costs_no_checkpoint_that_was_there(folder, monkeypatch):
    def full(path, arrays, record):
        (path / "state").mkdir(parents=True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(orbax_files, "write", full)
    with pytest.raises(StorageError, match=f"cannot save step 40 in {folder}: the disk is full$"):
        Checkpointer(folder, "ppo", CONFIG).save(40, init(jax.random.key(40)))
    assert sorted(path.name for path in folder.iterdir()) == ["10", "20", "30"]


def test_leaves_of_one_name(tmp_path):
    with pytest.raises(CheckpointError, match="two leaves of the state are named 'a/b'"):
        Checkpointer(tmp_path, "ppo").save(1, {"a/b": jnp.ones(1), "a": {"b": jnp.ones(1)}})


# Another algorithm, another state.


def refusal(folder: Path, target: Any, algo: str = "ppo", config: dict | None = None) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is refused, not skipped
        with pytest.raises(CheckpointError) as error:
            Checkpointer(folder, algo, CONFIG if config is None else config).restore_latest(target)
    assert "\n" not in str(error.value) and str(folder / "30") in str(error.value)
    return str(error.value)


def test_another_algorithm(folder):
    assert "was written by algorithm 'ppo', not 'dqn'" in refusal(folder, TARGET, "dqn")


def test_another_shape_names_the_config(folder):
    wide = jax.eval_shape(lambda key: init(key, 16), jax.random.key(0))
    message = refusal(folder, wide, config={**CONFIG, "hidden": (16, 16)})
    assert "'params/Dense_0/bias' has shape (8,) there, (16,) here" in message
    assert "use its config (hidden=[8, 8] there, [16, 16] here)" in message


def test_what_an_environment_keeps_in_64_bits_is_cast_where_they_are_off(tmp_path):
    with jax.enable_x64(True):
        state = {
            "x": jnp.array([0.1, 2.0], jnp.float64),
            "time": jnp.array(7, jnp.int64),
            "w": jnp.ones(3, jnp.float32),
        }
        with Checkpointer(tmp_path, "ppo") as checkpoints:
            checkpoints.save(1, state)
    target = {name: jax.ShapeDtypeStruct(x.shape, str(x.dtype).replace("64", "32")) for name, x in state.items()}
    with pytest.warns(UserWarning, match="written with JAX_ENABLE_X64=1: cast here are 'time' and 1 more"):
        restored = Checkpointer(tmp_path, "ppo").restore_latest(target)
    assert restored is not None
    assert {name: x.dtype for name, x in restored.state.items()} == {name: x.dtype for name, x in target.items()}
    np.testing.assert_array_equal(restored.state["x"], np.float32([0.1, 2.0]))
    assert restored.state["time"] == 7


def test_another_dtype_is_not_cast(folder):
    half = TARGET._replace(params=jax.eval_shape(lambda p: jax.tree.map(jnp.float16, p), TARGET.params))
    message = refusal(folder, half)
    assert "'params/Dense_0/bias' is float32 there, float16 here" in message
    assert f"jax {jax.__version__}" in message


def test_another_key_type(folder):
    other = TARGET._replace(key=jax.eval_shape(lambda: jax.random.key(0, impl="rbg")))
    assert "'key' is key<fry> there, key<rbg> here" in refusal(folder, other)


def test_another_structure(folder):
    odd = {name: leaf for name, leaf in TARGET.odd.items() if name != "scalar"}
    assert "'odd/scalar' is there, not here" in refusal(folder, TARGET._replace(odd=odd))
    more = {**TARGET.odd, "zero": jax.ShapeDtypeStruct((0,), jnp.float32)}
    assert "'odd/zero' is here, not there" in refusal(folder, TARGET._replace(odd=more))


def test_paths_are_those_of_the_optimiser_fields(folder):
    opt = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(1e-2)).init({"w": jnp.ones(1)})
    assert "'opt/1/0/count' is there" in refusal(folder, TARGET._replace(opt=opt))


# Damage. Orbax's reader threads may report to an event loop that the first failure closed: noise.

NOISE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff\x00{not json")


def files(checkpoint: Path) -> list[Path]:
    return sorted(p for p in checkpoint.rglob("*") if p.is_file())


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


DAMAGE = {
    "stray empty folder": empty,
    "state missing": lambda c: shutil.rmtree(c / "state"),
    "record missing": lambda c: shutil.rmtree(c / "record"),
    "record truncated": lambda c: truncate(c / "record" / "metadata"),
    "record garbage": lambda c: garbage(c / "record" / "metadata"),
    "record other JSON": lambda c: (c / "record" / "metadata").write_text("[1]"),
    "record bit": lambda c: flip(c / "record" / "metadata"),
    "tree garbage": lambda c: garbage(c / "state" / "_METADATA"),
    "manifest truncated": lambda c: truncate(c / "state" / "manifest.ocdbt"),
    "manifest missing": lambda c: (c / "state" / "manifest.ocdbt").unlink(),
    "data truncated": lambda c: [truncate(p) for p in files(c / "state") if p.parent.name == "d"],
    "data bit": lambda c: [flip(p) for p in files(c / "state") if p.parent.name == "d"],
    "data missing": lambda c: [p.unlink() for p in files(c / "state") if p.parent.name == "d"],
}


@NOISE
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_skipped(folder, damage):
    damage(folder / "30")
    with Checkpointer(folder, "ppo", CONFIG) as checkpointer:
        with pytest.warns(UserWarning, match=f"checkpoint {folder / '30'} is damaged, skipped: .") as caught:
            restored = checkpointer.restore_latest(TARGET)
        assert len(caught) == 1 and "\n" not in str(caught[0].message)
        assert restored is not None and restored.step == 20
        assert as_bytes(restored.state) == as_bytes(states(20)[20])
        assert checkpointer.steps() == [10, 20, 30]  # reading deletes nothing
        checkpointer.save(30, init(jax.random.key(31)))  # the run comes by again
        restored = checkpointer.restore_latest(TARGET)
        assert checkpointer.steps() == [10, 20, 30]
    assert restored is not None and as_bytes(restored.state) == as_bytes(states(31)[31])


@NOISE
@pytest.mark.parametrize("damage", [truncate, flip, garbage, Path.unlink])
def test_no_damage_to_any_file_is_silent(folder, damage):
    """Orbax does not read all that it writes: damage there is harmless, elsewhere it is noticed."""
    backup = Path(shutil.copytree(folder / "30", folder.parent / "backup"))
    skipped = 0
    for path in [p.relative_to(backup) for p in files(backup)]:
        damage(folder / "30" / path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            restored = Checkpointer(folder, "ppo", CONFIG).restore_latest(TARGET)
        assert restored is not None and restored.step == (20 if caught else 30), path
        assert as_bytes(restored.state) == as_bytes(states(restored.step)[restored.step]), path
        skipped += bool(caught)
        shutil.copy(backup / path, folder / "30" / path)
    assert skipped >= 3


def test_damaged_under_an_open_run(folder):
    with Checkpointer(folder, "ppo", CONFIG) as checkpointer:
        checkpointer.restore_latest(TARGET)
        checkpointer.save(40, init(jax.random.key(40)))
        shutil.copytree(folder / "40", folder / "50.orbax-checkpoint-tmp")  # a save of this run was interrupted
        empty(folder / "40")
        with pytest.warns(UserWarning):
            checkpointer.restore_latest(TARGET)
        for n in (40, 50):
            checkpointer.save(n, init(jax.random.key(n)))
            restored = checkpointer.restore_latest(TARGET)
            assert restored is not None and as_bytes(restored.state) == as_bytes(states(n)[n])
    assert sorted(path.name for path in folder.iterdir()) == ["30", "40", "50"]


def test_two_damaged_ones(folder):
    empty(folder / "30")
    truncate(folder / "20" / "record" / "metadata")
    (folder / "50").mkdir()
    with Checkpointer(folder, "ppo", CONFIG) as checkpointer:
        with pytest.warns(UserWarning) as caught:
            restored = checkpointer.restore_latest(TARGET)
        assert len(caught) == 3
        assert restored is not None and restored.step == 10
        checkpointer.save(15, restored.state)
        assert checkpointer.steps() == [10, 15]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
        ValueError('PERMISSION_DENIED: Error reading local file "a": Permission denied [tensorstore_spec="{}"]'),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_system_refuses_for_now_is_no_damage(folder, monkeypatch, error):
    def refuse(*_):
        raise error

    with Checkpointer(folder, "ppo", CONFIG) as checkpointer:
        monkeypatch.setattr(orbax_files, "read_arrays", refuse)
        with pytest.raises(StorageError, match=f"checkpoint {folder / '30'} cannot be read now: ") as caught:
            checkpointer.restore_latest(TARGET)
        monkeypatch.undo()
        assert "\n" not in str(caught.value)
        checkpointer.save(40, init(jax.random.key(40)))
        assert checkpointer.steps() == [20, 30, 40]


def test_all_damaged(folder):
    for n in (10, 20, 30):
        empty(folder / str(n))
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match=f"every checkpoint in {folder} is damaged"):
        Checkpointer(folder, "ppo", CONFIG).restore_latest(TARGET)


def test_half_written_folders(folder):
    """Files of a killed save are no step; readers leave them (the run may continue), the next save deletes them."""
    half = folder / "40.orbax-checkpoint-tmp"
    shutil.copytree(folder / "30", half)
    with Checkpointer(folder, "ppo", CONFIG) as checkpointer:
        restored = checkpointer.restore_latest(TARGET)
        assert restored is not None and restored.step == 30 and half.exists()
        checkpointer.save(40, init(jax.random.key(40)))
        assert checkpointer.steps() == [20, 30, 40] and not half.exists()


SAVE_FOR_EVER = """
import sys, jax, jax.numpy as jnp
from rljax import orbax_files
from rljax.checkpoint import Checkpointer
checkpointer = Checkpointer(sys.argv[1], "ppo")
restored = checkpointer.restore_latest({"n": jnp.zeros(2_000_000)})
step = restored.step if restored else 0
while True:
    step += 1
    checkpointer.save(step, {"n": jnp.full(2_000_000, step, jnp.float32)})
    print(step, flush=True)
"""


def test_killed_while_saving(tmp_path):
    """Whenever SIGKILL comes, the last reported save is there (or a later one), intact."""
    target = {"n": jax.ShapeDtypeStruct((2_000_000,), jnp.float32)}
    reported = 0
    for wait_for in (3, 5):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(wait_for)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        reported = int(lines[-1])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            restored = Checkpointer(tmp_path, "ppo").restore_latest(target)
        assert restored is not None and restored.step in (reported, reported + 1)
        assert (np.asarray(restored.state["n"]) == restored.step).all()
    assert reported >= 8  # each life went on from the one before
    with Checkpointer(tmp_path, "ppo") as checkpointer:
        restored = checkpointer.restore_latest(target)
        assert restored is not None
        checkpointer.save(restored.step + 1, restored.state)
    assert len(list(tmp_path.iterdir())) == 3  # nothing half-written stays
