"""Deliberate errors in meta-learning: strategies, fitness, meta-gradients, judgements."""

from __future__ import annotations

from mutants.mutant import within

STRATEGIES, GRADIENT = "meta/test_strategies.py", "meta/test_gradient.py"
MUTANTS = [
    *within(
        "meta/strategies.py",
        f"{STRATEGIES}::test_one_step_by_hand",
        (
            "jnp.concatenate([step, -step])",
            "jnp.concatenate([step, step])",
            "pairs that are not mirrored",
            f"{STRATEGIES}::test_members_of_a_pair_are_mirrored",
        ),
        ("weights[:half] - weights[half:])", "weights[:half] + weights[half:])", "pairs added"),
        (
            "total / (self.popsize * sigma)",
            "total / self.popsize",
            "no sigma",
            f"{STRATEGIES}::test_the_gradient_is_right_in_expectation",
        ),
        ("jax.tree.map(jnp.negative, self.gradient(", "jax.tree.map(jnp.positive, self.gradient(", "minimised"),
        (
            "(worse + not_better - 1)",
            "(worse + not_better)",
            "ranks off by a half",
            f"{STRATEGIES}::test_centred_ranks",
        ),
        (
            "jnp.where(first > second, 1.0, 0.0)",
            "jnp.where(first < second, 1.0, 0.0)",
            "the loser wins",
            f"{STRATEGIES}::test_pairwise",
        ),
        (
            "variance = jnp.square(centred).mean()",
            "variance = jnp.square(centred).sum()",
            "variance by the sum",
            f"{STRATEGIES}::test_z_score",
        ),
        ("jnp.where(fine.any(), worst, 0.0)", "0.0", "a diverged member beats the bad ones", f"{STRATEGIES}::test_raw"),
        (
            "jnp.maximum(start * decay**generation",
            "jnp.minimum(start * decay**generation",
            "limits",
            f"{STRATEGIES}::test_schedules_decay_to_their_limits",
        ),
    ),
    *within(
        "meta/fitness.py",
        "meta/test_fitness.py",
        (
            "weight *= n > np.minimum((1 - LAST) * updates",
            "weight *= n > np.minimum(LAST * updates",
            "all but the first tenth",
        ),
        ("weight = (weight > 0).astype(float)", "pass", "weighted by episodes"),
        ("columns.mean(1)", "columns[:, 0]", "the first run alone"),
        ("NORMALISERS[normaliser], 1, 1)", "NORMALISERS[normaliser], 0, 0)", "ranks over runs"),
    ),
    *within(
        "meta/outer_loss.py",
        "meta/test_outer_loss.py",
        (
            "return -gain - entropy_coef * entropy",
            "return -gain + entropy_coef * entropy",
            "sign of the bonus",
        ),
        ("return -gain - entropy_coef", "return gain - entropy_coef", "descent for ascent"),
        (
            "return value + sum(",
            "return value - sum(",
            "sign of the regularisers",
            "algos/test_lpg.py::test_the_regularisers_of_the_outer_loss",
        ),
    ),
    *within(
        "meta/gradient.py",
        f"{GRADIENT}::test_agents_live_as_long_as_they_should_and_nothing_leaks",
        ("agents.age >= agents.lifetime", "agents.age > agents.lifetime", "lifetimes that do not end"),
        ("alive = age < lifetime", "alive = age <= lifetime", "one update too many"),
        (
            "agents.lifetime, agents.task, keys[:, 1])",
            "agents.lifetime, agents.task, keys[:, 0])",
            "a key used twice",
            f"{GRADIENT}::test_keys_are_never_reused_and_ranks_never_promoted",
        ),
        (
            "_choose(usable, (theta, opt), (state.theta, state.opt))",
            "theta, opt",
            "a NaN moves theta",
            f"{GRADIENT}::test_diverged_agents_are_replaced_and_poison_nothing",
        ),
        (
            "return losses.mean(), (losses",
            "return losses.sum(), (losses",
            "sum over agents",
            f"{GRADIENT}::test_a_quadratic_in_closed_form",
        ),
    ),
    *within(
        "meta/validation.py",
        "meta/test_validation.py",
        (
            "np.isfinite(both), initial=np.inf)",
            "np.isfinite(both), initial=-np.inf)",
            "a diverged run is worse than the worst",
        ),
        ("stats.paired_difference(now, before)", "stats.paired_difference(before, now)", "sign of a gain"),
        ("run.domain == number for run", "run.domain >= number for run", "runs on other domains"),
    ),
    *within(
        "meta/tasks.py",
        "meta/test_tasks.py",
        ("generator.uniform(math.log(low), math.log(high))", "generator.uniform(low, high)", "lengths"),
        ("np.geomspace(low, high, count)", "np.linspace(low, high, count)", "lengths of held-out runs"),
        ("(generation * count + i) % len(domains)", "i % len(domains)", "domains left out"),
        ("default_rng([seed, 2**32])", "default_rng([seed, 0])", "held-out runs are learned from"),
    ),
    *within(
        "meta/compare.py",
        "meta/test_compare.py::test_the_table_says_what_the_scores_say",
        ("stats.paired_difference(first, scores,", "stats.paired_difference(scores, first,", "sign of a gain"),
        ("probability_of_improvement(first, scores)", "probability_of_improvement(scores, first)", "who wins"),
        ("worst = np.min(", "worst = np.max(", "a diverged run is the best one"),
        (
            "found.reshape(seeds, len(names), count).transpose(1, 2, 0)",
            "found.reshape(len(names), count, seeds)",
            "axes of scores",
            "meta/test_compare.py::test_a_validation_run_is_the_run_of_that_seed",
        ),
    ),
    *within(
        "meta/runner.py",
        "meta/test_tasks.py::test_parts_of_hypers_are_read_written_and_found_by_name",
        ("whole[: n + 1]) in wanted", "whole[:n]) in wanted", "leaves found by their own names"),
    ),
    *within(
        "meta/runner.py",
        "meta/test_fitness.py::test_what_comes_after_a_run_is_no_divergence",
        ("np.arange(length) < updates[:, None]", "np.arange(length) <= updates[:, None]", "what comes after the end"),
        ("np.where(alive, x, 0) for name", "np.where(alive, 0, x) for name", "only what comes after the end"),
    ),
]
