"""Things that a stranger adds to rljax are used like its own: from an installed package, a file, a notebook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from test_package import built

import rljax
from rljax import catalogue, plugins, registry
from rljax.errors import ConfigError
from rljax.ops.schedules import along

PACKAGE = Path(rljax.__file__).parents[1]  # that is tried: a copy, where deliberate errors are
OUTSIDER = Path(__file__).parent / "plugin"
TINY = ["--num-envs=4", "--num-steps=8", "--hidden=8", "--no-tensorboard"]
SHORT = ["--steps=64", "--episodes=2", *TINY]


def run(*arguments, folder, site=None, ok=True, **environment):
    """`rljax *arguments` as from a shell, with the packages in the folder `site` installed -> (stdout, stderr)."""
    path = os.pathsep.join(map(str, filter(None, [site, PACKAGE])))
    env = os.environ | {"PYTHONPATH": path, "JAX_COMPILATION_CACHE_DIR": str(folder / "xla")} | environment
    command = [sys.executable, "-P", "-m", "rljax", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages that holds the outsider's."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(built(OUTSIDER, folder)) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def trained(site, tmp_path_factory):
    """A run of everything that the package has but its objective, from the shell."""
    folder = tmp_path_factory.mktemp("installed")
    env = "outsider/lander|louder(3.0)"
    run("train", "a2c", env, "--torso=gated", "--sinks", "tally", "--out=a", *SHORT, folder=folder, site=site)
    return folder


def test_an_installed_package_is_found_by_the_names_that_it_adds(trained, site):
    record = json.loads((trained / "a" / "config.json").read_text())
    assert record["plugins"] == {"outsider.plugin": "rljax-outsider 1.2.3"}
    assert record["config"]["torso"] == "gated" and record["hypers"]["patience"] == 1.0
    assert (trained / "a" / "tally").read_text().split() == [str(n) for n in range(1, 3)]
    for what, name in {"algos": "a2c", "envs": "outsider/lander", "objectives": "leash", "torsos": "gated"}.items():
        assert f"{name}  (outsider.plugin)\n" in run("list", what, folder=trained, site=site)[0]
    assert run("list", "plugins", folder=trained, site=site)[0] == "outsider.plugin: rljax-outsider 1.2.3\n"
    assert "a2c outsider/lander: 4,096 steps" in run("list", "presets", folder=trained, site=site)[0]
    shown, _ = run("train", "a2c", "outsider/lander", "--help", folder=trained, site=site)
    words = " ".join(shown.replace("│", "").split())
    assert "how much an advantage below 0 counts" in words and "whole updates (default: 4096)" in words


def test_what_an_installed_package_trained_is_found_again_by_itself(trained, site, tmp_path):
    out, _ = run("eval", trained / "a", "--episodes=2", folder=tmp_path, site=site)
    assert out.startswith("return ")
    run("render", trained / "a", "--steps=3", folder=tmp_path, site=site)
    assert (trained / "a" / "episode.gif").exists()
    assert "finished" in run("train", "--resume", trained / "a", "--episodes=0", folder=tmp_path, site=site)[0]


def test_without_the_package_each_says_what_to_install(trained, tmp_path):
    for command in (["eval", trained / "a"], ["train", "--resume", trained / "a"], ["render", trained / "a"]):
        _, err = run(*command, folder=tmp_path, ok=False)
        line = err.strip().splitlines()[-1]
        assert "comes from a plugin, outsider.plugin of rljax-outsider 1.2.3, which is not installed here" in line
    for words in (["a2c", "CartPole-v1"], ["ppo", "outsider/lander"], ["ppo", "CartPole-v1", "--objective=leash"]):
        _, err = run("train", *words, folder=tmp_path, ok=False)
        assert err.startswith("rljax: unknown ") and "--plugin" in err and len(err.splitlines()) == 1


def test_its_things_are_swept_by_several_processes_and_learned_from(site, tmp_path):
    sweep = ["sweep", "a2c", "outsider/lander", "--steps=128", "--grid", "torso=gated,mlp", "--seeds=2", "--workers=2"]
    run(*sweep, "--out=s", "--task", "gravity=0.06", *TINY[:-1], folder=tmp_path, site=site)
    record = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert [row["plugins"] for row in record["rows"]] == [{"outsider.plugin": "rljax-outsider 1.2.3"}] * 2
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run("report", tmp_path / "s", folder=elsewhere, site=site)
    run("sweep", "--resume", tmp_path / "s", folder=elsewhere, site=site)
    _, err = run("sweep", "--resume", tmp_path / "s", folder=elsewhere, ok=False)
    assert "which is not installed here" in err
    search = ["meta-train", "a2c", "--learn", "patience", "--env", "outsider/lander", "--steps=128", "--generations=1"]
    few = ["--popsize=2", "--validation-runs=1", "--strategy-with", "sigma=0.01", "--workers=1", "--width=1"]
    out, _ = run(*search, *few, "--out=m", *TINY[:-1], folder=tmp_path, site=site)
    assert "learned: m/learned.npz" in out


FILE = """
    from dataclasses import replace

    import flax.linen as nn
    import rljax
    from rljax import algos, catalogue, envs
    from rljax.algos.ppo import PPO


    class Doubled(PPO):
        def loss(self, params, state, hypers, batch, key):
            total, metrics = super().loss(params, state, hypers, batch, key)
            return 2 * total, metrics


    class Flat(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.Dense(4)(x))


    algos.register("doubled", Doubled)
    envs.register("mine/pole", lambda: replace(envs.make("CartPole-v1"), name="mine/pole"))
    catalogue.TORSOS.register("flat", Flat)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("file")
    (folder / "mine.py").write_text(textwrap.dedent(FILE))
    run("train", "doubled", "mine/pole", "--torso=flat", "--plugin=./mine.py", "--out=a", *SHORT, folder=folder)
    return folder


