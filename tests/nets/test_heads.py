"""Distributions against distrax, quadrature and sampling; the heads that make them."""

from __future__ import annotations

import subprocess
import sys

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rljax.errors import ConfigError
from rljax.nets.heads import Categorical, DiagonalGaussian, MultiCategorical, PolicyHead, TanhGaussian, ValueHead
from rljax.types import Box, Discrete, MultiDiscrete

LOW, HIGH = np.array([-2.0, -0.1], np.float32), np.array([2.0, 0.3], np.float32)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_rank_promotion("raise"):
        yield


def normal(seed: int, *shape: int):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def tanh_gaussian(mean, log_std, low=LOW, high=HIGH) -> TanhGaussian:
    low, high = (jnp.broadcast_to(b, mean.shape) for b in (low, high))
    return TanhGaussian(mean, log_std, low, high)


def scalar_tanh_gaussian(mean: float, log_std: float) -> TanhGaussian:
    """One action in [-2, 2]."""
    return TanhGaussian(jnp.array([mean]), jnp.array([log_std]), -2.0, 2.0)


EXAMPLES = {
    "categorical": lambda *batch: Categorical(normal(0, *batch, 3)),
    "multi_categorical": lambda *batch: MultiCategorical(normal(1, *batch, 5), (2, 3)),
    "gaussian": lambda *batch: DiagonalGaussian(normal(2, *batch, 2), 0.3 * normal(3, *batch, 2)),
    "tanh_gaussian": lambda *batch: tanh_gaussian(normal(4, *batch, 2), 0.3 * normal(5, *batch, 2)),
}
each = pytest.mark.parametrize("name", EXAMPLES)


@each
@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
def test_shapes_and_dtypes(name, batch):
    def everything(key):
        dist, keys = EXAMPLES[name](*batch), jax.random.split(key)
        return *dist.sample_and_log_prob(keys[0]), dist.mode(), dist.entropy(keys[1])

    action, log_prob, mode, entropy = jax.eval_shape(everything, jax.random.key(0))
    event = () if name == "categorical" else (2,)
    assert action.shape == mode.shape == (*batch, *event)
    assert action.dtype == mode.dtype == (jnp.int32 if "categorical" in name else jnp.float32)
    assert log_prob.shape == entropy.shape == batch


@each
def test_no_key_is_used_twice(name):
    def everything(dist, key):
        k_sample, k_entropy = jax.random.split(key)
        return dist.sample_and_log_prob(k_sample), dist.entropy(k_entropy)

    dist, key = EXAMPLES[name](4), jax.random.key(0)
    with jax.debug_key_reuse(True):
        jax.jit(everything)(dist, key)


@each
def test_sample_and_log_prob_agree_with_sample_and_log_prob_apart(name):
    dist = EXAMPLES[name](4)
    action, log_prob = jax.jit(dist.sample_and_log_prob)(jax.random.key(6))
    assert_allclose(action, jax.jit(dist.sample)(jax.random.key(6)), rtol=1e-5)
    assert_allclose(jax.jit(dist.log_prob)(action), log_prob, rtol=1e-4, atol=1e-4)


@each
def test_entropy_is_the_mean_of_minus_log_prob(name):
    dist = EXAMPLES[name]()
    _, log_prob = jax.jit(jax.vmap(dist.sample_and_log_prob))(jax.random.split(jax.random.key(0), 40_000))
    entropy = jax.jit(jax.vmap(dist.entropy))(jax.random.split(jax.random.key(1), 40_000))
    assert_allclose(entropy.mean(), -log_prob.mean(), atol=0.02)


@each
def test_vmap_equals_a_batch(name):
    dist = EXAMPLES[name](4)
    action = dist.sample(jax.random.key(0))
    assert_allclose(jax.vmap(lambda d, a: d.log_prob(a))(dist, action), dist.log_prob(action), rtol=1e-5, atol=1e-6)


# Discrete


def test_categorical_equals_distrax():
    logits, action = normal(0, 3, 4, 5), jnp.arange(12).reshape(3, 4) % 5
    ours, theirs = Categorical(logits), distrax.Categorical(logits)
    assert_allclose(ours.log_prob(action), theirs.log_prob(action), rtol=1e-5)
    assert_allclose(ours.entropy(), theirs.entropy(), rtol=1e-5)
    assert_array_equal(ours.mode(), theirs.mode())


