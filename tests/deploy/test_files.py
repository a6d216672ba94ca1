"""Policies as files: each form acts as the policy does, and says so where it cannot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from toys import tiny

from rljax import algos, deploy, envs
from rljax.catalogue import MEMORIES
from rljax.deploy import numpy_policy
from rljax.deploy.numpy_policy import NumpyPolicy
from rljax.deploy.trace import trace
from rljax.errors import ConfigError
from rljax.ops.tree import named_leaves
from rljax.policy import Policy
from rljax.spaces import zeros
from rljax.types import Box, Env

ROWS = 3
onnxruntime = pytest.importorskip("onnxruntime")


def made(algo, env, **settings):
    """A policy that has learned nothing, of tiny networks."""
    module, env = algos.load(algo), envs.make(env) if isinstance(env, str) else env
    algorithm = module.make(env, tiny(algo, **settings))
    return Policy(algorithm, env, algorithm.init(jax.random.key(3), algorithm.hypers, env.task), 0)


def observations(policy):
    """Random ones, within bounds where there are any."""
    random = np.random.default_rng(0)

    def some(like):
        numbers = (
            random.normal(size=(ROWS, *like.shape)) if like.dtype != bool else random.random((ROWS, *like.shape)) < 0.7
        )
        return numbers.astype(like.dtype)

    return jax.tree.map(some, zeros(policy.env.observation_space))


def by_jax(policy, path, obs):
    deploy.export(policy, path / "policy.jax")
    act = jax.export.deserialize(bytearray((path / "policy.jax").read_bytes()))
    carry, obs = policy.algo.initial_carry(policy.state, ROWS), jax.tree.map(jnp.asarray, obs)
    return act.call(carry, obs, jnp.ones(ROWS, bool))[1] if jax.tree.leaves(carry) else act.call(obs)


def by_onnx(policy, path, obs):
    session = onnxruntime.InferenceSession(str(deploy.export(policy, path / "policy.onnx", batch=ROWS)))
    names = sorted(x.name for x in session.get_inputs())
    leaves = {f"obs.{k}".removesuffix("."): x for k, x in _parts(obs)} | {"reset": np.ones(ROWS, bool)}
    carry = policy.algo.initial_carry(policy.state, ROWS)
    leaves |= {f"carry.{k}": np.asarray(x) for k, x in named_leaves(carry).items()}
    return session.run(["action"], {name: leaves[name] for name in names})[0]


def by_numpy(policy, path, obs):
    act = NumpyPolicy(deploy.export(policy, path / "policy.npz"))

    def first(i):
        act.reset()
        return act(jax.tree.map(lambda x: x[i], obs))

    return np.stack([first(i) for i in range(ROWS)])


def _parts(obs):
    return obs.items() if isinstance(obs, dict) else [("", obs)]


FORMS = {"jax": by_jax, "onnx": by_onnx, "numpy": by_numpy}


@pytest.mark.parametrize("algo", sorted(algos.names()))
def test_every_algorithm_acts_the_same_from_every_file(algo, tmp_path):
    try:
        policy = made(algo, "CartPole-v1")
    except ConfigError:  # it takes other actions
        policy = made(algo, "Pendulum-v1")
    obs = observations(policy)
    expected = policy(obs)
    for name, read in FORMS.items():
        np.testing.assert_allclose(read(policy, tmp_path, obs), expected, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        ("Breakout-MinAtar", {"torso": "cnn"}),
        ("Breakout-MinAtar", {"torso": "impala"}),
        ("Pendulum-v1", {"normalize_obs": True}),
        ("FourRooms-misc", {}),
    ],
)
def test_images_and_normalisers_too(env, settings, tmp_path):
    policy = made("ppo", env, **settings)
    obs = observations(policy)
    expected = policy(obs)
    for name, read in FORMS.items():
        np.testing.assert_allclose(read(policy, tmp_path, obs), expected, rtol=1e-5, atol=1e-6, err_msg=name)


A = jnp.array([[0.5, -1.5, 2.5], [1.0, 0.2, -0.3]])
FUNCTIONS = {  # of three numbers, each with an operation that some network may have
    "argmin": lambda x: jnp.argmin(x, -1),
    "clamp": lambda x: jnp.clip(x, -0.5, 0.5),
    "comparisons": lambda x: ((x > 0) & (x <= 1) | (x != x) | ~(x >= -1)).astype(jnp.int32) + (x < 0.1) + (x == 0),
    "concatenate": lambda x: jnp.concatenate([x, 2 * x], -1),
    "cumulated": lambda x: jnp.stack([x[:, 0], x[:, :2].sum(1)], -1),
    "divide": lambda x: x / (1 + x**2),
    "erf": lambda x: jax.nn.gelu(x, approximate=False),
    "exp": lambda x: jnp.exp(-x) + jnp.log1p(jnp.abs(x)) + jnp.expm1(x),
    "gelu": jax.nn.gelu,
    "layer norm": lambda x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5),
    "log softmax": jax.nn.log_softmax,
    "matrix": lambda x: x @ A.T @ A,
    "maximum": lambda x: jnp.maximum(x, 0) + jnp.minimum(x, 0.3),
    "power": lambda x: x**3 + jnp.abs(x) ** 1.5,
    "reductions": lambda x: jnp.stack([x.max(-1), x.min(-1), x.sum(-1)], -1),
    "remainder": lambda x: jax.lax.rem(x, 0.3),
    "rounding": lambda x: jnp.round(x) + jnp.floor(x) + jnp.ceil(x) + jnp.sign(x),
    "select": lambda x: jnp.where(x > 0, x, jnp.where(x < -1, 2 * x, 0)),
    "sigmoid": lambda x: jax.nn.sigmoid(x) * jax.nn.silu(x) + jax.nn.softplus(x) + jax.nn.elu(x),
    "slices": lambda x: jnp.pad(x[:, ::2], ((0, 0), (1, 2)), constant_values=3.0)[:, ::-1][:, :4],
    "split": lambda x: sum(jnp.split(x, 3, -1)),
    "square root": lambda x: jnp.sqrt(jnp.abs(x)) + jnp.square(x),
    "transpose": lambda x: jnp.einsum("bi,ji->bj", x, A),
    "trigonometry": lambda x: jnp.sin(x) + jnp.cos(x) + jnp.tanh(x),
    "whole numbers": lambda x: (10 * x).astype(jnp.int32) // 3,
    "convolution": lambda x: jax.lax.conv_general_dilated(
        jnp.tile(x[:, None, :, None], (1, 4, 1, 1)),
        jnp.arange(12.0).reshape(2, 2, 1, 3),
        (2, 1),
        [(1, 0), (0, 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
    "pooling": lambda x: jax.lax.reduce_window(
        jnp.tile(x[:, None, :, None], (1, 3, 1, 1)), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 1, 2, 1), "SAME"
    ),
}


def acting(function):
    """The policy whose action is this function of the observation."""
    space = Box(-np.ones(3, np.float32), np.ones(3, np.float32))
    env = Env("toy/three", None, None, (), space, space)
    algo = SimpleNamespace(
        act=lambda state, carry, obs, reset, key, greedy: (carry, function(obs)), initial_carry=lambda state, batch: ()
    )
    return Policy(algo, env, (), 0)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_operations(name, tmp_path):
    policy, obs = acting(FUNCTIONS[name]), np.random.default_rng(1).normal(size=(ROWS, 3)).astype(np.float32) * 1.5
    expected = np.asarray(FUNCTIONS[name](obs))
    for form, read in FORMS.items():
        np.testing.assert_allclose(read(policy, tmp_path, obs), expected, rtol=2e-5, atol=2e-6, err_msg=form)


def test_what_does_not_act_is_left_out():
    """Two layers, a head and the largest logit stay of a PPO that acts greedily; its biases are still zeros."""
    names = [operation.name for operation in trace(made("ppo", "CartPole-v1", hidden=(8, 8))).operations]
    assert names == [*["dot_general", "tanh"] * 2, "dot_general", "argmax"]


def test_what_a_file_cannot_hold_is_named(tmp_path):
    policy = acting(lambda x: jnp.sort(x, -1))
    for suffix in (".npz", ".onnx"):
        with pytest.raises(ConfigError, match=f"has the operation 'sort', which {suffix} files do not; export it as"):
            deploy.export(policy, tmp_path / f"policy{suffix}")
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(by_jax(policy, tmp_path, np.array([[3, 1, 2]], np.float32)), [[1, 2, 3]])
    for path, batch, message in (
        ("policy.pt", None, r"out=policy.pt: must end in .jax, .onnx, .npz"),
        ("policy.jax", 3, "batch=3: has no effect on a .jax file"),
        ("policy.onnx", 0, "batch=0: must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            deploy.export(policy, tmp_path / path, batch)


def remembering():
    """Acts by the sum of what it has seen in this episode, and its own observation."""
    space = Box(-np.ones(3, np.float32), np.ones(3, np.float32))

    def act(state, carry, obs, reset, key, greedy):
        total = jnp.where(reset[:, None], 0.0, carry["sum"]) + obs
        return {"sum": total}, total * 2

    algo = SimpleNamespace(act=act, initial_carry=lambda state, batch: {"sum": jnp.full((batch, 3), 9.0)})
    return Policy(algo, Env("toy/three", None, None, (), space, space), (), 0)


def test_a_memory_is_carried(tmp_path):
    one = np.array([1, 2, 3], np.float32)
    act = NumpyPolicy(deploy.export(remembering(), tmp_path / "policy.npz"))
    assert [act(one).tolist() for _ in range(2)] == [[2, 4, 6], [4, 8, 12]]
    act.reset()
    assert act(one).tolist() == [2, 4, 6]
    session = onnxruntime.InferenceSession(str(deploy.export(remembering(), tmp_path / "policy.onnx")))
    assert [x.name for x in session.get_outputs()] == ["action", "next_carry.sum"]
    carry, reset = np.full((1, 3), 5, np.float32), np.ones(1, bool)
    for expected in ([2, 4, 6], [4, 8, 12]):
        action, carry = session.run(
            ["action", "next_carry.sum"], {"obs": one[None], "carry.sum": carry, "reset": reset}
        )
        assert action[0].tolist() == expected
        reset = np.zeros(1, bool)
    exported = jax.export.deserialize(bytearray(deploy.export(remembering(), tmp_path / "policy.jax").read_bytes()))
    carry, action = exported.call({"sum": jnp.ones((2, 3))}, jnp.stack([one, one]), jnp.array([True, False]))
    np.testing.assert_array_equal(action, [2 * one, 2 * one + 2])


@pytest.mark.parametrize("memory", [name for name in MEMORIES if name != "none"])
def test_every_memory_acts_the_same_from_every_file(memory, tmp_path):
    """Three steps, with a reset inside. Catches carries of classes that whoever reads a file does not have."""
    small = {"gru": "width=4", "lstm": "width=4", "transformer": "width=4,layers=1,heads=2,context=3"}
    policy = made("ppo", "CartPole-v1", memory=f"{memory}({small.get(memory, 'width=4,layers=1,states=4')})")
    seen = np.random.default_rng(0).normal(size=(4, 1, 4)).astype(np.float32) * 3
    first = [True, False, False, True]
    expected = [policy(obs, reset=[reset]).tolist() for obs, reset in zip(seen, first)]
    initial = policy.algo.initial_carry(policy.state, 1)
    assert any(leaf.any() for leaf in jax.tree.leaves(policy._carry))

    act = NumpyPolicy(deploy.export(policy, tmp_path / "policy.npz"))
    found = []
    for obs, reset in zip(seen, first):
        if reset:
            act.reset()
        found.append([act(obs[0]).tolist()])
    assert found == expected
    for (name, carry), leaf in zip(act._carry.items(), jax.tree.leaves(policy._carry)):
        np.testing.assert_allclose(carry, leaf, rtol=1e-5, atol=1e-6, err_msg=name)

    session = onnxruntime.InferenceSession(str(deploy.export(policy, tmp_path / "policy.onnx")))
    names, found = [x.name for x in session.get_inputs() if x.name.startswith("carry")], []
    results = ["action", *(f"next_{name}" for name in names)]
    carry = [np.asarray(leaf) for leaf in jax.tree.leaves(initial)]
    for obs, reset in zip(seen, first):
        given = dict(zip(names, carry)) | {"obs": obs, "reset": np.array([reset])}
        given = {x.name: given[x.name] for x in session.get_inputs()}
        action, *carry = session.run(results, given)
        found.append(action.tolist())
    assert found == expected

    program = jax.export.deserialize(bytearray(deploy.export(policy, tmp_path / "policy.jax").read_bytes()))
    carry, found = jax.tree.map(jnp.asarray, plain(initial)), []
    for obs, reset in zip(seen, first):
        carry, action = program.call(carry, jnp.asarray(obs), jnp.array([reset]))
        found.append(action.tolist())
    assert found == expected
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), carry, plain(policy._carry))


def plain(carry):
    """Tuples without names."""
    return tuple(map(plain, carry)) if isinstance(carry, tuple) else carry


def test_the_reader_needs_numpy_alone(tmp_path):
    """In a process without jax and without rljax."""
    policy = made("ppo", "CartPole-v1")
    deploy.export(policy, tmp_path / "policy.npz")
    shutil.copy(numpy_policy.__file__, tmp_path / "numpy_policy.py")
    program = (
        "import sys; sys.modules['jax'] = sys.modules['rljax'] = None; from numpy_policy import NumpyPolicy; "
        "print(NumpyPolicy('policy.npz')([0.1, 0.2, 0.3, 0.4]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(policy([0.1, 0.2, 0.3, 0.4])), done.stderr
    shown = subprocess.run(
        [sys.executable, "numpy_policy.py", "policy.npz"], cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.stdout == "takes obs [1, 4] float32\ngives action [1] int32\n", shown.stderr


@pytest.mark.parametrize(("module", "suffix"), [("onnx", ".onnx"), ("flatbuffers", ".jax")])
def test_a_missing_package_is_named(module, suffix, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    for name in [n for n in sys.modules if n.startswith("jax._src.export.s")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=f"pip install {module}"):
        deploy.export(made("ppo", "CartPole-v1"), tmp_path / f"policy{suffix}")
