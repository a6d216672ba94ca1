"""Sinks: rows survive a kill, a resume and a NaN."""

from __future__ import annotations

import io
import json
import math
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_wandb import wandb
from rich.console import Console
from toys import PROBE, TINY

import rljax
from rljax import jsonl
from rljax.errors import ConfigError
from rljax.log import JsonlSink, ProgressSink, TensorBoardSink, WandbSink, check_wandb, compact, read_jsonl
from rljax.progress import duration

BIG = 3_000_000_000  # steps outgrow int32


def write(sink, *steps: int, **columns) -> None:
    for n in steps:
        sink.write({"step": n, "episode_return": float(n), **columns})


def event_records(folder: Path) -> Iterator[Any]:
    """Parses event files: records of length, checksum, event, checksum."""
    from tensorboardX.proto import event_pb2

    for path in sorted(folder.glob("events*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield event_pb2.Event.FromString(data[12 : 12 + length])  # pyright: ignore[reportAttributeAccessIssue]
            data = data[16 + length :]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars in them."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in event_records(folder):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_jsonl_round_trip(tmp_path):
    sink = JsonlSink(tmp_path / "made" / "metrics.jsonl")
    sink.write({"step": 10, "loss": np.float32(0.5), "episode_return": math.nan, "updates": np.int64(1)})
    sink.write({"step": BIG, "loss": math.inf, "updates": 2, "episodes": 3})
    path = tmp_path / "made" / "metrics.jsonl"
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 10, "loss": 0.5, "episode_return": None, "updates": 1},
        {"step": BIG, "loss": None, "updates": 2, "episodes": 3},
    ]  # and that before it is closed
    sink.close()
    columns = read_jsonl(path)
    assert columns["step"].tolist() == [10, BIG] and columns["step"].dtype.kind == "i"
    assert columns["updates"].dtype.kind == "i"
    np.testing.assert_array_equal(columns["loss"], [0.5, np.nan])
    np.testing.assert_array_equal(columns["episode_return"], [np.nan, np.nan])
    np.testing.assert_array_equal(columns["episodes"], [np.nan, 3])


def test_jsonl_starts_afresh_unless_resumed(tmp_path):
    for _ in range(2):
        sink = JsonlSink(tmp_path / "m.jsonl")
        write(sink, 1, 2)
        sink.close()
    assert read_jsonl(tmp_path / "m.jsonl")["step"].tolist() == [1, 2]


@pytest.mark.parametrize("tail", ["", '{"step": 40, "episode_re', '{"step": 4'])
def test_jsonl_resumes(tmp_path, tail):
    path = tmp_path / "m.jsonl"
    sink = JsonlSink(path)
    write(sink, 10, 20, 30)
    sink.close()
    with path.open("a") as file:
        file.write(tail)
    assert read_jsonl(path)["step"].tolist() == [10, 20, 30]
    sink = JsonlSink(path, resume_step=20)
    write(sink, 25)
    sink.close()
    assert read_jsonl(path)["step"].tolist() == [10, 20, 25]
    assert path.read_text().endswith("\n") and list(tmp_path.iterdir()) == [path]


def test_jsonl_resumes_from_nothing(tmp_path):
    sink = JsonlSink(tmp_path / "m.jsonl", resume_step=20)
    write(sink, 30)
    sink.close()
    assert read_jsonl(tmp_path / "m.jsonl")["step"].tolist() == [30]