def test_categorical_samples_have_its_probabilities():
    dist = Categorical(jnp.array([1.0, -jnp.inf, 0.0]))
    sample = jax.jit(jax.vmap(dist.sample))(jax.random.split(jax.random.key(0), 20_000))
    frequency = jnp.bincount(sample, length=3) / 20_000
    assert_allclose(frequency, jax.nn.softmax(dist.logits), atol=0.015)
    assert frequency[1] == 0.0


def test_masked_logits_are_finite_and_inert():
    free = jnp.array([0.3, -1.0, 0.5])
    masked = jnp.array([0.3, -1.0, -jnp.inf, 0.5])

    def f(logits, action):
        dist = Categorical(logits)
        return dist.entropy() + dist.log_prob(action)

    value_and_grad = jax.jit(jax.value_and_grad(f))
    value, gradient = value_and_grad(masked, 3)
    expected, expected_gradient = value_and_grad(free, 2)
    assert_allclose(value, expected, rtol=1e-6)
    assert_allclose(gradient, jnp.insert(expected_gradient, 2, 0.0), rtol=1e-5, atol=1e-7)
    assert Categorical(masked).log_prob(2) == -jnp.inf
    assert_allclose(Categorical(jnp.array([0.0, -jnp.inf])).entropy(), 0.0)


def test_multi_categorical_is_a_product():
    logits, action = normal(0, 7, 9), np.stack([np.arange(7) % n for n in (2, 3, 4)], axis=-1)
    dist = MultiCategorical(logits, (2, 3, 4))
    parts = [distrax.Categorical(x) for x in (logits[:, :2], logits[:, 2:5], logits[:, 5:])]
    assert_allclose(dist.log_prob(action), sum(p.log_prob(action[:, i]) for i, p in enumerate(parts)), rtol=1e-5)
    assert_allclose(dist.entropy(), sum(p.entropy() for p in parts), rtol=1e-5)
    assert_array_equal(dist.mode(), jnp.stack([p.mode() for p in parts], axis=-1))
    sample = jax.jit(jax.vmap(dist.sample))(jax.random.split(jax.random.key(0), 10))
    assert sample.shape == (10, 7, 3)
    assert_array_equal(np.max(sample, axis=(0, 1)), [1, 2, 3])


# Continuous


def test_gaussian_equals_distrax():
    mean, log_std, action = normal(0, 3, 4, 2), normal(1, 3, 4, 2), normal(2, 3, 4, 2)
    ours, theirs = DiagonalGaussian(mean, log_std), distrax.MultivariateNormalDiag(mean, jnp.exp(log_std))
    assert_allclose(ours.log_prob(action), theirs.log_prob(action), rtol=1e-4)
    assert_allclose(ours.entropy(), theirs.entropy(), rtol=1e-5)
    assert_array_equal(ours.mode(), theirs.mode())


def test_tanh_gaussian_equals_distrax():
    mean, log_std = normal(0, 6, 2), 0.3 * normal(1, 6, 2)
    scale = jnp.broadcast_to((HIGH - LOW) / 2, mean.shape)
    shift = jnp.broadcast_to((HIGH + LOW) / 2, mean.shape)
    bijector = distrax.Block(distrax.Chain([distrax.ScalarAffine(shift, scale), distrax.Tanh()]), 1)
    theirs = distrax.Transformed(distrax.MultivariateNormalDiag(mean, jnp.exp(log_std)), bijector)
    ours = tanh_gaussian(mean, log_std)
    action, log_prob = ours.sample_and_log_prob(jax.random.key(2))
    assert_allclose(log_prob, theirs.log_prob(action), rtol=1e-3)
    assert_allclose(ours.log_prob(action), theirs.log_prob(action), rtol=1e-4)
    assert_allclose(ours.mode(), bijector.forward(mean), rtol=1e-5)


