"""Deliberate errors in what is kept of episodes, what they are relabelled with, and how a policy is commanded."""

from __future__ import annotations

from mutants.mutant import within

STORE, UDRL = "data/test_episodes.py", "algos/test_udrl.py"
KEEPS = f"{STORE}::test_it_keeps_the_best_of_all_episodes_whole"
WHOLE, ANY, LONG, RUNS, ALIKE = (
    f"{STORE}::test_{name}"
    for name in (
        "steps_are_commanded_what_their_episode_came_to",
        "steps_are_commanded_what_their_episode_had_come_to_at_any_later_step",
        "of_a_long_episode_the_first_steps_know_how_it_ended",
        "runs_are_in_order_and_end_with_their_episode",
        "episodes_are_drawn_alike_however_long_and_nothing_is_drawn_of_none",
    )
)
BEGINS, ACTS, RANDOM, LOSS, SEES, DRAWS, OUTCOMES = (
    f"{UDRL}::test_{name}"
    for name in (
        "a_command_is_given_as_an_episode_begins_and_its_steps_are_counted_down",
        "an_action_is_that_of_the_network_for_the_scaled_command",
        "random_actions_are_a_share_of_all_but_the_greedy_ones",
        "the_loss_is_the_likelihood_of_what_was_done_under_the_command",
        "a_memory_learns_from_what_it_saw_when_it_acted",
        "learning_draws_sequences_where_there_is_a_memory_and_steps_where_there_is_none",
        "episodes_are_commanded_by_the_best_of_all_so_far",
    )
)
MUTANTS = [
    *within(
        "data/episodes.py",
        KEEPS,
        ("steps.terminated | steps.truncated", "steps.terminated", "only what terminates is an episode"),
        ("jnp.where(reset, 0, x) for x", "x for x", "the return of the episode before"),
        ("- age  # when", "- age * 0  # when", "rows of another episode"),
        ("jnp.where(time < 0, number,", "jnp.where(time < 0, 0,", "the first step of what crosses a block"),
        (
            "jnp.concatenate([x, y]), new, buffer.best)",
            "jnp.concatenate([y, x]), new, buffer.best)",
            "the older of equals",
        ),
        ("Trajectories(begun, totals[-1], lengths[-1])", "Trajectories(begun, before[-1], age[-1])", "a step is lost"),
        ("jnp.where(both.lengths > 0, both.returns, -jnp.inf)", "both.returns", "no episode for a bad one"),
        ("jnp.maximum(kept - run, 0) + 1", "kept", "runs that leave their episode", RUNS),
        ("jnp.float32(end[None] - time)", "jnp.float32(end[None] - time - 1)", "a step less", WHOLE),
        ("jnp.broadcast_to(returned, time.shape)", "jnp.broadcast_to(returned + time, time.shape)", "not R", WHOLE),
        ("start + 1, kept + 1)", "start + 1, kept)", "no stretch ends where its episode does", ANY),
        ("jnp.where(drawn < kept, before, returned), jnp", "returned, jnp", "R of the whole for a part", ANY),
        ("jnp.where(drawn < kept, drawn, length)", "drawn", "an end where there was no more room", LONG),
        ("(time < jnp.minimum(end, kept)[None])", "(time >= 0)", "what follows an episode is learned", RUNS),
        ("jnp.maximum(count, 1))", "self.capacity)", "episodes that are missing", ALIKE),
    ),
    *within(
        "ops/commands.py",
        "ops/test_commands.py",
        ("jnp.where(greedy, 0.0,", "jnp.where(greedy, 1.0,", "the most for the mean"),
        ("self.mean + self.std * better", "self.mean - self.std * better", "less than they came to"),
        ("real = lengths > 0", "real = lengths >= 0", "missing episodes count"),
        ("jnp.maximum(command[:, 1] - 1.0, 1.0)", "command[:, 1] - 1.0", "no step is left"),
    ),
    *within(
        "algos/udrl.py",
        BEGINS,
        ('jnp.where(reset[:, None], begun, carry["command"])', "begun", "a new command at every step"),
        ("command=count_down(command)", "command=command", "steps are not counted"),
        ("x[: self.config.command_episodes]", "x", "commands by all that is remembered", OUTCOMES),
        (
            "state = state.replace(**self.acting(state.buffer, hypers))",
            "state = state.replace(**self.acting(self.store.init(), hypers))",
            "commands of nothing",
            OUTCOMES,
        ),
        ("scale[None] * command", "command", "no scale", f"{ACTS} {LOSS}"),
        ("jnp.where(greedy, 0.0, state.epsilon)", "state.epsilon", "greedy at random", RANDOM),
        ("-jnp.where(mask, policy.log_prob(action), 0.0)", "-policy.log_prob(action)", "masked steps count", LOSS),
        ("jnp.maximum(mask.sum(), 1)", "mask.size", "a mean over masked steps", LOSS),
        (
            '1 if self.config.memory == "none" else self.config.sequence',
            "1",
            "a memory that learns from one step",
            DRAWS,
        ),
        ('Past(carry["memory"], reset[None])', 'Past(carry["memory"], ~reset[None])', "remembers at the start", SEES),
    ),
    *within(
        "off_policy/imitation.py",
        OUTCOMES,
        (
            "return state.replace(episodes=episodes, carry=self.initial",
            "return state.replace(carry=self.initial",
            "the policy goes on with what it was not commanded to do",
        ),
        (
            "found[NOT_FINITE] | learned[NOT_FINITE]",
            "learned[NOT_FINITE]",
            "what the environment spoiled is the policy's",
            "test_run.py::test_a_nan_from_the_environment_is_named_as_such",
        ),
    ),
    *within(
        "nets/commanded.py",
        f"{UDRL}::test_it_comes_to_what_it_is_commanded",
        ("x * nn.sigmoid(nn.Dense(x.shape[-1])(command))", "x + 0.0 * command.sum()", "commands are not heard"),
    ),
]
