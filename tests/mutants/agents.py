"""Deliberate errors in algorithms: what they do, what they learn from, and their losses."""

from __future__ import annotations

from mutants.mutant import within

PPO, DQN, SAC, TD3, LPG = (f"algos/test_{name}.py" for name in ("ppo", "dqn", "sac", "td3", "lpg"))
LOOP = "off_policy/test_loop.py::test_"
ONE = "algos/test_one_transition.py::test_"
GREEDY = f"{ONE}greedy_actions_leave_nothing_to_chance"
PROBES = f"{PPO}::test_values_of_the_probes"
LPG_UPDATE = f"{LPG}::test_one_update_of_one_state_in_closed_form"
LEGALLY, FOLLOWS = (
    f"algos/test_action_masks.py::test_{name}"
    for name in ("no_illegal_action_is_ever_taken", "what_follows_is_the_best_of_the_legal_actions")
)
MUTANTS = [
    *within(
        "algos/curriculum.py",
        "contract/test_curriculum.py",
        ("start + gone * (task.ends[name] - start)", "start + gone * task.ends[name]", "it goes further than its end"),
        ("self.function(progress, task)", "self.function(0 * progress, task)", "it stays where it starts"),
    ),
    *within(
        "task.py",
        "contract/test_curriculum.py",
        ("{name: way.end for", "{name: way.start for", "policies are evaluated on the first task"),
        ("{name: way.start for name, way in moving", "{name: way.end for name, way in moving", "it starts at its end"),
    ),
    *within(
        "off_policy/targets.py",
        "off_policy/test_targets.py",
        (".argmin(0)", ".argmax(0)", "the critic that expects the most"),
        (")[:size]]", ")[:1].repeat(size)]", "a subset with replacement"),
        (
            "jax.lax.stop_gradient(head.target(after, numbers))",
            "head.target(after, numbers)",
            "gradient through the target",
        ),
        (
            "jnp.where(better, expectile, 1.0 - expectile)",
            "jnp.where(better, 1.0 - expectile, expectile)",
            "what turned out worse",
        ),
        ("(weight[None] * share * losses).mean(1).sum()", "(share * losses).mean(1).sum()", "unweighted"),
        ("losses).mean(1).sum(), errors.mean(0)", "losses).mean(), errors.mean(0)", "the mean over critics"),
    ),
    *within(
        "off_policy/learner.py",
        f"{LOOP}a_phase_takes_its_turn_as_often_as_it_says_and_knows_the_task_and_the_progress",
        (
            "slow + rate * (now - slow)",
            "now + rate * (slow - now)",
            "a slow copy that is fast",
            f"{TD3}::test_slow_copies_move_once_for_each_step_of_the_policy",
        ),
        ("phase.every // batches), phase.every", "phase.every), phase.every", "turns count turns, not batches"),
    ),
    *within(
        "off_policy/loop.py",
        f"{LOOP}a_policy_with_a_memory_acts_by_its_carry_and_finds_its_notes_in_the_replay",
        (
            "k_choose, False)\n            return carry, jax.vmap",
            "k_choose, False)\n            return (), jax.vmap",
            "a memory is lost",
        ),
        ('"carry": done.carry,', '"carry": state.carry,', "the carry of the last rollout"),
        (
            "steps=self.relabel(loop[0], hypers, task, sample.steps)",
            "steps=sample.steps",
            "rewards as they were",
            f"{LOOP}a_reward_model_relabels_what_is_drawn",
        ),
        (
            "return -(-self.config.warmup //",
            "return (self.config.warmup //",
            "steps before learning rounded down",
            f"{DQN}::test_warmup_steps_count",
        ),
        (
            "(priority + SMALLEST) ** hypers.priority_exponent",
            "(priority + SMALLEST)",
            "priorities without their exponent",
            f"{ONE}priorities_are_errors_to_their_exponent",
        ),
        (
            "beta = hypers.priority_beta + progress",
            "beta = hypers.priority_beta - progress",
            "the correction falls instead of rising",
            f"{ONE}the_correction_of_priorities_rises_to_all_of_the_bias",
        ),
    ),
    *within(
        "algos/ppo.py",
        f"{PROBES}[probe/discounted-obs1-expected1]",
        ("policy.restrict(legal(self.env.observation_space, obs))", "policy", "illegal actions", f"{LEGALLY}[ppo]"),
        (
            "- hypers.entropy_coef * entropy",
            "+ hypers.entropy_coef * entropy",
            "certainty is rewarded",
            "test_contract.py::test_a_bonus_on_entropy_raises_it",
        ),
        (
            "policy.log_prob(batch.action) - batch.log_prob",
            "batch.log_prob - policy.log_prob(batch.action)",
            "ratio upside down",
            f"{PPO}::test_policies_of_the_probes[probe/action-1.0]",
        ),
        ("target = advantage + value", "target = advantage", "advantages as targets"),
        (
            "_, next_value = self.successors(partial(self.unroll, state.params, state.obs_stats), state, steps)",
            "next_value = steps.extras.value",
            "the value of the state itself",
        ),
        ("(value, batch.value, batch.target,", "(value, batch.target, batch.value,", "old value and target"),
        (
            "to_env(action), Extras(action, policy",
            "to_env(action), Extras(self.to_env(action), policy",
            "the loss sees clipped actions",
            f"{PPO}::test_at_the_old_policy_the_first_ratio_is_one",
        ),
        ("+ hypers.value_coef * value_loss", "- hypers.value_coef * value_loss", "values ascend"),
    ),
    *within(
        "on_policy/loop.py",
        f"{PPO}::test_the_learning_rate_anneals_by_progress",
        ("schedules.annealed(hypers.lr, hypers.lr_final, gone)", "hypers.lr", "no annealing"),
        (
            "act(state, carry, obs, reset, key, False)",
            "act(state, carry, obs, reset, key, True)",
            "no exploration",
            "algos/test_pqn.py::test_actions_are_told_apart",
        ),
    ),
    *within(
        "algos/pqn.py",
        "algos/test_pqn.py::test_actions_are_told_apart",
        (
            "return mask(values[..., 0], legal(self.env",
            "return mask(values[..., 0], None and (self.env",
            "illegal ones follow",
            f"{FOLLOWS}[pqn]",
        ),
        (
            "state, steps).max(-1)",
            "state, steps).min(-1)",
            "the worst action follows",
            "algos/test_tabular.py::test_values_of_a_corridor[pqn]",
        ),
        (
            "hypers.discount, hypers.trace_lambda)",
            "hypers.trace_lambda, hypers.discount)",
            "discount and trace",
            "algos/test_pqn.py::test_values_on_probes[probe/truncation-obs0-expected0-0.0]",
        ),
    ),
    *within(
        "algos/dqn.py",
        f"{ONE}what_dqn_learns[munchausen]",
        (
            "self.transition(batch, context.hypers)",
            "self.transition(batch, context.hypers.replace(discount=1.0))",
            "no discount",
            f"{ONE}what_dqn_learns[greedy]",
        ),
        (
            'if self.config.target == "double"',
            'if self.config.target == "single"',
            "one network chooses and evaluates",
            f"{ONE}what_dqn_learns[double]",
        ),
        ("-tau * log_next, raised", "tau * log_next, raised", "sign of the entropy"),
        ("log_next, raised)", "log_next, -raised)", "sign of Munchausen's bonus"),
        (
            "(learner.gradient_steps + 1) %",
            "learner.gradient_steps %",
            "the target network moves too early",
            f"{DQN}::test_the_target_network_moves_when_it_is_told_to",
        ),
        (
            "epsilon, legal = jnp.where(greedy, 0.0, exploration)",
            "epsilon, legal = exploration",
            "greedy actions explore",
            f"{GREEDY}[dqn]",
        ),
        ("hypers.munchausen_clip, 0.0)", "-jnp.inf, 0.0)", "no clip"),
        ("best(by, steps.next_obs)", "best(by, steps.obs)", "illegal actions follow", f"{FOLLOWS}[dqn]"),
        ("tau, self.legal(steps.next_obs))", "tau, None)", "illegal actions follow", f"{FOLLOWS}[munchausen]"),
        ("self.action_space.n, legal), ()", "self.action_space.n), ()", "illegal exploration", f"{LEGALLY}[dqn]"),
    ),
    *within(
        "algos/sac.py",
        f"{ONE}what_sac_learns_of_discrete_actions",
        (
            "distribution.restrict(legal(self.env.observation_space, obs))",
            "distribution",
            "illegal actions",
            f"{LEGALLY}[sac]",
        ),
        ("weight, -jnp.exp(", "weight, jnp.exp(", "certainty is rewarded"),
        ("optimiser, missing)", "optimiser, -missing)", "the temperature runs away"),
        ("(alpha * log_prob - value)", "(alpha * log_prob + value)", "the worst action"),
        ("values.min(0)", "values.max(0)", "the policy goes by the greatest"),
        ("(weight * (alpha * log_prob", "(jnp.exp(0 * weight) * (alpha * log_prob", "actions unweighted"),
        (
            "self.action_space.to_unit(steps.action)",
            "steps.action",
            "actions in the environment's units",
            f"{ONE}critics_see_continuous_actions_within_the_unit_box[sac]",
        ),
        (
            "subset(k_subset, later, config.target_critics)",
            "later",
            "all critics",
            f"{ONE}a_target_of_sac_takes_as_many_critics_as_it_is_told",
        ),
    ),
    *within(
        "algos/td3.py",
        f"{ONE}what_td3_learns",
        ("loss = -self.head.value(outputs[0]", "loss = self.head.value(outputs[0]", "the worst action"),
        ("jnp.clip(noise, -hypers.target_noise_clip, hypers.target_noise_clip)", "noise", "smoothing without bounds"),
        (
            'self.critics_seen(slow["critics"]',
            'self.critics_seen(learner.params["critics"]',
            "no slow copy",
        ),
        ('self.actor_seen(slow["actor"]', 'self.actor_seen(learner.params["actor"]', "no slow policy"),
        ("jnp.where(greedy, 0.0, exploration) * jax", "exploration * jax", "greedy actions explore", f"{GREEDY}[td3]"),
    ),
    *within(
        "algos/revalued.py",
        f"{ONE}what_revalued_learns",
        ("apart = 1.0 - jnp.exp(", "apart = jnp.exp(", "what fits is held"),
        ("jax.lax.stop_gradient(utility)", "utility", "gradient through the weight"),
        (".mean(0).max(-1).mean(-1)", ".max(-1).mean(0).mean(-1)", "each critic's own best choice"),
        ("(batch.weight * losses.sum(0)).mean()", "(batch.weight * losses.mean(0)).mean()", "the mean over critics"),
        (
            "jnp.round(0.5 * (self.action_space.to_unit(action) + 1.0)",
            "jnp.round(0.5 * (self.action_space.to_unit(action) + 2.0)",
            "the next choice",
        ),
    ),
    *within(
        "nets/update_rule.py",
        f"{LPG}::test_only_a_temporal_rule_knows_of_the_run",
        ("jnp.minimum(horizon, 1e6)) / 3.0", "jnp.minimum(horizon, 1e6)) / 2.0", "order of magnitude"),
    ),
    *within(
        "algos/lpg.py",
        LPG_UPDATE,
        ("kl_divergence(log_y, log_y_hat)", "kl_divergence(log_y_hat, log_y)", "the other divergence"),
        ("policy_loss = -(pi_hat", "policy_loss = (pi_hat", "sign of pi_hat"),
        (
            "else jax.lax.stop_gradient(state.params)",
            "else state.params",
            "gradient through what the rule is shown",
            f"{LPG}::test_what_the_rule_is_shown_is_no_way_for_derivatives_unless_asked_for",
        ),
        (
            "next_value, *flags, hypers.discount, hypers.gae_lambda",
            "next_value, *flags, hypers.gae_lambda, hypers.discount",
            "discount and lambda",
            f"{LPG}::test_the_critic_learns_the_values_of_the_policy[table]",
        ),
    ),
]