def test_tanh_gaussian_density_integrates_to_one():
    dist = scalar_tanh_gaussian(0.4, -0.5)
    grid = jnp.linspace(-2.0, 2.0, 20_001)[:, None]
    density = jnp.exp(jax.jit(jax.vmap(dist.log_prob))(grid))
    assert_allclose(jnp.trapezoid(density, grid[:, 0]), 1.0, rtol=1e-4)

    two = tanh_gaussian(jnp.array([0.4, -0.2]), jnp.array([-0.5, -1.0]))
    x, y = (jnp.linspace(low, high, 401) for low, high in zip(LOW, HIGH))
    points = jnp.stack(jnp.meshgrid(x, y, indexing="ij"), axis=-1)
    density = jnp.exp(jax.jit(jax.vmap(jax.vmap(two.log_prob)))(points))
    assert_allclose(np.trapezoid(np.trapezoid(density, y), x), 1.0, rtol=1e-3)


def test_tanh_gaussian_entropy_and_its_gradient_by_quadrature():
    x, keys = jnp.linspace(-9.0, 9.0, 4001), jax.random.split(jax.random.key(0), 40_000)

    def exact(mean, log_std):
        dist = scalar_tanh_gaussian(mean, log_std)
        log_normal = jax.vmap(lambda x: dist.base.log_prob(x[None]))(x)
        log_density = log_normal - jax.vmap(lambda x: dist.log_jacobian(x[None]))(x)
        return -jnp.trapezoid(jnp.exp(log_normal) * log_density, x)

    def sampled(mean, log_std):
        return jax.vmap(scalar_tanh_gaussian(mean, log_std).entropy)(keys).mean()

    value, gradient = jax.jit(jax.value_and_grad(sampled, (0, 1)))(0.5, -0.3)
    expected, expected_gradient = jax.jit(jax.value_and_grad(exact, (0, 1)))(0.5, -0.3)
    assert_allclose(value, expected, atol=0.01)
    assert_allclose(gradient, expected_gradient, atol=0.01)
    with pytest.raises(ValueError, match="key"):
        scalar_tanh_gaussian(0.0, 0.0).entropy()


def test_an_entry_without_width_is_left_alone():
    """The policy of the other entries is the same as without it, in value and in gradient."""
    fixed, free = jnp.array([-1.0, 2.0, 0.0]), jnp.array([1.0, 2.0, 3.0])

    def look(mean, low, high, keep):
        dist = TanhGaussian(mean, jnp.full_like(mean, -0.5), low, high)
        action = jnp.broadcast_to(low + 0.3 * (high - low), mean.shape)
        return dist.log_prob(action), dist.squash(jnp.full_like(mean, 0.7)), dist.log_jacobian(0.5 * jnp.ones(keep))

    (log_prob, action, jacobian), slope = (
        look(jnp.ones(3), fixed, free, 3),
        jax.grad(lambda mean: look(mean, fixed, free, 3)[0])(jnp.ones(3)),
    )
    at = np.array([0, 2])
    expected = look(jnp.ones(2), fixed[at], free[at], 2)
    assert_allclose(log_prob, expected[0], rtol=1e-6)
    assert_allclose(jacobian, expected[2], rtol=1e-6)
    assert_array_equal(action, [expected[1][0], 2.0, expected[1][1]])
    assert slope[1] == 0.0 and np.isfinite(slope).all()
    dist = TanhGaussian(jnp.ones(3), jnp.zeros(3), fixed, free)
    others = TanhGaussian(jnp.ones(2), jnp.zeros(2), fixed[at], free[at])
    key = jax.random.key(0)
    assert np.isfinite(dist.sample_and_log_prob(key)[1]) and np.isfinite(dist.entropy(key))
    assert_allclose(dist._sum(dist.base.entropies()), others.base.entropy(), rtol=1e-6)


def test_tanh_gaussian_at_the_bounds():
    action = jnp.stack([LOW, HIGH, jnp.array([LOW[0], HIGH[1]]), jnp.nextafter(HIGH, LOW)])
    mean, log_std = jnp.zeros_like(action), jnp.zeros_like(action)

    def f(mean, log_std, action):
        return tanh_gaussian(mean, log_std).log_prob(action).sum()

    value, gradients = jax.jit(jax.value_and_grad(f, (0, 1, 2)))(mean, log_std, action)
    assert jnp.isfinite(value)
    for gradient in gradients:
        assert jnp.isfinite(gradient).all()
    assert gradients[0][0, 0] < 0 < gradients[0][1, 0]