def test_jsonl_garbage_in_the_middle_is_named(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n\x00\x00\n7\n{"step": 4}\n')
    with pytest.warns(UserWarning, match="m.jsonl line [23] is not a row"):
        assert read_jsonl(tmp_path / "m.jsonl")["step"].tolist() == [1, 4]
    for edited in ('{"step": {"a": 1}}', '{"step": null}', '{"step": "2"}', '{"step": 2, "loss": [1]}', '{"loss": 1}'):
        (tmp_path / "m.jsonl").write_text(f'{{"step": 1}}\n{edited}\n{{"step": 4, "loss": null}}\n')
        with pytest.warns(UserWarning, match="m.jsonl line 2 is not a row"):
            assert read_jsonl(tmp_path / "m.jsonl")["step"].tolist() == [1, 4]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        '{"step": 2, "loss": 1e-05, "n": 2}',
        '{"n": 2, "loss": 0.1, "step": 2}',
        '{"step": 2, "loss": true, "n": 1}',
        '{"step":2,"loss":NaN,"n":2}',
        '{"step": 2, "loss": 0.5}',
        '{"step": 2, "loss": 0.5, "n": [2]}',
        '{"step": 2, "loss": 0.5 0.5, "n": 2}',
        '{"step": 2, "loss": 0.5, "n": 2-2}',
    ],
)
def test_jsonl_is_read_by_blocks_as_line_by_line(tmp_path, monkeypatch, odd):
    rng = np.random.default_rng(0)
    rows = [{"step": i, "loss": None if i % 7 == 0 else float(rng.standard_normal()), "n": BIG + i} for i in range(50)]
    lines = [json.dumps(row) for row in rows]
    lines[20:20] = [odd] if odd else []
    (tmp_path / "m.jsonl").write_text("\n".join(lines) + "\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        alone = read_jsonl(tmp_path / "m.jsonl")
        monkeypatch.setattr(jsonl, "BYTES", 200)
        blocks = read_jsonl(tmp_path / "m.jsonl")
        some = read_jsonl(tmp_path / "m.jsonl", only=("loss",))
    rows = [row for line in lines if (row := _parsed(line)) is not None]
    assert {str(w.message).split(" is ")[0] for w in caught} == (
        set() if len(rows) == len(lines) else {f"{tmp_path / 'm.jsonl'} line 21"}
    )
    for columns in (alone, blocks):
        assert list(columns) == ["step", "loss", "n"]
        for name, column in columns.items():
            expected = np.array([math.nan if row.get(name) is None else row[name] for row in rows])
            np.testing.assert_array_equal(column, expected)
            assert column.dtype == expected.dtype
    assert list(some) == ["loss"]
    np.testing.assert_array_equal(some["loss"], alone["loss"])


def _parsed(line: str):
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if all(isinstance(x, int | float | None) for x in row.values()) else None


def test_jsonl_empty_and_missing(tmp_path):
    (tmp_path / "m.jsonl").write_text("")
    assert read_jsonl(tmp_path / "m.jsonl") == {}
    with pytest.raises(OSError):
        read_jsonl(tmp_path / "missing.jsonl")


def test_tensorboard(tmp_path):
    sink = TensorBoardSink(tmp_path)
    write(sink, 10, BIG, loss=math.nan, episodes=None)
    sink.close()
    assert events(tmp_path) == {"episode_return": [(10, 10.0), (BIG, float(BIG))]}


def test_tensorboard_compares_runs_by_their_settings(tmp_path):
    """With the plug-in's own messages: what a run was given, and the column that it is compared by."""
    plugin_data = pytest.importorskip("tensorboardX.proto.plugin_hparams_pb2").HParamsPluginData
    how = {"steps": 64, "progress": False, **TINY}
    rljax.train("ppo", PROBE, lr=0.02, out=tmp_path / "a", **how)
    said = {
        value.tag: plugin_data.FromString(value.metadata.plugin_data.content)
        for event in event_records(tmp_path / "a" / "tensorboard")
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    }
    given = said["_hparams_/session_start_info"].session_start_info.hparams
    assert given["lr"].number_value == pytest.approx(0.02) and given["algo"].string_value == "ppo"
    assert given["normalize_obs"].bool_value is False and given["hidden"].string_value == "[8]"
    [metric] = said["_hparams_/experiment"].experiment.metric_infos
    assert metric.name.tag == "episode_return"


def test_tensorboard_resumes(tmp_path):
    """Rows that a killed run wrote after its checkpoint are hidden: the format has the start of a session for it."""
    from tensorboardX.proto.event_pb2 import SessionLog  # pyright: ignore[reportAttributeAccessIssue]

    sink = TensorBoardSink(tmp_path, resume_step=20)
    write(sink, 30)
    sink.close()
    starts = [event for event in event_records(tmp_path) if event.session_log.status == SessionLog.START]
    assert [event.step for event in starts] == [21] and events(tmp_path)["episode_return"] == [(30, 30.0)]


FULL = """
import resource, sys
from pathlib import Path
from rljax.errors import StorageError
from rljax.log import JsonlSink, TensorBoardSink, read_jsonl
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
for sink in (JsonlSink(Path(sys.argv[1]) / "m.jsonl"), TensorBoardSink(Path(sys.argv[1]) / "t")):
    try:
        for step in range(1, 100_000):
            sink.write({"step": step, "loss": 0.5})
        sink.close()
    except StorageError as error:
        print(error)
        sink.close() if isinstance(sink, JsonlSink) else None
print(len(read_jsonl(Path(sys.argv[1]) / "m.jsonl")["step"]))
"""


def test_a_limit_that_is_reached_is_an_error_here_and_now(tmp_path):
    """Neither a thread that dies and leaves its queue to block, nor a buffer that fails as Python exits."""
    process = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, timeout=60)
    reached = "cannot be written: the limit on the size of a file is reached"
    assert process.stdout.splitlines()[:2] == [f"{tmp_path / 'm.jsonl'} {reached}", f"{tmp_path / 't'} {reached}"]
    assert process.returncode == 0 and not process.stderr and int(process.stdout.splitlines()[2]) > 100


