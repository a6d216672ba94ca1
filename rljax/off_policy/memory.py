"""Learning with a memory from stored steps: sequences, and networks that are asked by what they have seen in them.

A batch is made of runs of `burn_in + sequence` steps, each of one environment, which may cross ends of episodes: a
memory forgets there, as it did when it acted. The first steps only bring it up to date; from each of the others one
transition is learned, cut at the end of its episode or of the run.

Source: Kapturowski et al. 2019 (R2D2), openreview.net/forum?id=r1lyTjAqYX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rljax.data.transitions import Transition, transitions
from rljax.errors import require
from rljax.fields import count, entry, flag
from rljax.nets.memory import Past, memory
from rljax.off_policy.learner import Batch
from rljax.ops.minibatch import flatten_time
from rljax.types import Array, Scalar


@dataclass(frozen=True)
class MemoryConfig:
    """The settings of a memory."""

    memory: str = entry("none", "memory", "what lasts from step to step of an episode: gru, s5(layers=1), ...")
    sequence: int = count(32, "with a memory: steps that are learned from together; must be a multiple of num_steps")
    burn_in: int = count(0, "with a memory: steps before these that only bring it up to date", least=0)
    stored_carry: bool = flag(True, "with a memory: begin with what was remembered when acting, or with nothing")


class Sequences(NamedTuple):
    """The runs `[S, B, ...]` whose last steps are transitions."""

    obs: Any
    next_obs: Any
    reset: Array  # [S, B]
    carry: Any  # [B, ...] of the policy before the first step
    burn_in: int


def in_sequences(batch: Batch, discount: Scalar, config: Any, carry: Any) -> Transition:
    """The transitions of a batch of sequences, flat `[sequence * B, ...]`: the first of each of them first.

    Args:
      config: has `n_step` and the fields of `MemoryConfig`.
      carry: of the policy before the sequences, `[B, ...]`.
    """
    steps = batch.steps
    found = transitions(jax.tree.map(lambda x: x[config.burn_in :], steps), discount, config.n_step)
    sequences = Sequences(steps.obs, steps.next_obs, steps.reset, carry, config.burn_in)
    return found._replace(weight=jnp.tile(batch.weight, config.sequence), sequences=sequences)


class Seen:
    """A network, asked at the observations of transitions and at their true successors: by what it knows there.

    Args:
      unroll: `(obs [N, ...], past, states, *inputs [N, ...], **keywords) -> (outputs, carry, states)`; `past` and
        `states` are those of `nets.memory.remember`, () and None without a memory.
      steps: the transitions.
      carry: of this network's memory before the sequences, `[B, ...]`; by default that of the policy.
    """

    def __init__(self, unroll: Callable[..., tuple[Any, Any, Any]], steps: Transition, carry: Any = None) -> None:
        self._unroll, self._steps, self._sequences = unroll, steps, steps.sequences
        self._carry = carry if carry is not None or steps.sequences is None else steps.sequences.carry
        self._states: Any = None  # of the memory, after each step

    def now(self, *inputs: Any, **keywords: Any) -> Any:
        """The outputs at `obs`."""
        if self._sequences is None:
            return self._unroll(self._steps.obs, (), None, *inputs, **keywords)[0]
        outputs, _, self._states = self._unroll(
            self._steps.obs, self._past(inputs, keywords), None, *inputs, **keywords
        )
        return outputs

    def later(self, *inputs: Any, **keywords: Any) -> Any:
        """The outputs at `next_obs`, which a memory does not keep."""
        if self._sequences is None:
            return self._unroll(self._steps.next_obs, (), None, *inputs, **keywords)[0]
        past = self._past(inputs, keywords)
        if self._states is None:
            self._states = self._unroll(self._steps.obs, past, None, *inputs, **keywords)[2]
        return self._unroll(self._steps.next_obs, past, self._states, *inputs, **keywords)[0]

    def _past(self, inputs: Any, keywords: Any) -> Past:
        """The beginning of what is learned from: no derivative goes back to what was before."""
        runs, carry = self._sequences, self._carry
        assert runs is not None
        first, rest = runs.reset[: runs.burn_in], runs.reset[runs.burn_in :]
        if runs.burn_in:
            obs = flatten_time(jax.tree.map(lambda x: x[: runs.burn_in], runs.obs))
            blank = jax.tree.map(lambda x: jnp.zeros((first.size, *x.shape[1:]), x.dtype), inputs)  # not remembered
            _, carry, _ = self._unroll(obs, Past(carry, first), None, *blank, **keywords)
        return Past(jax.lax.stop_gradient(carry), rest)


def priority(errors: Array, largest: Scalar, config: Any) -> Array:
    r"""The errors by which sequences are drawn again, `[B]`.

    $$p = \eta \max_t |\delta_t| + (1 - \eta) \frac{1}{L} \sum_t |\delta_t|$$

    Args:
      errors: absolute, of transitions `[sequence * B]`.
      largest: eta.

    Source: Kapturowski et al. 2019, section 2.3.
    """
    errors = errors.reshape(config.sequence, -1)
    return largest * errors.max(0) + (1.0 - largest) * errors.mean(0)


def check(config: Any) -> None:
    """Refuses sequences that cannot be. Raises ConfigError."""
    length, block = config.sequence, config.num_steps
    even = "so that every step is learned from as often as the others"
    require(length >= 1 and length % block == 0, "sequence", length, f"must be a multiple of num_steps={block}, {even}")
    require(config.burn_in >= 0, "burn_in", config.burn_in, "must be at least 0")
    context = getattr(memory(config.memory), "context", None)
    short = f"must be at most the context={context} of memory={config.memory}, which forgets what was before"
    require(context is None or config.burn_in <= context, "burn_in", config.burn_in, short)
