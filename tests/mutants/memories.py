"""Deliberate errors in memories, and in what agents learn with them: most were made in public implementations."""

from __future__ import annotations

from mutants.mutant import within

NETS, AGENTS = "nets/test_memories.py", "contract/test_agents_with_memory.py"
FULL, PARTIAL = "nets/test_transformer.py", "contract/test_partial_updates.py"
FORGETS, STEPS = f"{NETS}::test_it_forgets_before_it_looks", f"{NETS}::test_a_sequence_is_its_steps"
SCAN = f"{STEPS} {NETS}::test_derivatives_by_finite_differences"
SEES, TARGETS = (
    f"{AGENTS}::test_learning_sees_what_acting_saw",
    f"{AGENTS}::test_targets_use_the_memory_after_the_step_and_the_true_successor",
)
MUTANTS = [
    *within(
        "nets/memory/recurrence.py",
        FORGETS,
        ("carry = kept(carry, reset)", "carry = carry", "a memory that is never reset"),
        ("return after, after", "return kept(after, reset), after", "forgets after it looked", STEPS),
    ),
    *within(
        "nets/memory/gated.py",
        f"{NETS}::test_gated_cells_are_those_of_flax",
        ("((1.0 - z) * jnp.tanh", "(z * jnp.tanh", "the gate the other way round"),
        ("jax.nn.sigmoid(f) * carry[1]", "jax.nn.sigmoid(f) * carry[0]", "the cell is what was said"),
        (
            "minval=1.0, maxval=longest - 1.0",
            "minval=1.0, maxval=2.0",
            "gates that keep for a step",
            f"{NETS}::test_chrono_gates_keep_for_up_to_so_many_steps",
        ),
    ),
    *within(
        "nets/memory/linear_scan.py",
        SCAN,
        ("_times(a if fixed else a_t, _kept(h, reset))", "_times(a if fixed else a_t, h)", "no reset in the loop"),
        ("_add(_times(a_y, _kept(b_x, c_y)), b_y)", "_add(_times(a_y, b_x), b_y)", "no reset in the tree"),
        (
            "begun = _times(_at(a, first), _kept(carry, reset[first]))",
            "begun = _times(_at(a, first), carry)",
            "a reset at the start",
        ),
        ("x_re * y_re - x_im * y_im", "x_re * y_re + x_im * y_im", "sign of i squared"),
        (
            "g = _run(following, errors, jax.tree.map(jnp.zeros_like, carry), later(reset)",
            "g = _run(following, errors, jax.tree.map(jnp.zeros_like, carry), reset",
            "resets one step late on the way back",
        ),
        ("_conj(_kept(before, reset))", "_kept(before, reset)", "no conjugate on the way back"),
    ),
    *within(
        "nets/memory/linear.py",
        f"{NETS}::test_hippo_is_the_normal_part_of_legs",
        ("np.triu(product, 1) - np.tril(product, -1)", "np.triu(product, 1) + np.tril(product, -1)", "another matrix"),
    ),
    *within(
        "nets/memory/transformer.py",
        f"{FULL}::test_acting_and_learning_are_full_attention",
        ("(ages < self.context)", "(ages <= self.context)", "a step too far back"),
        ("(ages >= 1)", "(ages >= 2)", "not the step before"),
        (" & (ages <= before.T[..., None])", "", "attention to other episodes"),
        ("np.arange(count) - (self.context - 1)", "np.arange(count)", "positions of a training run"),
        ("h[:, :, -slots:]", "h[:, :, :slots]", "a window that does not move"),
        ("(1.0 - z) * x + z * new", "z * x + (1.0 - z) * new", "the gate the other way round"),
        ("jnp.where(reset, time, -length[None])", "jnp.where(reset, time, 0.0)", "a window without its steps"),
        ("jnp.where(kept, h", "jnp.where(True, h", "slots of the episode before", FORGETS),
        (
            "self.through(x, before, carry, False)",
            "self.through(x, before, jax.lax.stop_gradient(carry), False)",
            "no derivative by the window",
            f"{NETS}::test_no_derivative_passes_a_reset",
        ),
        (
            "self.through(x, states.length + 1.0, states, True)",
            "self.through(x, states.length, states, True)",
            "successors without the first step of their episode",
            f"{NETS}::test_one_step_ahead_is_a_step_without_a_reset",
        ),
    ),
    *within(
        "nets/memory/base.py",
        f"{NETS}::test_one_step_ahead_is_a_step_without_a_reset",
        (
            "jnp.zeros((1, lead[0] * lead[1]), bool)",
            "jnp.ones((1, lead[0] * lead[1]), bool)",
            "successors are seen without a memory",
        ),
    ),
    *within(
        "on_policy/loop.py",
        SEES,
        (
            "state = state.replace(start=state.carry)",
            "state = state.replace(start=self.initial_carry(state, self.config.num_envs))",
            "a zero start",
        ),
        (
            "return Past(state.start, steps.reset)",
            "return Past(state.start, steps.terminated | steps.truncated)",
            "flags of the step that ended",
        ),
        (
            "return Past(state.start, steps.reset)",
            "return Past(state.carry, steps.reset)",
            "the memory after the rollout",
            f"{SEES} {TARGETS}",
        ),
        (
            "unroll(flatten_time(steps.next_obs), past, states)",
            "unroll(flatten_time(steps.next_obs), past)",
            "successors as if they were the steps",
            TARGETS,
        ),
    ),
    *within(
        "on_policy/loop.py",
        f"{PARTIAL}::test_a_partial_update_is_the_loss_of_the_newest_steps_in_the_context_of_all",
        (
            "self.recall(params, state, flatten_time(obs), Past(before.carry, reset))",
            "jax.lax.stop_gradient(self.recall(params, state, flatten_time(obs), Past(before.carry, reset)))",
            "a context that learns nothing",
        ),
        ("carry = Context(carry, *rows)", "carry = state.start", "a context of nothing but the start"),
        (
            "first = steps.reset.shape[0] - self.config.num_steps // self.parts",
            "first = 0",
            "a partial update on all steps",
        ),
        (
            "self.recall(state.params, state, flatten_time(steps.obs), past)",
            "state.carry",
            "memory of the old parameters",
        ),
        (
            'if getattr(self.config, "clear_memory", False):',
            "if False:",
            "memory that is not cleared",
            f"{PARTIAL}::test_a_cleared_memory_sees_nothing_of_the_rollout_before",
        ),
    ),
    *within(
        "ops/rollout.py",
        f"{PARTIAL}::test_rollouts_in_a_row_count_as_one",
        ("jnp.where(count > 0, x * count, 0.0)", "jnp.where(count > 0, x, 0.0)", "means without their weights"),
    ),
    *within(
        "ops/minibatch.py",
        f"{AGENTS}::test_minibatches_are_whole_rollouts_of_some_environments",
        (
            "return steps._replace(past=past._replace(reset=reset))\n\n\ndef in_time",
            "steps = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(x.shape), steps)\n"
            "    return steps._replace(past=past._replace(reset=reset))\n\n\ndef in_time",
            "every T-th step instead of a sequence",
        ),
    ),
    *within(
        "policy.py",
        f"{AGENTS}::test_a_policy_forgets_by_itself",
        (
            "first = self._carry is None or size != self._size",
            "first = self._carry is None",
            "another batch, with the memory of the former",
        ),
        (
            "reset = np.full(size, first) if reset is None",
            "reset = np.full(size, True) if reset is None",
            "a policy that forgets at every step",
        ),
    ),
]
