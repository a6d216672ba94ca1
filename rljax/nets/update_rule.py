"""The network of a learned update rule: it reads an agent's trajectory backwards and gives targets for every step."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from rljax.errors import ConfigError
from rljax.types import Array, Scalar

INPUTS = 5  # of the recurrent layer, without those about time


class BackwardGRU(nn.Module):
    r"""A gated recurrent unit that runs from the last step to the first.

    $$h_t = z h_{t+1} + (1 - z) \tanh(x_t U_n + a_n + r (h_{t+1} W_n + b)), \quad
    (r, z) = \sigma(x_t U_{r,z} + a_{r,z} + h_{t+1} W_{r,z}),$$

    with $h_{t+1} = 0$ where `cut` holds at t, and at the end of the window.

    Attributes:
      width: the size of h.

    Args of the call:
      x: `[T, ..., F]`.
      cut: `[T, ...]` bool; what comes later does not belong to this step's episode.

    Returns:
      h `[T, ..., width]`; h_t depends on x_t and on later steps of the same episode.

    Source: Cho et al. 2014, arXiv:1406.1078; the reset gate inside, which is one product less, as in cuDNN.
    """

    width: int

    @nn.compact
    def __call__(self, x: Array, cut: Array) -> Array:
        initial, size = nn.initializers.lecun_normal(), 3 * self.width
        kernel_x = self.param("kernel_x", initial, (x.shape[-1], size))  # U, of the three gates side by side
        kernel_h = self.param("kernel_h", initial, (self.width, size))  # W
        bias_x = self.param("bias_x", nn.initializers.zeros, (size,))  # a
        bias_h = self.param("bias_h", nn.initializers.zeros, (self.width,))  # b

        def cell(h, step):
            x, cut = step
            h = jnp.where(cut[..., None], 0.0, h)
            # Both products here, each for all gates at once: measured on a CPU with T=20, E=64 and widths 64 and 256,
            # all of x U ahead of the loop takes twice the time, and gates one by one cost more in derivatives.
            of_x = x @ kernel_x
            of_x += jnp.broadcast_to(bias_x, of_x.shape)
            (x_r, x_z, x_n), (h_r, h_z, h_n) = (jnp.split(part, 3, axis=-1) for part in (of_x, h @ kernel_h))
            reset, keep = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            new = jnp.tanh(x_n + reset * (h_n + jnp.broadcast_to(bias_h, h_n.shape)))
            h = keep * h + (1.0 - keep) * new
            return h, h

        start = jnp.zeros((*x.shape[1:-1], self.width), jnp.result_type(x, kernel_h))
        return jax.lax.scan(cell, start, (x, cut), reverse=True)[1]


class UpdateRule(nn.Module):
    r"""Gives every step of a trajectory targets for policy and prediction, from all later steps of its episode.

    $$(\hat\pi_t, \hat y_t) = U(x_t | x_{t+1}, x_{t+2}, \ldots), \quad
    x_t = [r_t, d_t, \pi(a_t|s_t), \phi(y(s_t)), (1 - d_t) \phi(y(s_{t+1})), \ldots]$$

    d is termination, where a successor means nothing, so its embedding is zero. Where an episode is truncated it stays,
    and d = 0, but the recurrence is cut: a truncation looks just like the end of the window. The embedding $\phi$ is
    one hidden layer and one number. No observation and no action is an input, so a rule fits agents of every kind.

    Attributes:
      width: units of the recurrent layer.
      bootstrap: m, the number of entries of y.
      embedding: hidden units of $\phi$.

    Args of the call:
      reward, terminated, truncated: `[T, ...]`; the last two bool.
      prob: `[T, ...]`, of the action taken.
      y, next_y: `[T, ..., m]`, the agent's categorical predictions at s_t and at its true successor.
      time: numbers `[]` about the age of the agent, the same for all steps; further entries of every x_t.

    Returns:
      ($\hat\pi$ `[T, ...]`, $\log \hat y$ `[T, ..., m]`).

    Source: Oh et al. 2020, arXiv:2007.08794, with the sizes of the code that goes with Jackson et al. 2023,
    arXiv:2310.02782: a GRU where the first has an LSTM, and no discount among the inputs.
    """

    width: int = 256
    bootstrap: int = 8
    embedding: int = 16

    @nn.compact
    def __call__(
        self,
        reward: Array,
        terminated: Array,
        truncated: Array,
        prob: Array,
        y: Array,
        next_y: Array,
        time: tuple[Array, ...] = (),
    ) -> tuple[Array, Array]:
        hidden, number = nn.Dense(self.embedding, name="embed"), nn.Dense(1, name="embed_output")
        now, successor = (number(nn.relu(hidden(v)))[..., 0] for v in (y, next_y))
        x = [reward, terminated.astype(now.dtype), prob, now, jnp.where(terminated, 0.0, successor)]
        x = jnp.stack([*x, *(jnp.broadcast_to(number, reward.shape) for number in time)], axis=-1)
        h = nn.relu(BackwardGRU(self.width, name="gru")(x, terminated | truncated))
        return nn.Dense(1, name="pi_hat")(h)[..., 0], jax.nn.log_softmax(nn.Dense(self.bootstrap, name="y_hat")(h))


@cache
def initial_rule(rule: UpdateRule, time_inputs: int = 0) -> dict[str, Any]:
    """Makes weights to begin a search with, always the same: `rule.apply({"params": weights}, ...)`.

    Args:
      rule: the network.
      time_inputs: the count of numbers about time that it will be called with.

    Returns:
      Float32 numpy arrays, normal of variance 1 / inputs. Biases too, being weights of an input that is always 1: no
      leaf is zero, so a search that scales what it perturbs reaches all of them.
    """
    normal = np.random.RandomState(0).standard_normal  # a stream that numpy promises not to change

    def layer(inputs: int, outputs: int, biases: int, suffix: str = "") -> dict[str, np.ndarray]:
        drawn = {"kernel": normal((inputs, outputs)), "bias": normal(biases)}
        return {name + suffix: (x / inputs**0.5).astype(np.float32) for name, x in drawn.items()}

    width = rule.width
    return {
        "embed": layer(rule.bootstrap, rule.embedding, rule.embedding),
        "embed_output": layer(rule.embedding, 1, 1),
        "gru": layer(INPUTS + time_inputs, 3 * width, 3 * width, "_x") | layer(width, 3 * width, width, "_h"),
        "pi_hat": layer(width, 1, 1),
        "y_hat": layer(width, rule.bootstrap, rule.bootstrap),
    }


def check_rule(weights: Any, expected: Any) -> None:
    """Refuses weights that do not have the shapes of the `expected` ones.

    Raises:
      ConfigError: naming the first leaf that is missing, superfluous or of another shape.
    """
    found, wanted = (
        {jax.tree_util.keystr(path): np.shape(x) for path, x in jax.tree.leaves_with_path(tree)}
        for tree in (weights, expected)
    )
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            shapes = f"is {found.get(name, 'missing')}, not {wanted.get(name, 'expected')}"
            raise ConfigError(f"rule{name} {shapes}; build the agent with the sizes that the rule was made for")


def time_inputs(progress: Array, horizon: Scalar) -> tuple[Array, Array]:
    r"""A temporally-aware rule's inputs about the run, `[]` each: n / N and $\log_{10}(\min(N, 10^6)) / 3$.

    n updates are done of N, the horizon. Both are of order one: 0.33, 0.8 and 1.67 for N = 10, 250 and 100000. An
    endless run, N = inf, looks like the very beginning of one of 10^6 updates.

    Args:
      progress: n / N.
      horizon: N.

    Source: Jackson et al. 2024, arXiv:2402.05828, eq. 9; its code feeds both numbers raw.
    """
    return progress, jnp.log10(jnp.minimum(horizon, 1e6)) / 3.0
