# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A sweep
#
# Train every setting with every seed, look at the scores with intervals, find out which field matters, and take the
# best policy home. Takes about a minute on two cores.

# %%
import matplotlib.pyplot as plt

import rljax
from rljax.results.stats import probability_of_improvement
from rljax.sweeps import planning, spec

# %% [markdown]
# ## Ask for a plan
#
# Any field can be swept: a hyperparameter (`lr`), a part of the objective (`objective.clip`), a shape (`num_envs`), the
# environment's physics (`task.length`), the environment or the algorithm itself. Rows that differ by numbers alone
# share one compiled program; rows that differ by shapes get one each.

# %%
settings = {
    "steps": 60_000,
    "seeds": 6,
    "grid": {"lr": [3e-4, 1e-3, 3e-3], "num_envs": [8, 32]},
    "num_minibatches": 8,
}
print(planning.make_plan(spec.specify("ppo", "CartPole-v1", **settings)))

# %% [markdown]
# ## Run it
#
# `out="sweeps/first"` would keep it in a folder. There it could be killed at any time: the same call continues it, and
# ends with the same arrays.

# %%
result = rljax.sweep("ppo", "CartPole-v1", **settings)
print(result)

# %% [markdown]
# ## Look at it
#
# Arrays have the axes row, seed and update; `curve` gives each row's interquartile mean with a 95 % bootstrap interval.

# %%
fig, axes = plt.subplots(figsize=(6, 3.5))
for row, (steps, centre, low, high) in zip(result.rows, result.curve()):
    (line,) = axes.plot(steps, centre, label=", ".join(f"{name}={value:g}" for name, value in row.items()))
    axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15)
axes.set(xlabel="environment steps", ylabel="episode return", title="Interquartile mean of 6 seeds, 95 % interval")
axes.legend(fontsize=7)
fig.tight_layout()

# %% [markdown]
# ## Compare two rows
#
# All rows were trained with the same seeds. How likely is a run of the best row to beat a run of another one?

# %%
best = result.best()
print(f"best: {best.settings}, {best.value:.0f} [{best.low:.0f}, {best.high:.0f}]")
few, many = (result.select(lr=1e-3, num_envs=n).scores()[0] for n in (8, 32))
likely, low, high = probability_of_improvement(few, many)
print(f"at lr=1e-3, 8 environments beat 32 with probability {likely:.2f} [{low:.2f}, {high:.2f}]")

# %% [markdown]
# ## Use the winner
#
# With `out=...`, `rljax report sweeps/first` writes all of this, and more, into one page.

# %%
policy = result.policy(best.row, seed=0)
print(f"its greedy return: {policy.evaluate(32).mean():.0f}")