@pytest.mark.parametrize("mean", [-30.0, 9.0])
def test_tanh_gaussian_saturated(mean):
    dist = tanh_gaussian(jnp.full((100, 2), mean), jnp.zeros((100, 2)))
    action, log_prob = dist.sample_and_log_prob(jax.random.key(0))
    assert jnp.all((action >= LOW[None]) & (action <= HIGH[None]))
    assert jnp.isfinite(dist.log_prob(action)).all()
    # The exact density, in float64, at the sample before the squashing.
    x = np.asarray(dist.base.sample(jax.random.key(0)), float)
    jacobian = np.log(4.0) - 2.0 * np.abs(x) - 2.0 * np.log1p(np.exp(-2.0 * np.abs(x)))
    exact = -0.5 * (x - mean) ** 2 - 0.5 * np.log(2 * np.pi) - jacobian - np.log((HIGH - LOW) / 2)
    assert_allclose(log_prob, exact.sum(axis=-1), rtol=1e-5)

    def f(mean):
        dist = tanh_gaussian(jnp.full((100, 2), mean), jnp.zeros((100, 2)))
        return dist.sample_and_log_prob(jax.random.key(0))[1].sum() + dist.entropy(jax.random.key(1)).sum()

    assert jnp.isfinite(jax.jit(jax.grad(f))(mean))


# Heads


BOX = Box(LOW, HIGH)
HEADS = [
    (PolicyHead(Discrete(3)), Categorical, (), 3 * 8 + 3),
    (PolicyHead(MultiDiscrete((2, 3))), MultiCategorical, (2,), 5 * 8 + 5),
    (PolicyHead(BOX), DiagonalGaussian, (2,), 2 * 8 + 2 + 2),
    (PolicyHead(BOX, squash=True), TanhGaussian, (2,), 2 * 8 + 2 + 2),
    (PolicyHead(BOX, squash=True, state_dependent_std=True), TanhGaussian, (2,), 4 * 8 + 4),
]


@pytest.mark.parametrize("head, kind, event, parameters", HEADS)
def test_policy_head(head, kind, event, parameters):
    def act(features, key):
        k_init, k_sample = jax.random.split(key)
        dist, params = head.init_with_output(k_init, features)
        return dist, params, *dist.sample_and_log_prob(k_sample)

    for batch in ((), (4,), (2, 4)):
        dist, params, action, log_prob = jax.eval_shape(act, jnp.zeros((*batch, 8)), jax.random.key(0))
        assert isinstance(dist, kind)
        assert sum(x.size for x in jax.tree.leaves(params)) == parameters
        assert action.shape == (*batch, *event)
        assert log_prob.shape == batch
        assert all(leaf.shape[: len(batch)] == batch for leaf in jax.tree.leaves(dist))

    dist, _, action, _ = jax.jit(act)(normal(0, 9, 8), jax.random.key(0))
    if kind is not DiagonalGaussian:  # the only one that may leave its space
        contains = jax.vmap(head.action_space.contains)
        assert jnp.all(contains(action)) and jnp.all(contains(dist.mode()))


@pytest.mark.parametrize("head, kind, event, parameters", HEADS)
def test_every_parameter_gets_a_gradient(head, kind, event, parameters):
    features = normal(0, 4, 8)
    params = jax.jit(head.init)(jax.random.key(1), features)

    def loss(params):
        dist = head.apply(params, features)
        return dist.log_prob(jax.lax.stop_gradient(dist.sample(jax.random.key(2)))).sum()

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(jnp.any(x != 0) for x in jax.tree.leaves(gradient))


def test_first_policy_hardly_depends_on_the_observation():
    features = normal(0, 50, 8)
    logits = PolicyHead(Discrete(3)).init_with_output(jax.random.key(1), features)[0].logits
    assert 0.0 < jnp.abs(logits).max() < 0.1
    gaussian, params = PolicyHead(BOX).init_with_output(jax.random.key(1), features)
    assert_array_equal(gaussian.log_std, jnp.zeros((50, 2)))
    assert params["params"]["log_std"].shape == (2,)


