"""A sweep at Weights & Biases: a run there for each, sent once, and gone on with where the sweep is."""

from __future__ import annotations

import pytest
from fake_wandb import wandb
from toys import sweep

from rljax.errors import ConfigError
from rljax.sweeps import driver


def test_each_run_is_sent_once_in_one_group(monkeypatch, tmp_path):
    fake = wandb(monkeypatch)
    found = sweep(out=tmp_path / "rates", wandb={"project": "p", "tags": ["a"]})
    assert [begun["name"] for begun in fake.begun] == [
        f"lr={lr} seed={seed}" for lr in ("0.001", "0.01") for seed in (0, 1)
    ]
    assert {(x["project"], x["group"], tuple(x["tags"]), x["resume"]) for x in fake.begun} == {
        ("p", "rates", ("a",), "allow")
    }
    assert len({begun["id"] for begun in fake.begun}) == 4
    assert fake.begun[1]["config"]["lr"] == 1e-3 and fake.begun[1]["config"]["seed"] == 1
    assert [step for step, _ in fake.rows] == 4 * list(range(64, 641, 64)) and fake.finished
    row = dict(fake.rows[10:20])[640]
    assert row["entropy"] == pytest.approx(found.metrics["entropy"][0, 1, -1]) and row["updates"] == 20
    driver.resume(tmp_path / "rates", progress=False)
    assert len(fake.begun) == 4, "nothing is sent twice"
    driver.resume(tmp_path / "rates", progress=False, seeds=3)
    assert [begun["name"] for begun in fake.begun[4:]] == ["lr=0.001 seed=2", "lr=0.01 seed=2"]


def test_longer_runs_go_on_there(monkeypatch, tmp_path):
    fake = wandb(monkeypatch)
    sweep(out=tmp_path / "a", wandb="p", keep="state", grid={}, seeds=1)
    driver.resume(tmp_path / "a", progress=False, steps=1280)
    assert fake.begun[0]["id"] == fake.begun[1]["id"]
    assert [step for step, _ in fake.rows] == list(range(64, 1281, 64))


def test_it_is_checked_before_anything_runs(monkeypatch, tmp_path):
    wandb(monkeypatch, "login")
    with pytest.raises(ConfigError, match="run `wandb login`"):
        sweep(out=tmp_path / "a", wandb="p")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="name a project"):
        sweep(wandb={"group": "a"})
