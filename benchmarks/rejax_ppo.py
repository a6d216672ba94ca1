"""The same workload on rejax's PPO; runs in an environment where rejax is installed and rljax is not."""

import jax
import rejax
from worker import Program, jitted


def build(workload, agents):
    """rejax's own `train`, without the evaluations that it makes between updates."""
    s = workload.settings
    algo = rejax.PPO.create(
        env=workload.env,
        agent_kwargs={"activation": s["activation"], "hidden_layer_sizes": s["hidden"]},
        num_envs=s["num_envs"],
        num_steps=s["num_steps"],
        num_epochs=s["num_epochs"],
        num_minibatches=s["num_minibatches"],
        learning_rate=s["lr"],
        gamma=s["discount"],
        gae_lambda=s["gae_lambda"],
        clip_eps=0.2,
        ent_coef=s["entropy_coef"],
        vf_coef=s["value_coef"],
        max_grad_norm=s["max_grad_norm"],
        total_timesteps=workload.updates * workload.batch,
        eval_freq=workload.updates * workload.batch,
        skip_initial_evaluation=True,
    )
    evaluate, silent = algo.eval_callback, algo.replace(eval_callback=lambda algo, state, key: ())
    train = silent.train if agents == 0 else jax.vmap(silent.train)

    def keys(seed):
        key = jax.random.PRNGKey(seed)
        return (key if agents == 0 else jax.random.split(key, agents),)

    def score(out):
        """The mean return of 128 episodes of the final policy (of the first agent): rejax keeps no training return."""
        state = out[0] if agents == 0 else jax.tree.map(lambda x: x[0], out[0])
        return float(jax.jit(lambda state: evaluate(algo, state, jax.random.PRNGKey(0))[1].mean())(state))

    return Program(jitted(train, keys), score)
