"""The registry: names, the cache, errors, and that it is quick."""

import subprocess
import sys
import warnings

import jax
import pytest

import rljax.envs as envs
from rljax import registry
from rljax.envs import catalogue
from rljax.errors import ConfigError


def run_python(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_listing_imports_nothing_heavy():
    out = run_python(
        "import sys, rljax.envs\n"
        "assert len(rljax.envs.names()) > 40\n"
        "print([m for m in ('jax', 'numpy', 'gymnax', 'brax') if m in sys.modules])"
    )
    assert out.strip() == "[]"


def test_gymnax_comes_without_plotting_and_leaves_plotting_intact():
    out = run_python(
        "import sys, rljax.envs\n"
        "rljax.envs.make('CartPole-v1')\n"
        "print([m for m in ('seaborn', 'pandas', 'scipy.stats', 'matplotlib.pyplot') if m in sys.modules])\n"
        "from gymnax.environments.misc import pong\n"
        "import matplotlib; matplotlib.use('Agg')\n"
        "import gymnax, jax, seaborn, matplotlib.pyplot as plt, matplotlib.pyplot\n"
        "assert type(plt) is type(sys) and matplotlib.pyplot is plt and plt.figure() is not None\n"
        "assert len(seaborn.color_palette('cubehelix', 3)) == 3\n"
        "env, params = gymnax.make('Pong-misc')\n"
        "assert env.render(env.reset(jax.random.key(0), params)[1], params) is not None\n"
        "assert len(pong.sns.color_palette('cubehelix', 2)) == 2\n"
    )
    assert out.strip() == "[]"


def test_gymnax_comes_quickly_beside_a_matplotlib_that_is_there_already():
    out = run_python(
        "import sys, matplotlib.pyplot as plt, rljax.envs\n"
        "rljax.envs.make('CartPole-v1')\n"
        "assert 'seaborn' not in sys.modules and sys.modules['matplotlib.pyplot'] is plt\n"
        "import matplotlib.animation; assert matplotlib.animation.FuncAnimation\n"
    )
    assert out.strip() == ""


def test_brax_comes_without_noise():
    assert run_python("import rljax.envs; rljax.envs.make('brax/halfcheetah/spring')") == ""


def test_the_catalogue_is_what_the_libraries_list():
    import gymnax
    from brax import envs as brax_envs

    assert sorted([*catalogue.GYMNAX, *catalogue.GYMNAX_EXCLUDED]) == sorted(gymnax.registered_envs)
    listed = [name.removeprefix("brax/") for name in (*catalogue.BRAX, *catalogue.BRAX_EXCLUDED)]
    assert sorted(listed) == sorted(brax_envs._envs)


def test_same_arguments_give_the_same_object():
    assert envs.make("CartPole-v1") is envs.make("CartPole-v1")
    short = envs.make("CartPole-v1", gravity=1.0, max_steps_in_episode=7)
    assert short is envs.make("CartPole-v1", max_steps_in_episode=7, gravity=1.0)
    assert short is not envs.make("CartPole-v1")
    assert short.longest_episode() == 7 and int(short.task.max_steps_in_episode) == 7
    assert envs.make("DeepSea-bsuite", size=5).observation_space.shape == (5, 5)


def test_made_inside_a_trace_it_holds_no_tracer():
    @jax.jit
    def traced(key):
        env = envs.make("Acrobot-v1", dt=0.1)
        return env.reset(key, env.task)[1]

    key = jax.random.key(0)
    env = envs.make("Acrobot-v1", dt=0.1)
    assert traced(key).shape == env.reset(key, env.task)[1].shape == (6,)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        (
            "CartPole-v2",
            {},
            "unknown environment 'CartPole-v2'; did you mean 'CartPole-v1'\\? rljax list envs shows all",
        ),
        ("CartPole-v1", {"gravty": 1.0}, "unknown argument of CartPole-v1 'gravty'; did you mean 'gravity'"),
        ("CartPole-v1", {"gravity": [1.0]}, "gravity=\\[1.0\\]: must be hashable"),
        ("probe/truncation", {"limt": 3}, "did you mean 'limit'"),
        ("probe/truncation", {"limit": 0}, "limit=0: must be positive"),
        ("MNISTBandit-bsuite", {}, "downloads MNIST"),
        ("brax/fast", {}, "stub"),
        ("brax/antt", {}, "did you mean 'brax/ant'"),
        ("brax/ant/sprong", {}, "did you mean 'spring'"),
        ("brax/ant/spring", {"backend": "mjx"}, "given twice"),
        ("brax/ant", {"healty_reward": 1.0}, "did you mean 'healthy_reward'"),
        ("brax/swimmer", {}, "left out: it calls jnp.clip"),
    ],
)
def test_errors_name_the_thing_and_the_remedy(name, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        envs.make(name, **kwargs)


def test_a_users_own_environment(monkeypatch):
    monkeypatch.setattr(registry, "_added", {})
    envs.register("my/env", lambda limit=5: envs.make("probe/truncation", limit=limit))
    assert "my/env" in envs.names()
    assert envs.make("my/env", limit=7).longest_episode() == 7
    with pytest.raises(ConfigError, match="unknown argument of my/env 'lmit'"):
        envs.make("my/env", lmit=7)
    for taken in ("CartPole-v1", "brax/ant/spring"):
        with pytest.raises(ConfigError, match="taken"):
            envs.register(taken, lambda: None)
    with pytest.raises(ConfigError, match="write lambda: env"):
        envs.register("my/other", envs.make("probe/constant"))


def test_a_name_registered_again_stands_for_the_new_environment(monkeypatch):
    monkeypatch.setattr(registry, "_added", {})

    def of_length(limit):
        return lambda: envs.make("probe/truncation", limit=limit)

    envs.register("my/env", of_length(10))
    assert envs.make("my/env").longest_episode() == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs.register("my/env", of_length(20))  # the same code, as in a cell that runs twice
    assert envs.make("my/env").longest_episode() == 20
    with pytest.warns(UserWarning, match="'my/env' is registered again, with other code"):
        envs.register("my/env", lambda limit=30: envs.make("probe/truncation", limit=limit))
    assert envs.make("my/env").longest_episode() == 30


def test_packages_are_reached_without_an_import_of_their_own():
    out = run_python(
        "import rljax\nprint(len(rljax.envs.names()) > 40, 'ppo' in rljax.algos.names(), rljax.objectives.PPOClip)"
    )
    assert out.startswith("True True <class")