def test_jsonl_goes_on_by_another_column(tmp_path):
    """Two rows may share a step: the last validation of a search takes none."""
    sink = JsonlSink(tmp_path / "m.jsonl")
    for generation, step in ((0, 10), (1, 20), (2, 20)):
        sink.write({"step": step, "generation": generation})
    sink.close()
    JsonlSink(tmp_path / "m.jsonl", resume_step=1, by="generation").close()
    assert read_jsonl(tmp_path / "m.jsonl")["generation"].tolist() == [0, 1]


def test_wandb_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for refused in (lambda: WandbSink(project="p"), lambda: check_wandb("p")):
        with pytest.raises(ConfigError, match=r"pip install wandb$"):
            refused()


def test_a_folder_that_is_called_wandb_is_not_wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", type(sys)("wandb"))
    with pytest.raises(ConfigError, match=r"pip install wandb$"):
        check_wandb("p")


def test_wandb(monkeypatch):
    fake = wandb(monkeypatch)
    sink = WandbSink(project="p", mode="offline")
    write(sink, 10, loss=math.nan)
    sink.close()
    assert fake.begun == [{"project": "p", "mode": "offline"}]
    assert fake.rows == [(10, {"episode_return": 10.0})] and fake.finished


def test_wandb_goes_on_with_the_same_run(monkeypatch, tmp_path):
    fake = wandb(monkeypatch)
    for _ in range(2):
        WandbSink(tmp_path, project="p").close()
    common = {"project": "p", "dir": str(tmp_path)}
    assert fake.begun == [common, {**common, "id": "first", "resume": "allow"}]


def test_a_run_has_a_group_and_tags_at_wandb(monkeypatch, tmp_path):
    fake = wandb(monkeypatch)
    options = {"project": "p", "group": "lr", "tags": ("a", "b")}
    rljax.train("ppo", PROBE, steps=64, out=tmp_path / "a", wandb=options, progress=False, **TINY)
    [begun] = fake.begun
    assert (begun["project"], begun["group"], begun["tags"]) == ("p", "lr", ["a", "b"])
    assert begun["config"]["algo"] == "ppo" and [step for step, _ in fake.rows] == [32, 64]
    for bad, message in (
        ({"project": "p", "team": "x"}, "wandb=team: must be one of project, "),
        ({"group": "lr"}, "name a project"),
        ({"project": "p", "group": 3}, "wandb.group=3: must be text"),
        (3, "wandb=3"),
    ):
        with pytest.raises(ConfigError, match=message):
            rljax.train("ppo", PROBE, steps=64, wandb=bad)


@pytest.mark.parametrize("fails", [("init",), ("log", "finish")])
def test_wandb_never_ends_a_run(monkeypatch, fails):
    wandb(monkeypatch, *fails)
    with pytest.warns(UserWarning) as caught:
        sink = WandbSink(project="p")
        write(sink, 10, 20)
        sink.close()
    [said] = caught
    assert str(said.message) == f"wandb: {fails[0]}: no answer; the run goes on, but is not all logged there"