def test_a_file_is_given_and_given_again(mine, tmp_path):
    record = json.loads((mine / "a" / "config.json").read_text())
    ((source, version),) = record["plugins"].items()
    assert source == str(mine / "mine.py") and version.startswith("sha256:")
    _, err = run("eval", mine / "a", "--episodes=2", folder=tmp_path, ok=False)
    assert f"a record imports nothing; plug it in again: rljax eval {mine / 'a'} --episodes=2 --plugin {source}" in err
    assert run("eval", mine / "a", "--episodes=2", "--plugin", source, folder=tmp_path)[0].startswith("return")
    assert run("eval", mine / "a", "--episodes=2", folder=tmp_path, RLJAX_PLUGINS=source)[0].startswith("return")
    _, err = run("eval", mine / "a", "--no-plugins", folder=tmp_path, RLJAX_PLUGINS=source, ok=False)
    assert "plug it in again" in err


def test_a_file_reaches_other_processes(mine, tmp_path):
    sweep = ["sweep", "doubled", "mine/pole", "--steps=64", "--grid", "torso=flat,mlp", "--seeds=2", "--workers=2"]
    run(*sweep, "--plugin", mine / "mine.py", "--out=s", *TINY[:-1], folder=tmp_path)
    job = ["--submit", "local", "--num-processes=2", "--plugin", mine / "mine.py", "--out=t", *TINY[:-1]]
    run(*sweep[:-1], "--workers=1", *job, folder=tmp_path)
    one, other = (json.loads((tmp_path / name / "sweep.json").read_text())["rows"] for name in "st")
    assert (
        [row["plugins"] for row in one]
        == [row["plugins"] for row in other]
        == [{str(mine / "mine.py"): one[0]["plugins"][str(mine / "mine.py")]}] * 2
    )
    _, err = run("sweep", "--resume", "s", folder=tmp_path, ok=False)
    assert f"plug it in again: rljax sweep --resume s --plugin {mine / 'mine.py'}" in err
    assert run("report", "s", "--plugin", mine / "mine.py", folder=tmp_path)[0] == "s/report.html\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import nowhere", r"plugin=./broken.py: cannot be imported (ModuleNotFoundError: No module named 'nowhere')"),
        ("1 / 0", "plugin=./broken.py: cannot be imported (ZeroDivisionError: division by zero)"),
        ("from rljax import algos; algos.register('ppo', 'x:Y')", "plugin=./broken.py: algorithm 'ppo' is taken by"),
    ],
)
def test_a_broken_plugin_is_an_error_where_it_was_asked_for_and_a_warning_elsewhere(text, line, tmp_path):
    (tmp_path / "broken.py").write_text(text)
    _, err = run("list", "algos", "--plugin", "./broken.py", folder=tmp_path, ok=False)
    assert err.startswith(f"rljax: {line}") and len(err.splitlines()) == 1
    out, err = run("list", "algos", folder=tmp_path, RLJAX_PLUGINS="./broken.py")
    why = line.removeprefix("plugin=./broken.py: ")
    assert "ppo\n" in out and f"rljax: plugin './broken.py' of RLJAX_PLUGINS is left out: {why}" in err
    assert run("list", "plugins", folder=tmp_path, RLJAX_PLUGINS="./broken.py")[0].startswith("./broken.py: ")


