"""Records and arrays from files: a missing, bad or changed field is one line; sizes are checked first."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from toys import PROBE, TINY, asked

import rljax
from rljax import algos, api, cli, records
from rljax.algos import dqn
from rljax.checkpoint import Checkpointer
from rljax.errors import CheckpointError, ConfigError
from rljax.results import store
from rljax.results.folder import RUN
from rljax.spec import prepare
from rljax.sweeps import driver, spec
from rljax.sweeps import store as sweep_store
from rljax.sweeps.planning import make_plan, to_record


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    rljax.train("ppo", PROBE, steps=64, use_preset=False, progress=False, tensorboard=False, out=folder, **TINY)
    return json.loads((folder / "config.json").read_text())


def written(folder, record, name="config.json"):
    (folder / name).write_text(record if isinstance(record, str) else json.dumps(record))
    return folder


def test_a_record_is_read_as_it_was_written(trained, tmp_path):
    found = store.read(written(tmp_path, trained))
    assert found == {name: value for name, value in trained.items() if name not in (records.CHECKSUMS, records.FORMAT)}
    record = json.loads(json.dumps(records.sealed({"a": (1, 2.5), "b": {"c": None, "d": [0.1, 1e-30]}})))
    written(tmp_path, record)
    assert records.read(tmp_path, RUN, {"a": list, "b": dict}) == {"a": [1, 2.5], "b": {"c": None, "d": [0.1, 1e-30]}}


@pytest.mark.parametrize("name", ["algo", "seed", "updates", "config", "hypers", "task", "env_args", "log_every"])
def test_a_missing_field_is_named(trained, tmp_path, name):
    written(tmp_path, {n: x for n, x in trained.items() if n != name})
    with pytest.raises(ConfigError, match=rf"config.json: no {name} there; put it back as rljax train wrote it"):
        rljax.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", -1, "seed=-1 must be a whole number from 0 to 4294967295"),
        ("seed", True, "seed=true must be a whole number"),
        ("steps", 1e3, "steps=1000.0 must be a whole number from 1"),
        ("updates", 10**30, "updates=1000000000000000000000000000000 must be a whole number"),
        ("algo", ["ppo"], r"algo=\[\"ppo\"\] must be a text"),
        ("hypers", [], r"hypers=\[\] must be an object"),
        ("log_every", "often", 'log_every="often" must be a whole number .* or null'),
        ("hypers", {}, "hypers was changed after it was written"),
        ("env", "CartPole-v1", "env was changed after it was written"),
        ("steps", 65, "steps was changed after it was written; .* start a new run with other settings"),
        ("checksums", {}, "algo was changed after it was written"),
    ],
)
def test_a_wrong_or_changed_field_is_named(trained, tmp_path, name, value, said, capsys):
    written(tmp_path, trained | {name: value})
    for use in (rljax.load, rljax.resume):
        with pytest.raises(ConfigError, match=said):
            use(tmp_path)
    assert cli.main(["eval", str(tmp_path)]) == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_record_of_another_version_is_one_line_at_every_door(trained, tmp_path, capsys):
    """Records of rljax 0.1 have no number of their form, and kept the objective among the hyperparameters."""
    old = {
        n: x for n, x in trained.items() if n not in (records.CHECKSUMS, records.FORMAT, "objective", "data", "plugins")
    }
    written(tmp_path, old)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "episode_return": 1.0}\n')
    said = (
        r"config.json: is of another rljax \(format that of rljax 0.1, this one reads 2\); use the rljax that wrote it"
    )
    for use in (rljax.load, rljax.resume, api.finished, store.read):
        with pytest.raises(ConfigError, match=said):
            use(tmp_path)
    for command in ("eval", "render", "plot", "train --resume"):
        assert cli.main([*command.split(), str(tmp_path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1, command
    sweeps, searches = ("report", "sweep --resume"), ("plot", "meta-train --resume", "meta-eval")
    for name, commands in (("sweep.json", sweeps), ("meta.json", searches)):
        folder = tmp_path / name.removesuffix(".json")
        folder.mkdir()
        written(folder, {"rows": []}, name)
        for command in commands:
            assert cli.main([*command.split(), str(folder)]) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and "is of another rljax" in said, (command, said)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"', "[" * 100_000, "\x00", '{"a": 1}', "1" * 5000])
def test_what_is_no_record_is_one_line(tmp_path, text):
    for read, name in ((store.read, "config.json"), (sweep_store.read, "sweep.json")):
        written(tmp_path, text, name)
        with pytest.raises(ConfigError, match=name) as error:
            read(tmp_path)
        assert "\n" not in str(error.value)


def test_a_record_of_absurd_size_is_not_read(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LARGEST", 100)
    with pytest.raises(ConfigError, match=r"config.json cannot be read \(more than 100 bytes\)"):
        store.read(written(tmp_path, trained))


def test_a_sweeps_record_is_checked_row_by_row(tmp_path):
    record = json.loads(json.dumps(to_record(make_plan(asked(), width=1))))
    written(tmp_path, records.sealed(record), "sweep.json")
    assert [row.settings["lr"] for row in spec.from_record(sweep_store.read(tmp_path)).rows] == [1e-3, 1e-2]
    for change, said in (
        (lambda r: r["rows"][1].pop("env_args"), r"no rows\[1\].env_args there"),
        (lambda r: r["rows"][1].update(steps="many"), r"rows\[1\].steps=\"many\" must be a whole number"),
        (lambda r: r["rows"][0].update(group=7), r"rows\[0\].group=7: does not fit"),
        (lambda r: r["plan"][0].update(rows=[0, 5]), r"plan\[0\].rows=\[0, 5\]: does not fit"),
        (lambda r: r.update(seeds=[1, 1]), r"seeds=\[1, 1\]: does not fit"),
        (lambda r: r["asked"].pop("search"), r"no asked.search there"),
    ):
        changed = json.loads(json.dumps(record))
        change(changed)
        written(tmp_path, records.sealed(changed), "sweep.json")
        with pytest.raises(ConfigError, match=said):
            sweep_store.read(tmp_path)
    changed = json.loads(json.dumps(record))
    changed["asked"]["search"] = {"search": "halving", "what": 3}
    written(tmp_path, records.sealed(changed), "sweep.json")
    with pytest.raises(ConfigError, match=r"sweep.json: holds what rljax does not write"):
        driver.resume(tmp_path)


def test_a_record_outlives_a_change_of_defaults(monkeypatch):
    """sigma has no effect with a scalar head: what was its default then is nothing that was given."""
    settings = {"num_envs": 2, "hidden": (4,), "capacity": 64, "warmup": 16, "batch_size": 4}
    with pytest.raises(ConfigError, match=r"sigma=0.5: has no effect without head=hl-gauss"):
        prepare("dqn", PROBE, steps=100, use_preset=False, sigma=0.5, **settings)
    prepared = prepare("dqn", PROBE, steps=100, use_preset=False, recorded=True, sigma=0.5, **settings)
    assert prepared.algorithm.hypers.sigma == 0.5 and algos.load("dqn") is dqn.DQN


def npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def claiming(shape, content=b"", dtype="<f4"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": dtype})
    return file.getvalue() + content


def test_arrays_take_no_more_memory_than_they_are_allowed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, zeros=np.zeros(10**6, np.float32), one=np.ones(()))
    records.check_npz(path, 4 * 10**6 + 8)
    with pytest.raises(records.TooLarge, match=r"its arrays take more than 4,000,000 bytes"):
        records.check_npz(path, 4 * 10**6)
    for content in (claiming((10**12,)), claiming((2,), b"1234"), claiming((1,), b"12345678", "|O")):
        with pytest.raises(ValueError, match=r"claims"):
            records.check_npz(npz(path, a=content), 10**9)
        with pytest.raises(ConfigError, match=r"holds no learned objective"):
            rljax.make("ppo", PROBE, objective=str(path))


def test_a_learned_file_of_absurd_size_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("rljax.objectives.files.LARGEST", 10**6)
    np.savez_compressed(tmp_path / "a.npz", record=np.array("{}"), hidden=np.zeros(10**6, np.float32))
    with pytest.raises(ConfigError, match=r"a.npz: its arrays take more than 1,000,000 bytes; give a learned"):
        rljax.make("ppo", PROBE, objective=str(tmp_path / "a.npz"))


def test_a_checkpoint_with_a_record_of_absurd_size_counts_as_damaged(tmp_path, monkeypatch):
    with Checkpointer(tmp_path, "a") as checkpoints:
        checkpoints.save(1, {"x": np.ones(3)})
        monkeypatch.setattr(records, "LARGEST", 10)
        with pytest.warns(UserWarning, match=r"is larger than any record"), pytest.raises(CheckpointError):
            checkpoints.restore_latest({"x": np.ones(3)})


@pytest.mark.parametrize(
    "change",
    [{"row": [0, 2]}, {"row": [-1, 0]}, {"seed": [0, 9]}, {"metric/loss": np.zeros((2, 4))}, {"row": [[0], [1]]}],
    ids=["no such row", "negative row", "no such seed", "other shape", "other axes"],
)
def test_a_chunk_of_another_sweep_is_refused(tmp_path, change):
    chunk = {"row": [0, 1], "seed": [0, 0], "update": [2, 4, 6], "metric/loss": np.zeros((2, 3))}
    arrays = {name: np.asarray(x) for name, x in chunk.items()}
    sweep_store._check_chunk(tmp_path, arrays, 2, {0})
    with pytest.raises(ConfigError, match=r"is not of this sweep; move it elsewhere"):
        sweep_store._check_chunk(tmp_path, arrays | {name: np.asarray(x) for name, x in change.items()}, 2, {0})