def test_wandb_is_checked_before_anything_is_made(monkeypatch, tmp_path):
    wandb(monkeypatch, "login")
    for project, message in (("", "wandb='': name a project"), ("p", "wandb=p: login: no answer; run `wandb login`")):
        with pytest.raises(ConfigError, match=message):
            rljax.train("ppo", "CartPole-v1", steps=64, out=tmp_path / "a", wandb=project)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_wandb("p")


def progress(terminal: bool, interval: float, rows: list[dict]) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None, legacy_windows=False)
    sink = ProgressSink("ppo CartPole-v1", 500_000, console=console, interval=interval)
    for row in rows:
        sink.write(row)
    sink.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


ROWS = [
    {"step": 100_000, "episode_return": math.nan},
    {"step": 250_000, "episode_return": 212.34},
    {"step": 300_000, "episode_return": None},
    {"step": 500_000},
]


def test_progress_lines_are_the_first_and_the_last(tmp_path):
    lines = progress(False, 1e9, ROWS).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("ppo CartPole-v1  100k/500k steps (20%)") and "return" not in lines[0]
    assert "500k/500k steps (100%)" in lines[1] and lines[1].endswith("return 212.3") and "steps/s" in lines[1]


def test_progress_lines_in_between():
    assert len(progress(False, 0.0, ROWS).splitlines()) == 4
    assert len(progress(False, 1e9, ROWS[:1]).splitlines()) == 1
    assert progress(False, 0.0, []) == ""


def test_progress_lines_say_how_long_it_will_take(monkeypatch):
    now = iter([0.0, 0.0, 0.0, 90.0, 90.0, 90.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    lines = progress(False, 1.0, [{"step": 100_000}, {"step": 200_000}]).splitlines()
    assert "left" not in lines[0] and "200k/500k steps (40%)  4 min 30 s left  1.11k steps/s" in lines[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.5, "1 min"), (200, "3 min 20 s"), (3599.9, "1 h"), (18420, "5 h 7 min"), (183600, "2 d 3 h")],
)
def test_durations_have_two_units(seconds, text):
    assert duration(seconds) == text


def test_progress_in_a_notebook_is_one_line(monkeypatch):
    shown = []

    class Handle:
        def update(self, line, raw):
            shown[-1] = line["text/plain"]

    def display(line, raw, display_id):
        shown.append(line["text/plain"])
        return Handle()

    module = type(sys)("IPython.display")
    module.display = display  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "IPython", type(sys)("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    sink = ProgressSink("ppo", 500_000, console=Console(file=io.StringIO(), force_jupyter=True), interval=0.0)
    for row in ROWS:
        sink.write(row)
    sink.close()
    [line] = shown
    assert line.startswith("█" * 30 + "  ppo  500k/500k steps (100%)") and line.endswith("return 212.3")


def test_progress_bar():
    text = progress(True, 0.0, ROWS)
    assert "ppo CartPole-v1" in text and "100%" in text and "500k/500k" in text and "return 212.3" in text


def test_progress_bar_resumes():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    sink = ProgressSink("ppo", 400, start=100, console=console)
    sink.close()
    assert isinstance(console.file, io.StringIO) and "25%" in console.file.getvalue()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (51_200, "51.2k"), (999_999, "1M"), (1.5e6, "1.5M"), (BIG, "3B"), (-2500, "-2.5k")],
)
def test_compact(number, text):
    assert compact(number) == text


def test_imports_stay_light():
    code = (
        "import sys, rljax.log, rljax.results.stats; print({'jax', 'rich', 'scipy', 'tensorboardX'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_of_sampled_columns_some_rows_are_read(tmp_path, monkeypatch):
    """In every block one number in so many, each where it stands; other columns are whole."""
    monkeypatch.setattr(jsonl, "BYTES", 200)
    path, rows = tmp_path / "a.jsonl", [{"step": i, "loss": 0.5 * i, "other": -i} for i in range(50)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = jsonl.read_jsonl(path, {"step", "loss"}, {"loss"}, 3)
    read = np.isfinite(found["loss"])
    assert found["step"].tolist() == list(range(50)) and 15 < read.sum() < 30 and "other" not in found
    np.testing.assert_array_equal(found["loss"][read], 0.5 * found["step"][read])