SCRIPT = """
    import flax.linen as nn
    import rljax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.Dense(4)(x))

    def harder(progress, task):
        return task.replace(gravity=9.8 + progress)

    if __name__ == "__main__":
        small = {"num_envs": 4, "num_steps": 8, "progress": False, "tensorboard": False}
        rljax.train("ppo", "CartPole-v1", steps=64, torso=Net, curriculum=harder, out="a", **small)
"""


def test_a_factory_of_an_environment_is_given_by_its_path(tmp_path):
    """The path `module:function` is imported because the user wrote it; a record of it imports nothing."""
    (tmp_path / "places.py").write_text(
        "import rljax\n\ndef short():\n    return rljax.envs.make('probe/truncation')\n"
    )
    how = {"folder": tmp_path, "site": tmp_path}
    run("train", "ppo", "places:short|time_limit(4)", *SHORT, **how)
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name == "ppo-places-short|time_limit(4)-s0"
    record = json.loads((folder / "config.json").read_text())
    assert record["env"] == "places:short|time_limit(4)" and list(record["plugins"]) == ["places"]
    _, error = run("eval", folder, "--episodes=2", ok=False, **how)
    assert "--plugin places" in error
    said, _ = run("eval", folder, "--episodes=2", "--plugin", "places", **how)
    assert said.startswith("return ")
    run("sweep", "ppo", "places:short", "--steps=64", "--seeds=2", "--workers=2", "--width=1", *TINY[:3], **how)
    _, error = run("train", "ppo", "places:long", *SHORT, ok=False, **how)
    assert error == "rljax: places:long: there is no long in module places\n"


