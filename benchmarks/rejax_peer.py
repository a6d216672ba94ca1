"""The same workloads on rejax; runs in an environment where rejax is installed and rljax is not."""

import jax
import rejax
from program import Program, each, jitted


def ppo(s):
    """The settings of its PPO, from ours."""
    return {
        "agent_kwargs": {"activation": s["activation"], "hidden_layer_sizes": s["hidden"]},
        "num_steps": s["num_steps"],
        "num_epochs": s["num_epochs"],
        "num_minibatches": s["num_minibatches"],
        "gae_lambda": s["gae_lambda"],
        "clip_eps": 0.2,
        "ent_coef": s["entropy_coef"],
        "vf_coef": s["value_coef"],
        "max_grad_norm": s["max_grad_norm"],
    }


def replay(s):
    """The settings that its off-policy algorithms share.

    Their networks have two hidden layers of 64 units unless told otherwise.
    """
    assert s["hidden"] == [64, 64], s["hidden"]
    return {
        "agent_kwargs": {"activation": s["activation"]},
        "buffer_size": s["capacity"],
        "fill_buffer": s["warmup"],
        "batch_size": s["batch_size"],
        "num_epochs": s["gradient_steps"],
        "polyak": 1.0 - s["target_rate"],
    }


def dqn(s):
    """The settings of its DQN, from ours."""
    return replay(s) | {
        "eps_start": s["epsilon"],
        "eps_end": s["epsilon_final"],
        "exploration_fraction": s["exploration_fraction"],
        "ddqn": s["target"] == "double",
    }


PEERS = {"ppo": (rejax.PPO, ppo), "dqn": (rejax.DQN, dqn), "sac": (rejax.SAC, replay)}


def build(workload, agents):
    """rejax's own `train`, without the evaluations that it makes between updates."""
    kind, arguments = PEERS[workload.algo]
    s, steps = workload.settings, workload.updates * workload.batch
    algo = kind.create(
        env=workload.env,
        num_envs=s["num_envs"],
        learning_rate=s["lr"],
        gamma=s["discount"],
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
        **arguments(s),
    )
    evaluate, silent = algo.eval_callback, algo.replace(eval_callback=lambda algo, state, key: ())
    train = silent.train if agents == 0 else jax.vmap(silent.train)

    def keys(seed):
        key = jax.random.PRNGKey(seed)
        return (key if agents == 0 else jax.random.split(key, agents),)

    mean = jax.jit(lambda state: evaluate(algo, state, jax.random.PRNGKey(0))[1].mean())

    def score(out):
        """The mean return of 128 episodes of each final policy: rejax keeps no training return."""
        return [float(mean(state)) for state in each(out[0], agents)]

    return Program(jitted(train, keys), score)
