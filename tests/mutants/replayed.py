"""Deliberate errors in learning with a memory from stored sequences."""

from __future__ import annotations

from mutants.mutant import within

AGENTS, STORE, HEADS = "contract/test_memory_from_replay.py", "data/test_replay.py", "ops/test_value_heads.py"
SEES, VALUES, CRITICS, KEPT = (
    f"{AGENTS}::test_learning_sees_what_acting_saw",
    f"{AGENTS}::test_targets_of_values",
    f"{AGENTS}::test_targets_of_critics",
    f"{AGENTS}::test_what_was_stored_is_what_is_remembered",
)
BLOCKS = f"{STORE}::test_runs_begin_with_blocks_beside_what_was_remembered_before_them"
MUTANTS = [
    *within(
        "off_policy/memory.py",
        SEES,
        (
            "self._unroll(obs, Past(carry, first)",
            "self._unroll(obs, Past(carry, ~first)",
            "flags reversed",
        ),
        (
            "return Past(jax.lax.stop_gradient(carry), rest)",
            "return Past(self._carry, rest)",
            "no burn-in",
        ),
        (
            "self._unroll(self._steps.next_obs, past, self._states, ",
            "self._unroll(self._steps.next_obs, past, None, ",
            "successors alone, which see no cue in the first observation",
        ),
        (
            "return Past(jax.lax.stop_gradient(carry), rest)",
            "return Past(carry, rest)",
            "derivatives of the burn-in",
            f"{AGENTS}::test_no_derivative_goes_back_to_the_burn_in",
        ),
        ("largest * errors.max(0)", "largest * errors.min(0)", "the least error", VALUES),
        ("errors.reshape(config.sequence, -1)", "errors.reshape(-1, config.sequence).T", "errors of others", VALUES),
        (
            "x[config.burn_in :], steps), discount, config.n_step",
            "x[config.burn_in :], steps), discount, 1",
            "one step",
            VALUES,
        ),
    ),
    *within(
        "off_policy/loop.py",
        KEPT,
        ("before = (state.carry,)", "before = (done.carry,)", "what is remembered after the block"),
    ),
    *within(
        "off_policy/actor_critic.py",
        CRITICS,
        (
            "return Seen(partial(self.unroll_critics, params), steps, carry)",
            "return Seen(partial(self.unroll_critics, params), steps, (steps.sequences.carry,) * self.config.critics)",
            "critics that begin with what the policy remembered",
        ),
    ),
    *within(
        "off_policy/targets.py",
        VALUES,
        (
            "(steps.at_end(x) for x in (outputs, weight, bonus))",
            "(outputs, weight, bonus)",
            "no n steps",
        ),
    ),
    *within(
        "data/transitions.py",
        "data/test_transitions.py::test_sequences_cut_at_their_ends_and_at_those_of_episodes",
        ("steps.truncated.at[-1].set(True)", "steps.truncated", "the last step counted again"),
    ),
    *within(
        "data/ring.py",
        BLOCKS,
        ("stored = ring.stored // unit", "stored = ring.stored", "beyond what is stored"),
    ),
    *within(
        "data/replay.py",
        BLOCKS,
        ("start * self.period, env, self.run", "start, env, self.run", "places for times"),
        ("buffer.ring.stored // self.period", "buffer.ring.stored", "too many places to draw from", BLOCKS),
        ("shape[0] // self.period, self.span - 1", "shape[0] // self.period, 0", "runs across the newest step"),
    ),
    *within(
        "ops/value_heads.py",
        f"{HEADS}::test_the_rescaled_head_learns_h_of_the_target",
        (
            "y = next.reward + next.discount * following\n        return jnp.stack([rescaled(y)",
            "y = next.reward + next.discount * following\n        return jnp.stack([y",
            "unscaled",
        ),
        (
            "expected(restored(next.outputs[..., 0]), next)",
            "expected(next.outputs[..., 0], next)",
            "other units",
        ),
    ),
]