def test_log_std_options():
    features = 1e3 * normal(0, 50, 8)
    head = PolicyHead(BOX, initial_log_std=-0.5)
    assert_allclose(head.init_with_output(jax.random.key(1), features)[0].log_std, jnp.full((50, 2), -0.5))
    head = PolicyHead(BOX, state_dependent_std=True, initial_log_std=-0.5, log_std_range=(-3.0, 1.0), gain=1.0)
    log_std = head.init_with_output(jax.random.key(1), features)[0].log_std
    assert_allclose([log_std.min(), log_std.max()], [-3.0, 1.0])
    near = head.init_with_output(jax.random.key(1), 0.0 * features)[0].log_std
    assert_allclose(near, jnp.full((50, 2), -0.5))


def test_policy_head_refuses():
    def init(space, **options):
        PolicyHead(space, **options).init(jax.random.key(0), jnp.ones(8))

    with pytest.raises(ConfigError, match="squash=True: needs a Box with finite bounds"):
        init(Box(LOW, np.array([np.inf, 1.0], np.float32)), squash=True)
    init(Box(LOW, np.array([np.inf, 1.0], np.float32)))
    with pytest.raises(ConfigError, match="one axis"):
        init(Box(np.zeros((2, 2)), np.ones((2, 2))))
    with pytest.raises(ConfigError, match="use Discrete"):
        init("left")


def test_value_head():
    features = normal(0, 3, 4, 8)
    value, params = ValueHead().init_with_output(jax.random.key(1), features)
    assert value.shape == (3, 4)
    assert_allclose(jnp.linalg.norm(params["params"]["Dense_0"]["kernel"]), 1.0, rtol=1e-5)


def test_run_time_needs_no_distrax():
    code = "import sys, rljax.nets.heads; sys.exit('distrax' in sys.modules or 'tensorflow_probability' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_entry_with_equal_bounds_counts_for_nothing():
    mean, log_std = jnp.array([[0.3, 0.7]]), jnp.array([[-0.5, 0.2]])
    fixed = tanh_gaussian(mean, log_std, jnp.array([[-2.0, 1.0]]), jnp.array([[4.0, 1.0]]))
    alone = tanh_gaussian(mean[:, :1], log_std[:, :1], jnp.array([[-2.0]]), jnp.array([[4.0]]))
    action = jnp.array([[1.0, 1.0]])
    np.testing.assert_allclose(fixed.log_prob(action), alone.log_prob(action[:, :1]), rtol=1e-6)
    np.testing.assert_array_equal(fixed.sample(jax.random.key(0))[:, 1], 1.0)
    grads = jax.grad(lambda mean: fixed.replace(mean=mean).log_prob(action).sum())(mean)
    entropy = jax.grad(lambda s: fixed.replace(log_std=s).entropy(jax.random.key(0)).sum())(log_std)
    assert np.isfinite(grads).all() and grads[0, 1] == 0 and np.isfinite(entropy).all() and entropy[0, 1] == 0


def test_restricted_distributions_are_those_of_legal_actions_alone():
    logits, legal = jnp.array([[5.0, 1.0, 2.0, 3.0]] * 2), jnp.array([[False, True, True, False], [True] * 4])
    found = Categorical(logits).restrict(legal)
    assert_allclose(found.log_prob(jnp.array([2, 2]))[0], Categorical(logits[0, 1:3]).log_prob(jnp.int32(1)))
    assert_allclose(found.entropy()[0], Categorical(logits[0, 1:3]).entropy(), rtol=1e-6)
    assert found.mode().tolist() == [2, 0] and jnp.isneginf(found.log_prob(jnp.array([0, 0]))[0])
    drawn = jax.vmap(found.sample)(jax.random.split(jax.random.key(0), 200))
    assert set(drawn[:, 0].tolist()) == {1, 2}

    both = MultiCategorical(logits, (2, 2)).restrict(legal)
    assert both.mode().tolist() == [[1, 0], [0, 1]]
    assert_allclose(both.log_prob(jnp.array([[1, 0], [1, 0]]))[0], 0.0)
    assert Categorical(logits).restrict(None).logits is logits and MultiCategorical(logits, (2, 2)).restrict(None).nvec
    gaussian = DiagonalGaussian(logits, logits)
    assert gaussian.restrict(None) is gaussian
    with pytest.raises(ConfigError, match="DiagonalGaussian has no single actions"):
        gaussian.restrict(legal)