def test_what_a_script_trained_is_read_with_the_script_as_a_plugin(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    env = os.environ | {"PYTHONPATH": str(PACKAGE)}
    subprocess.run([sys.executable, "-P", "script.py"], cwd=tmp_path, env=env, check=True, timeout=300)
    _, err = run("eval", "a", "--episodes=2", folder=tmp_path, ok=False)
    command = f"rljax eval a --episodes=2 --plugin {tmp_path / 'script.py'}"
    assert "comes from a plugin" in err and f"plug it in again: {command}\n" in err
    assert run(*command.split()[1:], folder=tmp_path)[0].startswith("return ")


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """Registries and plugins of this process as if none had been added."""
    monkeypatch.setattr(registry, "_added", {})
    monkeypatch.setattr(registry, "_sources", {})
    monkeypatch.setattr(plugins, "_known", {})
    monkeypatch.setattr(plugins, "_modules", {})
    monkeypatch.setattr(plugins, "_found", False)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


REGISTER = "from rljax import catalogue\ncatalogue.SCHEDULES.register('mine', lambda progress: {})\n"


def test_a_plugin_that_fails_half_way_leaves_nothing(alone):
    (alone / "half.py").write_text(REGISTER.format("progress") + "1 / 0\n")
    with pytest.raises(ConfigError, match=r"half.py: cannot be imported \(ZeroDivisionError"):
        plugins.load(alone / "half.py")
    assert "mine" not in catalogue.SCHEDULES and "half" not in sys.modules
    (alone / "half.py").write_text(REGISTER.format("progress"))
    assert plugins.load(alone / "half.py").error == "" and "mine" in catalogue.SCHEDULES


def test_a_file_that_has_changed_is_run_again(alone):
    (alone / "one.py").write_text(REGISTER.format("progress"))
    first = plugins.load(alone / "one.py")
    assert plugins.load(alone / "one.py") is first and along("mine", 0.5) == 0.5
    (alone / "one.py").write_text(REGISTER.format("0.25 * progress"))
    with pytest.warns(UserWarning, match="schedule 'mine' is registered again, with other code"):
        assert plugins.load(alone / "one.py") != first
    assert along("mine", 0.5) == 0.125


def test_of_two_plugins_one_has_a_name(alone, monkeypatch):
    for name in ("one", "two"):
        (alone / f"{name}.py").write_text(REGISTER.format("progress"))
    plugins.load(alone / "one.py")
    message = f"schedule name='mine': is a schedule of {alone / 'one.py'}, too; of two plugins one must choose another"
    with pytest.raises(ConfigError, match=re.escape(message)):
        plugins.load(alone / "two.py")
    monkeypatch.setenv("RLJAX_PLUGINS", str(alone / "two.py"))
    with pytest.warns(UserWarning, match="two.py' of RLJAX_PLUGINS is left out: schedule name='mine'"):
        plugins.find()
    assert registry.source("schedule", "mine") == str(alone / "one.py")


def test_one_that_is_not_there(tmp_path):
    for given, why in {"./no.py": "there is no such Python file", "no_such_module": "cannot be imported"}.items():
        _, err = run("list", "algos", "--plugin", given, folder=tmp_path, ok=False)
        assert err.startswith(f"rljax: plugin={given}: {why}")
    assert "needs a value" in run("list", "algos", "--plugin", folder=tmp_path, ok=False)[1]


TRIED = {
    "algorithm": ["my_idea", "CartPole-v1", "--softness=2"],
    "environment": ["ppo", "my/my_idea"],
    "torso": ["sac", "Pendulum-v1", "--torso", "my_idea(scale=2.0)"],
}


@pytest.mark.parametrize("what", TRIED)
def test_a_file_to_begin_with_trains_as_it_is(what, tmp_path):
    out, _ = run("new", what, "my-idea", folder=tmp_path)
    assert out.startswith("wrote my_idea.py; to train it:\n  rljax train ")
    assert "TEMPLATE" not in (tmp_path / "my_idea.py").read_text()
    small = ["--warmup=32", "--batch-size=8", "--num-steps=2"] if what == "torso" else ["--num-steps=16"]
    words = [*TRIED[what], "--plugin=./my_idea.py", "--num-envs=4", "--hidden=8", *small]
    run("train", *words, "--steps=256", "--episodes=2", "--no-tensorboard", folder=tmp_path)
    if what == "environment":
        run("check-env", "my/my_idea", "--plugin=./my_idea.py", folder=tmp_path)
    _, err = run("new", what, "my_idea", folder=tmp_path, ok=False)
    assert err == "rljax: my_idea.py: exists; choose another name, or --out\n"
    assert "must be a word" in run("new", what, "1idea", folder=tmp_path, ok=False)[1]


CELLS = [
    """
    import flax.linen as nn, numpy as np, rljax
    from rljax.algos.ppo import PPO
    TINY = dict(num_envs=4, num_steps=8, progress=False)

    class Mine(PPO):
        def loss(self, params, state, hypers, batch, key):
            total, metrics = super().loss(params, state, hypers, batch, key)
            return 2 * total, metrics

    class Net(nn.Module):
        width: int = 4

        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.Dense(self.width)(x))

    rljax.algos.register("mine", Mine)
    """,
    """
    run = rljax.train("mine", "CartPole-v1", steps=64, torso=Net, out="a", tensorboard=False, **TINY)
    assert run.record["config"]["torso"] == "__main__:Net" and run.record["plugins"] == {}
    assert run.policy.state.params["params"]["Net_0"]["Dense_0"]["kernel"].shape == (4, 4)
    assert rljax.load("a").evaluate(2).shape == (2,)
    """,
    """
    grid = {"torso": [Net, "mlp"]}
    two, one = (
        rljax.sweep("mine", "CartPole-v1", 64, 2, grid=grid, out=f"s{n}", workers=n, width=1, **TINY) for n in (2, 1)
    )
    assert two.table().torso.tolist() == one.table().torso.tolist()
    for name in one.metrics:
        np.testing.assert_array_equal(two.metrics[name], one.metrics[name])
    """,
    """
    import warnings

    class Mine(Mine):
        def loss(self, params, state, hypers, batch, key):
            total, metrics = super().loss(params, state, hypers, batch, key)
            return 3 * total, metrics

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rljax.algos.register("mine", Mine)
    assert any("registered again, with other code" in str(w.message) for w in caught)
    print("done")
    """,
]


def test_in_a_notebook(tmp_path):
    """Cells: classes in `__main__` whose source is in no file."""
    cells = "\n".join(f"exec({textwrap.dedent(cell)!r}, globals())" for cell in CELLS)
    env = os.environ | {"PYTHONPATH": str(PACKAGE)}
    command = [sys.executable, "-P", "-c", cells]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr
    _, err = run("eval", "a", folder=tmp_path, ok=False)
    assert "unknown algorithm 'mine'" in err and "registered before" in err
