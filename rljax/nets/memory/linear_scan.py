r"""Linear recurrences that forget, one step after the other or as a tree.

$$h_t = a_t \odot \tilde h_{t-1} + b_t, \quad
\tilde h_{t-1} = 0 \text{ where } \mathrm{reset}_t \text{, else } h_{t-1}$$

As a tree, elements $(a, b, c)$ with the flag c are combined by the associative

$$(a_x, b_x, c_x) \circ (a_y, b_y, c_y) = (a_x a_y, \; b_y \text{ if } c_y \text{, else } a_y b_x + b_y, \;
c_x \lor c_y).$$

Where the flag is set, what was before is dropped, so the a of such an element is never used: products of an a that is
the same for all of a batch need no axis of the batch.

Source: Lu et al. 2023, arXiv:2303.03982, section 4.1, where a too is selected by the flag: the same numbers.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rljax.types import Array

How = Literal["auto", "loop", "tree"]


class Pair(NamedTuple):
    """Complex numbers as two real arrays: loops over them are faster, and files need no complex numbers."""

    re: Array
    im: Array


Number = Any
"""Numbers as an Array, or complex ones as a Pair."""


def linear_scan(a: Number, b: Number, carry: Number, reset: Array, how: How = "auto") -> Number:
    r"""The states of a linear recurrence.

    Derivatives are a scan backwards: $g_t = e_t + \bar a_{t+1} g_{t+1}$ (0 where $\mathrm{reset}_{t+1}$) with the
    errors e, of which $\partial b_t = g_t$ and $\partial a_t = g_t \bar{\tilde h}_{t-1}$; only states are kept for it.

    Args:
      a: `[T, B, P]`, or `[P]` if it is always the same.
      b: `[T, B, P]`.
      carry: the state before, `[B, P]`.
      reset: `[T, B]` bool.
      how: `loop`, `tree`, or what is faster, see `faster`.

    Returns:
      h after each step, `[T, B, P]`.
    """
    length = reset.shape[0]
    how = faster(length) if how == "auto" else how
    if length == 1:  # acting
        return _add(_times(_at(a, 0), _kept(carry, reset[0])), b)
    return _scan(a, b, carry, reset, how)


def faster(length: int) -> How:
    """The way that is faster on this platform for sequences of that length, as measured by `benchmarks/memory.py`."""
    return "loop" if jax.default_backend() == "cpu" else "tree"


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scan(a: Number, b: Number, carry: Number, reset: Array, how: How) -> Number:
    return _run(a, b, carry, reset, how)


def _forward(a: Number, b: Number, carry: Number, reset: Array, how: How) -> tuple[Number, Any]:
    states = _run(a, b, carry, reset, how)
    return states, (a, carry, reset, states)


def _backward(how: How, saved: Any, errors: Number) -> tuple[Any, ...]:
    a, carry, reset, states = saved
    fixed = jax.tree.leaves(a)[0].ndim == 1
    conj = _conj(a)

    def later(x):  # what belongs to the next step; after the last one nothing comes
        return jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])

    following = conj if fixed else jax.tree.map(later, conj)
    g = _run(following, errors, jax.tree.map(jnp.zeros_like, carry), later(reset), how, reverse=True)
    before = jax.tree.map(lambda first, h: jnp.concatenate([first[None], h[:-1]]), carry, states)
    of_a = _times(g, _conj(_kept(before, reset)))
    of_a = jax.tree.map(lambda x: x.sum((0, 1)), of_a) if fixed else of_a
    of_carry = _kept(_times(_at(conj, 0), _at(g, 0)), reset[0])
    return of_a, g, of_carry, None


_scan.defvjp(_forward, _backward)


def _run(a: Number, b: Number, carry: Number, reset: Array, how: How, reverse: bool = False) -> Number:
    """The recurrence itself; in reverse from the last step to the first."""
    fixed = jax.tree.leaves(a)[0].ndim == 1
    if how == "loop":

        def step(h, inputs):
            a_t, b_t, reset = inputs
            h = _add(_times(a if fixed else a_t, _kept(h, reset)), b_t)
            return h, h

        return jax.lax.scan(step, carry, (None if fixed else a, b, reset), reverse=reverse)[1]

    def combine(x, y):
        (a_x, b_x, c_x), (a_y, b_y, c_y) = x, y
        return _times(a_x, a_y), _add(_times(a_y, _kept(b_x, c_y)), b_y), c_x | c_y

    first = -1 if reverse else 0
    begun = _times(_at(a, first), _kept(carry, reset[first]))  # the state before joins the first element
    b = jax.tree.map(lambda x, y: x.at[first].add(y), b, begun)
    a = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(reset), 1, *x.shape)), a) if fixed else a
    return jax.lax.associative_scan(combine, (a, b, reset), reverse=reverse)[1]


def _at(x: Number, t: int) -> Number:
    """The numbers of step t, `[B, P]`, or `[1, P]` of those that are always the same."""
    return jax.tree.map(lambda x: x[None] if x.ndim == 1 else x[t], x)


def _times(x: Number, y: Number) -> Number:
    if not isinstance(x, Pair) or not isinstance(y, Pair):
        return x * y
    x_re, x_im, y_re, y_im = *_wide(x, y.re), *_wide(y, x.re)
    return Pair(x_re * y_re - x_im * y_im, x_re * y_im + x_im * y_re)


def _wide(x: Pair, like: Array) -> tuple[Array, Array]:
    shape = jnp.broadcast_shapes(x.re.shape, like.shape)
    return jnp.broadcast_to(x.re, shape), jnp.broadcast_to(x.im, shape)


def _add(x: Number, y: Number) -> Number:
    return jax.tree.map(jnp.add, x, y)


def _conj(x: Number) -> Number:
    return Pair(x.re, -x.im) if isinstance(x, Pair) else x


def _kept(h: Number, reset: Array) -> Number:
    return jax.tree.map(lambda x: jnp.where(reset[..., None], 0.0, x), h)
