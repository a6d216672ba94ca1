"""Deliberate errors in the loops: rollouts, runs, evaluation, and populations."""

from __future__ import annotations

from mutants.mutant import within

ENDS = "ops/test_rollout.py::test_episode_ends"
LIMIT = "test_run.py::test_an_evaluated_episode_ends_at_a_limit_too_and_counts_nothing_after"
OPENS = "test_run.py::test_only_the_first_observation_opens_an_evaluated_episode"
POPULATION = "engine/test_program.py"
RANKING = "sweeps/test_ranking.py::test_a_diverged_row_has_no_score_and_is_last"
RESULT, SEARCH = (f"sweeps/test_{name}.py::test_" for name in ("result", "search"))
PAIR = "ops/test_rollout.py::test_an_episode_of_two_agents_ends_with_the_last_of_them"
MUTANTS = [
    *within(
        "warm_start.py",
        "test_api.py::test_a_run_begins_with_what_another_has_learned",
        ("if _is_learned(n) else leaf", "if False else leaf", "nothing is taken over"),
        ('require(not other, "start"', 'require(True, "start"', "networks of other sizes"),
    ),
    *within(
        "api.py",
        "test_api.py::test_a_finished_run_gets_another_end",
        ("require(made.updates > done", "require(made.updates > 0", "an end that is past"),
    ),
    *within(
        "trainer.py",
        "test_api.py::test_functions_of_the_user_are_called_between_chunks",
        ("row.get(name, np.nan) for row in rows", "row.get(name, 0.0) for row in rows", "numbers where there are none"),
        ("and name not in row and", "and", "columns of the run are replaced"),
    ),
    *within(
        "envs/gymnax_api.py",
        "envs/test_gymnax_api.py",
        ("truncated=result.terminated & ~terminated", "truncated=result.terminated", "both flags"),
        (
            "result.terminated & jnp.asarray(env.is_terminal(state, far), bool)",
            "result.terminated",
            "a limit is taken for the end",
        ),
        ('require(hasattr(type(env), "step_env")', 'require(hasattr(env, "step_env")', "wrappers are lost"),
    ),
    *within(
        "plugins.py",
        "test_plugins.py",
        ('os.environ.get(VARIABLE, "")', '""', "the environment variable is not read"),
        ("sys.modules[name] = module  # before", "pass  # before", "modules without their names"),
        ("if _found or not _enabled:", "if _found:", "plugins where there are to be none"),
        (
            "for forget in undo:",
            "for forget in ():",
            "half a plugin stays",
            "test_plugins.py::test_a_plugin_that_fails_half_way_leaves_nothing",
        ),
        (
            "_known[source].version != _version(source, None)",
            "False",
            "a file is run but once",
            "test_plugins.py::test_a_file_that_has_changed_is_run_again",
        ),
    ),
    *within(
        "origins.py",
        "test_plugins.py",
        ("raise _missing(f", "raise ConfigError(f", "nothing is said of the plugin"),
        ("return {source: plugins.version(source) for", "return {source: '' for", "no versions"),
    ),
    *within(
        "registry.py",
        "test_plugins.py::test_in_a_notebook",
        ("_differs(self.registered()[name], entry)", "False", "other code is registered silently"),
        (
            "before in (None, here)",
            "True",
            "the last of two plugins has the name",
            "test_plugins.py::test_of_two_plugins_one_has_a_name",
        ),
    ),
    *within(
        "ops/rollout.py",
        ENDS,
        (
            "ended = env.ended(result.terminated, result.truncated)",
            "ended = env.ended(result.terminated, result.terminated)",
            "a limit does not end an episode",
        ),
        (
            "replace(reset=ended)",
            "replace(reset=result.terminated)",
            "a limit does not mark a start",
        ),
        (
            "flags = result.terminated, result.truncated",
            "flags = result.truncated, result.terminated",
            "flags swapped",
        ),
        ("TimeStep(episodes.obs, action", "TimeStep(result.obs, action", "what was seen is what came after"),
        (
            "episodes.returns + result.reward, episodes.lengths + 1",
            "result.reward, episodes.lengths + 1",
            "the last reward for the return",
        ),
        ("jnp.where(ended, lengths, 0)", "lengths", "lengths of episodes that go on"),
        (
            "return i + block,",
            "return i + block + 1,",
            "a row that is not reset",
            "ops/test_rollout.py::test_resetting_only_what_ended_changes_no_number",
        ),
        ("jnp.zeros((num_envs, *agents), jnp", "jnp.ones((num_envs, *agents), jnp", "returns begin at 1"),
        (
            "if env.agents is None else x.mean(-1)",
            "if env.agents is None else x.sum(-1)",
            "returns of agents add up",
            PAIR,
        ),
    ),
    *within(
        "ops/rollout.py",
        LIMIT,
        (
            "play.alive & ~env.ended(result.terminated, result.truncated)",
            "play.alive & ~result.terminated",
            "a limit does not end a played episode",
        ),
        ("jnp.full(play.alive.shape, play.t == 0)", "jnp.full(play.alive.shape, play.t != 0)", "what opens it", OPENS),
    ),
    *within(
        "ops/metrics.py",
        "test_run.py::test_rows_weigh_returns_by_episodes",
        ("x, 0.0) * episodes).sum(-1)", "x, 0.0)).sum(-1)", "episodes unweighted"),
    ),
    *within(
        "run.py",
        LIMIT,
        (
            "jnp.where(playing.alive, returns + mean_over_agents(env, step.reward), returns)",
            "returns + 1.0",
            "the dead go on",
        ),
        (
            "n = min(size - done % size, num_updates - done)",
            "n = min(size, num_updates - done)",
            "points elsewhere after a stop",
            "test_run.py::test_stopping_and_going_on_changes_no_bit",
        ),
    ),
    *within(
        "divergence.py",
        "test_run.py",
        (
            "spoiled = [~np.isfinite(x)",
            "spoiled = [np.isnan(x)",
            "infinities are fine",
            "test_run.py::test_an_infinity_is_a_divergence_too",
        ),
        (
            "metrics[name] != 0 for name",
            "metrics[name] < 0 for name",
            "what the environment spoils is fine",
            "test_run.py::test_what_the_environment_spoils_has_diverged_though_all_metrics_are_finite",
        ),
    ),
    *within(
        "engine/program.py",
        f"{POPULATION}::test_what_differs_has_an_axis_and_nothing_else",
        (
            "algo.init(jax.random.key(seed), *inputs",
            "algo.init(jax.random.key(0), *inputs",
            "one seed for all",
            f"{POPULATION}::test_members_side_by_side_are_lone_runs_up_to_rounding",
        ),
        ("np.stack(column) if", "np.stack(column[::-1]) if", "numbers of another member"),
        ("return not all(np.array_equal(", "return not any(np.array_equal(", "what differs from all others"),
        (
            "(values != values[0]).any()",
            "(values != values[0]).all()",
            "numbers that differ from all others",
            f"{POPULATION}::test_numbers_differ_if_programs_tell_them_apart",
        ),
    ),
    *within(
        "engine/plan.py",
        "engine/test_plan.py",
        (
            "range(self.start + self.log_every, self.updates + 1",
            "range(self.start, self.updates + 1",
            "a point before the first",
        ),
        ("tuple(members[i : i + self.width])", "tuple(members[i : i + self.width + 1])", "members twice"),
        (
            "varying <= set(models[key].varying)",
            "varying >= set(models[key].varying)",
            "a program that varies too little",
        ),
        (
            "structure, kinds, tuple(map(_shape, leaves))",
            "structure, kinds",
            "one program for all shapes",
        ),
    ),
    *within(
        "sweeps/space.py",
        "sweeps/test_space.py",
        (
            "math.exp(generator.uniform(math.log(self.low), math.log(self.high)))",
            "generator.uniform(self.low, self.high)",
            "log-uniform",
        ),
        ("int(self.high) + 1", "int(self.high)", "the upper end"),
        ("for cell in cells for point in points", "for point in points for cell in cells", "order of rows"),
        (
            'np.geomspace if kind == "log" else np.linspace',
            'np.linspace if kind == "log" else np.geomspace',
            "log and linear",
        ),
    ),
    *within(
        "sweeps/execute.py",
        "sweeps/test_execute.py::test_of_a_state_what_the_policy_reads_is_kept",
        (
            "np.where(self.diverged, np.nan, x)",
            "x",
            "curves of what diverged",
            "sweeps/test_execute.py::test_a_curve_ends_where_its_run_diverged_whatever_comes_after",
        ),
        ("if id(x) in read]", "if id(x) not in read]", "what no policy reads"),
        (
            "skipped = self.updates - self.done",
            "skipped = 0 * self.updates",
            "steps that need not be done",
            "sweeps/test_execute.py::test_reports_add_up_to_all_steps",
        ),
    ),
    *within(
        "sweeps/result.py",
        RANKING,
        (
            "argmax(np.where(np.isfinite(scores)",
            "argmin(np.where(np.isfinite(scores)",
            "the policy of the worst seed",
            f"{RESULT}the_policy_by_default_is_the_best_rows_best_seed",
        ),
    ),
    *within(
        "sweeps/ranking.py",
        RANKING,
        (
            "> (1 - last) * result.reached",
            "> last * result.reached",
            "the score of all but the first tenth",
            f"{RESULT}scores_are_means_over_the_end_weighted_by_episodes",
        ),
        (
            "(total > 0) & ~result.diverged, sums",
            "total > 0, sums",
            "the score of what diverged",
            "sweeps/test_ranking.py::test_a_diverged_run_is_the_worst_on_its_environment",
        ),
        (
            "(-score.value, ",
            "(score.value, ",
            "worst first",
            "sweeps/test_ranking.py::test_a_ranking_is_of_one_environment",
        ),
        ("not known, -share[score.row]", "known, -share[score.row]", "what has no score comes first"),
        (
            "if len(on) > 1:",
            "if len(on) > 9:",
            "returns of different environments",
            "sweeps/test_ranking.py::test_a_ranking_is_of_one_environment",
        ),
    ),
    *within(
        "sweeps/search.py",
        f"{SEARCH}the_best_rows_of_all_groups_go_on",
        ("key=lambda s: -s.value", "key=lambda s: s.value", "the worst rows go on"),
        (
            "/ self.eta**rung)",
            "/ (self.eta * rung))",
            "shares of later rungs",
            f"{SEARCH}where_rungs_are_one_the_share_is_that_of_the_last",
        ),
        (
            "if not result.diverged[row].all()]",
            "if True]",
            "what diverged goes on",
            f"{SEARCH}a_diverged_row_does_not_go_on",
        ),
    ),
]
