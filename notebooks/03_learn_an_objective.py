# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Learn an objective
#
# PPO clips the probability ratio: somebody's idea of how far a policy may move. Learned Policy Optimisation lets
# evolution find a better one: a small network adds to the *drift* that restrains the policy, and whatever its weights
# are, the first step from the old policy remains the policy gradient. It begins as PPO.
#
# Takes about a minute on two cores.

# %%
import matplotlib.pyplot as plt

import rljax
from rljax.meta import compare, spec
from rljax.meta.strategies import OpenES, raw
from rljax.objectives import LPO, network
from rljax.results.objective_plots import plot_objective

# %% [markdown]
# ## Evolve it
#
# Every member of the population is a drift; its fitness is the mean return over a whole training run, here 24 thousand
# steps of Catch. All members of a generation have the same seed, so that they differ in their drift alone. The
# result is the mean of the population, evaluated on validation runs that the search does not learn from.

# %%
settings = {"lr": 4e-3, "num_epochs": 16, "num_envs": 16, "num_steps": 64, "hidden": (32, 32)}
found = rljax.evolve(
    "ppo",
    "Catch-bsuite",
    steps=24_576,
    objective=LPO(**network(8, 16)),
    strategy=OpenES(popsize=16, shaping=raw, sigma=0.1, lr=0.05),
    generations=12,
    kind="mean",
    validation_runs=8,
    validate_every=4,
    **settings,
)

# %% [markdown]
# ## Look at it

# %%
gain = {name: found.history[f"gain/Catch-bsuite{name}"] for name in ("", "/low", "/high")}
evaluated = gain[""] == gain[""]
plt.figure(figsize=(6, 3))
plt.plot(found.history["generation"][evaluated], gain[""][evaluated], marker="o")
plt.fill_between(found.history["generation"][evaluated], gain["/low"][evaluated], gain["/high"][evaluated], alpha=0.2)
plt.axhline(0, color="grey", linestyle=":")
plt.xlabel("generation")
plt.ylabel("mean return above PPO's")
plt.title("eight validation runs, paired, 95 % interval")
plt.tight_layout()

# %% [markdown]
# Its effect on the policy: above, how strongly it restrains it (the drift); below, the advantage that the policy feels.
# PPO feels nothing beyond its clip; where a learned one is hatched it pulls back.

# %%
picture = plt.imread(plot_objective(found.objective, "learned.png", name="learned"))
plt.figure(figsize=(9, 9.4))
plt.imshow(picture)
plt.axis("off")
plt.tight_layout()

# %% [markdown]
# ## Use it
#
# It is a leaf of `hypers` like any other. Against PPO, and against PPO with a wider clip, on runs that none has seen:

# %%
contenders = {"learned": found.objective, "ppo": "ppo-clip"}
domains = {
    name: [spec.domain("ppo", "Catch-bsuite", 24_576, objective=objective, **settings)]
    for name, objective in contenders.items()
}
domains["ppo, clip 0.5"] = [spec.domain("ppo", "Catch-bsuite", 24_576, **{"objective.clip": 0.5}, **settings)]
comparison = compare.compare(domains, seeds=16, kind="mean")
assert comparison is not None
print(comparison.table().to_string(index=False, float_format="{:.3g}".format))

# %% [markdown]
# One task and twelve generations are little. `rljax meta-train lpo --env A --env B ...` learns from several tasks at
# once, for as long as you like, in a folder that can be killed and resumed; `rljax meta-eval` compares the result.
