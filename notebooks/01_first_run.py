# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A first run
#
# Train PPO on CartPole, look at what it learned, change the objective by one line, and compare the two on several
# seeds. Takes well under a minute on two cores.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rljax
from rljax.objectives import PPOClip
from rljax.results.stats import mean_ci
from rljax.run import run

# %% [markdown]
# ## Train
#
# Names in, a run out. `out="runs/first"` would keep it in a folder, with checkpoints to resume from.

# %%
STEPS = 100_000
first = rljax.train("ppo", "CartPole-v1", steps=STEPS, seed=0)

mean, low, high = mean_ci(first.evaluate(episodes=64))
print(f"return after {first.step:,} steps: {mean:.0f} [{low:.0f}, {high:.0f}]")

# %%
fig, axes = plt.subplots(figsize=(6, 3))
axes.plot(first.metrics["step"], first.metrics["episode_return"])
axes.set(xlabel="environment steps", ylabel="episode return", title="One seed")
fig.tight_layout()

# %% [markdown]
# ## Use the policy
#
# It takes a batch of observations.

# %%
upright_and_tilting = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.15, 0.5]], np.float32)
print("actions:", first.policy(upright_and_tilting))


# %% [markdown]
# ## Change the objective
#
# An objective is a pytree with a `__call__`: how the log-ratio and the advantage become a loss. PPO's clip, without
# the minimum that makes it pessimistic, is one line away.


# %%
class OptimisticClip(PPOClip):
    """PPO's clipped ratio without the pessimistic minimum."""

    def __call__(self, log_ratio, advantage, progress):
        return -jnp.clip(jnp.exp(log_ratio), 1 - self.clip, 1 + self.clip) * advantage


# %% [markdown]
# ## Compare, seed by seed
#
# A whole run is a pure function of a key and of numbers, so many seeds are one `vmap`, and one compiled program.

# %%
SEEDS = 6


def curves(**settings):
    """Episode returns [S, U] of `SEEDS` runs."""
    algo, env = rljax.make("ppo", "CartPole-v1", num_envs=16, num_minibatches=8, lr=1e-3, **settings)
    updates = STEPS // algo.steps_per_update
    hypers = algo.hypers.replace(horizon=float(updates))
    one_run = partial(run, algo, hypers=hypers, task=env.task, num_updates=updates)
    _, metrics = jax.jit(jax.vmap(lambda key: one_run(key)))(jax.random.split(jax.random.key(0), SEEDS))
    return np.arange(1, updates + 1) * algo.steps_per_update, np.asarray(metrics["episode_return"])


results = {"pessimistic (PPO)": curves(), "optimistic": curves(objective=OptimisticClip())}

# %%
fig, axes = plt.subplots(figsize=(6, 3.5))
for name, (steps, returns) in results.items():
    centre, low, high = np.array([mean_ci(column) for column in returns.T]).T
    (line,) = axes.plot(steps, centre, label=name)
    axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2)
    last = returns[:, -10:].mean(axis=1)
    print(f"{name}: {mean_ci(last)[0]:.0f} [{mean_ci(last)[1]:.0f}, {mean_ci(last)[2]:.0f}] over {SEEDS} seeds")
axes.set(xlabel="environment steps", ylabel="episode return", title=f"Mean of {SEEDS} seeds, 95 % interval")
axes.legend()
fig.tight_layout()
