"""Deliberate errors in networks and distributions."""

from __future__ import annotations

from mutants.mutant import within

HEADS = "nets/test_heads.py"
CATEGORICAL, GAUSSIAN = (f"{HEADS}::test_{name}_equals_distrax" for name in ("categorical", "gaussian"))
SQUASHED = f"{HEADS}::test_tanh_gaussian_equals_distrax {HEADS}::test_tanh_gaussian_density_integrates_to_one"
MUTANTS = [
    *within(
        "nets/heads.py",
        f"{HEADS}::test_log_std_options",
        ("jnp.clip(self.initial_log_std + log_std, *", "jnp.clip(log_std, *", "where log_std starts"),
    ),
    *within(
        "nets/distributions.py",
        SQUASHED,
        (
            "return -jnp.sum(jax.nn.softmax(self.logits)",
            "return jnp.sum(jax.nn.softmax(self.logits)",
            "sign",
            CATEGORICAL,
        ),
        ("+ _LOG_2PI) - self.log_std", "+ _LOG_2PI) + self.log_std", "a density that grows as it spreads", GAUSSIAN),
        ("0.5 * (1.0 + _LOG_2PI)", "0.5 * _LOG_2PI", "entropy of a normal", GAUSSIAN),
        (
            "jnp.argmax(self.logits, axis=-1)",
            "jnp.argmin(self.logits, axis=-1)",
            "the least likely action as the mode",
            CATEGORICAL,
        ),
        (
            "return self._sum(self.base.log_densities(x)) - self.log_jacobian(x)",
            "return self.base.log_prob(x)",
            "no Jacobian",
        ),
        (
            "return self.squash(x), self._sum(self.base.log_densities(x)) - self",
            "return self.squash(x), self._sum(self.base.log_densities(x)) + self",
            "sign of the Jacobian",
            f"{HEADS}::test_sample_and_log_prob_agree_with_sample_and_log_prob_apart",
        ),
        ("log_derivative + jnp.log(self.half_width)", "log_derivative", "the scale of the box"),
        (
            "jnp.where(self.fixed, 0.0, entries)",
            "entries",
            "an entry without width is chosen",
            f"{HEADS}::test_an_entry_without_width_is_left_alone",
        ),
        (
            "np.cumsum(self.nvec)[:-1]",
            "np.cumsum(self.nvec[::-1])[:-1]",
            "logits of another entry",
            f"{HEADS}::test_multi_categorical_is_a_product",
        ),
        (
            "return self.replace(logits=mask(self.logits, legal))",
            "return self",
            "illegal actions are taken",
            f"{HEADS}::test_restricted_distributions_are_those_of_legal_actions_alone",
        ),
    ),
    *within(
        "nets/initializers.py",
        "nets/test_initializers.py",
        ("for _ in range(2):", "for _ in range(0):", "not orthogonal"),
        ("return gain * (basis", "return (basis", "no gain"),
    ),
    *within(
        "nets/mlp.py",
        "nets/test_torsos.py",
        (
            "act(nn.LayerNorm()(x) if self.layer_norm else x)",
            "nn.LayerNorm()(act(x)) if self.layer_norm else act(x)",
            "order",
        ),
        ("deterministic=not self.has_rng(DROPOUT)", "deterministic=True", "nothing is dropped", "nets/test_q.py"),
        ("nn.BatchNorm(not self.is_mut", "nn.BatchNorm(self.is_mut", "batch and running averages"),
    ),
    *within(
        "nets/noisy.py",
        "nets/test_q.py",
        ("self.deviation / inputs**0.5", "self.deviation", "deviations as they start"),
        ("return jnp.sign(x) * jnp.sqrt", "return jnp.sqrt", "noise of one sign"),
        ("bias += bias_deviation * of_output", "bias += bias_deviation * of_output[::-1]", "noise of another output"),
        ("if self.has_rng(NOISE):", "if False:", "no noise"),
    ),
    *within(
        "nets/q.py",
        "nets/test_q.py",
        ("- advantage.mean(-2, keepdims=True)", "- advantage.mean(-1, keepdims=True)", "mean over the wrong axis"),
        ("- advantage.mean(-2, keepdims=True)", "", "no mean"),
        (
            "made.reshape(*x.shape[:-1], actions, self.size)",
            "made.reshape(*x.shape[:-1], self.size, actions).swapaxes(-1, -2)",
            "order",
        ),
    ),
    *within(
        "nets/critic.py",
        "nets/test_q.py",
        (
            "members = [self._member(x, action, (), None) for _ in range(self.members)]",
            "members = [self._member(x, action, (), None)] * self.members",
            "shared weights",
        ),
        (
            "action = jnp.tanh(nn.Dense(self.actions",
            "action = (nn.Dense(self.actions",
            "actions outside of the unit box",
        ),
    ),
    *within(
        "nets/torsos.py",
        "nets/test_torsos.py",
        (
            "x = jnp.concatenate([x, extra], axis=-1)",
            "x = jnp.concatenate([x, 0 * extra], axis=-1)",
            "critics that do not see actions",
            "nets/test_q.py",
        ),
        ("joins = extra is not None and (", "joins = extra is not None and False and (", "actions that join late"),
        ("require(not asked or field", "require(True or not asked or field", "dropout that nobody does"),
    ),
    *within(
        "nets/conv.py",
        "nets/test_torsos.py",
        ("x[:, i : i + rows : stride,", "x[:, : rows : stride,", "patches without their rows"),
        ("((0, 0), *sides, (0, 0))", "((0, 0), *sides[::-1], (0, 0))", "zeros beside instead of above"),
        ("y = y + jnp.broadcast_to(bias, y.shape)", "y = y + 0 * jnp.broadcast_to(bias, y.shape)", "no bias"),
    ),
    *within(
        "nets/cnn.py",
        "nets/test_torsos.py",
        ("x = x + self.convolution(", "x = self.convolution(", "no residual"),
        ("(3, 3), (2, 2), padding", "(3, 3), (1, 1), padding", "pooling that keeps the size"),
    ),
    *within(
        "nets/features.py",
        "nets/test_features.py",
        ("x.shape[: x.ndim - len(feature_shape(space))]", "x.shape[:1]", "all axes but the first are features"),
        ("if name != (LEGAL,)", "if name", "the mask is a feature"),
    ),
    *within(
        "nets/update_rule.py",
        "nets/test_update_rule.py",
        ("h = keep * h + (1.0 - keep) * new", "h = keep * new + (1.0 - keep) * h", "what is kept and what is new"),
        ("(x, cut), reverse=True)", "(x, cut))", "forwards"),
        (
            "jnp.where(terminated, 0.0, successor)",
            "jnp.where(terminated | truncated, 0.0, successor)",
            "a limit is a death",
        ),
        ("(x, terminated | truncated)", "(x, terminated)", "past a limit"),
        ("new = jnp.tanh(x_n + reset * (h_n", "new = jnp.tanh(x_n + (h_n", "no reset gate"),
    ),
]
