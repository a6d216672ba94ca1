"""Deliberate errors in environments with hidden tasks, and in the wrappers for agents that find them out."""

from __future__ import annotations

from mutants.mutant import within

HIDDEN, TASKS, MEMORY = (f"envs/test_{name}.py" for name in ("hidden_tasks", "task_wrappers", "memory_wrappers"))
STEPS, TRIAL, APART = (
    f"{HIDDEN}::test_a_room_step_by_step",
    f"{TASKS}::test_a_trial_step_by_step",
    f"{TASKS}::test_every_trial_has_a_task_and_every_episode_a_start_of_its_own",
)
ENDS = f"{TASKS}::test_the_end_of_a_trial"
MUTANTS = [
    *within(
        "envs/darkroom.py",
        STEPS,
        ("paid = found & ~state.found if once else found", "paid = found", "a goal that pays more than once"),
        ("0, side - 1)", "0, side - 2)", "a room without its last row"),
        (
            "jax.random.randint(key, (2,), 0, side)",
            "jax.random.randint(key, (2,), 1, side)",
            "goals that are never in the corner",
            f"{HIDDEN}::test_goals_are_uniform_over_all_cells",
        ),
    ),
    *within(
        "envs/keydoor.py",
        STEPS,
        ("(state.has_key & at_door)", "(has_key & at_door)", "a door that opens with the step that finds the key"),
        ("(opened & ~state.opened)", "(opened & at_door)", "a door that pays again"),
    ),
    *within(
        "envs/bandit.py",
        f"{HIDDEN}::test_a_bandit_pays_as_often_as_its_arm_says",
        ("jax.random.uniform(key) < task.arms", "jax.random.uniform(key) > task.arms", "losses for wins"),
        ("time + 1 >= task.pulls", "time >= task.pulls", "one pull more"),
    ),
    *within(
        "envs/task_wrappers.py",
        TRIAL,
        ("k_task, k_reset = jax.random.split(key)", "k_task = k_reset = key", "a task that tells the start", APART),
        ("k_step, k_reset = jax.random.split(key)", "k_step = k_reset = key", "noise that tells the start", APART),
        ("drawn = task_of.draw(k_task)", "drawn = task_of.draw(jax.random.key(0))", "one task for all trials", APART),
        ("first, fresh = ended, env", "first, fresh = jnp.array(False), env", "no first observation within a trial"),
        ("jnp.where(ended, new, old), fresh", "jnp.where(ended, old, old), fresh", "no reset within a trial"),
        (
            "if k > 1:  # else",
            "if k > 0:  # else",
            "the start of the next episode in place of the true successor",
            ENDS,
        ),
        ("truncated=no if objective else over", "truncated=over", "both flags", ENDS),
        ("terminated=over if objective else no", "terminated=over", "trials that always terminate", ENDS),
        ("jnp.arange(k) == state.episode", "jnp.arange(k) == episode", "the last reward is the next episode's"),
        (
            "lambda x, new: new if x is None else x",
            "lambda x, new: x if new is None else new",
            "a task that is given counts for nothing",
            f"{TASKS}::test_numbers_that_are_not_drawn_are_given_as_ever",
        ),
        (
            "task: k * limit(task)",
            "task: limit(task)",
            "a trial that is said to be as long as an episode",
        ),
        (
            "space.from_unit(unit.reshape(space.shape))",
            "unit.reshape(space.shape)",
            "actions that know no bounds",
            f"{TASKS}::test_a_projection_takes_actions_in_another_basis",
        ),
    ),
    *within(
        "envs/abstract.py",
        f"{TASKS}::test_what_is_drawn_is_found_in_functions_that_are_compiled_too",
        (
            "[any(given)] * len(equation.outvars) if inner is None else _marked(inner.jaxpr, given)",
            "[any(given)] * len(equation.outvars)",
            "everything that a compiled function gives counts as drawn",
        ),
    ),
    *within(
        "envs/memory_wrappers.py",
        f"{MEMORY}::test_behind_trials_every_episode_has_a_first_observation_and_the_last_reward_is_seen",
        ("if trial is None else trial.first", "if trial is None else jnp.array(False)", "the flag of the trial alone"),
        (
            "jnp.zeros(low.size), jnp.zeros(agents), jnp.array(True)",
            "jnp.zeros(low.size), jnp.zeros(agents), jnp.array(False)",
            "a first observation that says nothing",
        ),
        (
            "jnp.clip(flat_features(actions, action), low, high)",
            "flat_features(actions, action)",
            "actions outside of the space",
            f"{MEMORY}::test_the_past_of_all_kinds_of_actions",
        ),
        (
            "k_reset, k_noise = jax.random.split(key)",
            "k_reset = k_noise = key",
            "noise that tells the start",
            f"{MEMORY}::test_noise_on_a_step_is_not_the_noise_of_the_environment",
        ),
        (
            "space.clip(obs + sigma",
            "(obs + sigma",
            "noise that leaves the space",
            f"{MEMORY}::test_noise_has_the_deviation_and_the_bounds_that_are_said",
        ),
    ),
]
