"""Deliberate errors around runs and sweeps: evaluation, extension, merging, and what leaves rljax."""

from __future__ import annotations

from mutants.mutant import within

EVALUATED = "test_evaluation.py"
SWEPT = "sweeps/test_evaluated.py"
EXTENDED, MERGED = "sweeps/test_extending.py", "sweeps/test_merging.py"
FILES = "deploy/test_files.py"
HOST = "envs/test_gymnasium.py"
MUTANTS = [
    *within(
        "spec.py",
        "test_api.py::test_a_finished_run_gets_another_end",
        ('if name != "horizon" or not by_length}', "}", "what anneals goes by the former length"),
    ),
    *within(
        "evaluation.py",
        EVALUATED,
        ("updates == total or updates %", "updates %", "no evaluation at the end"),
        ("else elsewhere(env, self.env), self.task)", "else elsewhere(env, self.env), {})", "its task is not changed"),
        ("here = env.task if self.env is not None else", "here = env.task if True else", "a row's own task", SWEPT),
        ("return _replaced(learned_on.task, learned_on.ends)", "return learned_on.task", "as it begins", SWEPT),
    ),
    *within(
        "trainer.py",
        EVALUATED,
        ("self._best is None or score > self._best.score", "True", "the last is kept"),
        ("policy if self.folder else policy.with_own_state()", "policy", "its state is donated"),
        ("shutil.rmtree(kept.folder)", "pass", "a killed run meets its own future"),
    ),
    *within(
        "watch.py",
        EVALUATED,
        (
            "row.get(RETURN if self.evaluation else metrics.RETURN)",
            "row.get(metrics.RETURN)",
            "a row's",
        ),
    ),
    *within(
        "run.py",
        EVALUATED,
        ("force=done == num_updates or ending or bool(received)", "force=done == num_updates", "the end is not saved"),
    ),
    *within(
        "sweeps/execute.py",
        SWEPT,
        (
            "~self.diverged & (found > before)",
            "~self.diverged",
            "the last",
        ),
        ('self.best = jax.tree.map(as_numpy, found.state["best"])', "pass", "a kill forgets the best"),
        ("return next(due) - self.done", "return most", "calls that pass by an evaluation"),
    ),
    *within(
        "sweeps/extending.py",
        EXTENDED,
        (
            "[dataclasses.replace(g, seeds=g.seeds or old) for g in known]",
            "known",
            "all seeds again",
        ),
        ("planned += further", "pass", "no new seeds"),
        ('every.append(settings | {"horizon": "the length"})', "pass", "a longer row is another"),
        ("require(not lengthened,", "require(True,", "seeds of another length"),
    ),
    *within(
        "sweeps/merging.py",
        MERGED,
        ("numbers[-1].append(list(rows).index(key))", "numbers[-1].append(len(rows) - 1)", "rows change places"),
        ('"seeds": group["seeds"] or part["seeds"]', '"seeds": group["seeds"]', "seeds that were never run"),
        ('del flat["horizon"]  # which the length sets', "pass", "a horizon that follows is said to vary"),
    ),
    *within(
        "sweeps/wandb_runs.py",
        "sweeps/test_wandb_runs.py",
        ("if reached > done:", "if reached:", "everything is sent again"),
        ("(found.update[row] > done) &", "", "a longer run is sent from its start"),
    ),
    *within(
        "engine/remembered.py",
        "engine/test_remembered.py",
        ("if time.time() - path.stat().st_mtime < DAY:", "if True:", "measurements of yesterday"),
    ),
    *within(
        "deploy/trace.py",
        FILES,
        ("return values[1 + int(which[0])] if len(which) == 1 else None", "return None", "samples stay in files"),
        ("sorted(by_name.items(), key=_actions_first)", "by_name.items()", "carries come out first"),
    ),
    *within(
        "deploy/params.py",
        FILES,
        ("return None if any(inner for *_, inner in pads)", "return None if True", "no padding"),
        ("b[j] = a[i]", "pass", "sums over nothing"),
    ),
    *within(
        "deploy/numpy_policy.py",
        FILES,
        ('found.get(f"next_{n}", x)', "x", "a memory forgets"),
    ),
    *within(
        "deploy/agent.py",
        "deploy/test_agent.py",
        ("None if self._greedy else key", "key", "sampled where greedy"),
    ),
    *within(
        "envs/gymnasium.py",
        HOST,
        ("for action in actions[:time]:", "for action in actions[:0]:", "an episode that is begun anew"),
        ("truncated = (truncated | (time >= limit)) & ~terminated", "truncated = truncated | (time >= limit)", "both"),
        ("return int(action) + int(start) if", "return int(action) if", "actions from 0"),
        ("if env is None and time >= length:", "if False:", "beyond an end"),
    ),
    *within(
        "types.py",
        "test_types.py",
        ('fields["time_limit"] = lambda task: most', "pass", "a number without effect"),
    ),
    *within(
        "registry.py",
        "test_plugins.py::test_a_factory_of_an_environment_is_given_by_its_path",
        (
            "source=path.partition(COLON)[0])",
            'source="")',
            "nobody knows whose it is",
        ),
    ),
    *within(
        "log.py",
        "test_log.py",
        ('require(name in WANDB, "wandb"', 'require(True, "wandb"', "options that wandb does not have"),
        ("for summary in self._settings():", "for summary in ():", "settings are not compared"),
    ),
]
