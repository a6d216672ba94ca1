"""Recurrent PPO of memorax on the same workload; runs in an environment where it is installed and rljax is not.

Its actor and its critic have a memory each, and learn one after the other: more work than one memory for both. It does
not tell truncation from termination, so it computes no value of a true successor.
"""

import flax.linen as nn
import gymnax
import jax
import memorax
import optax
from memorax.networks import MLP, RNN, FeatureExtractor, Network, heads
from program import Program


def network(hidden, width, head):
    """A layer of tanh units, a GRU, a head."""
    orthogonal = nn.initializers.orthogonal(2**0.5)
    layers = MLP(tuple(hidden), activation=nn.tanh, kernel_init=orthogonal)
    return Network(FeatureExtractor(observation_extractor=layers), RNN(cell=nn.GRUCell(width)), head)


def build(workload):
    """Its own `train`, as it is."""
    s, steps = workload.settings, workload.updates * workload.batch
    env, params = gymnax.make(workload.env)
    config = memorax.PPOConfig(
        name="ppo", num_envs=s["num_envs"], num_eval_envs=1, num_steps=s["num_steps"], gamma=s["discount"],
        gae_lambda=s["gae_lambda"], num_minibatches=s["num_minibatches"], update_epochs=s["num_epochs"],
        normalize_advantage=True, clip_coef=0.2, clip_vloss=True, ent_coef=s["entropy_coef"], vf_coef=s["value_coef"],
    )  # fmt: skip
    actor = network(s["hidden"], workload.gru_width, heads.Categorical(env.num_actions))
    critic = network(s["hidden"], workload.gru_width, heads.VNetwork())
    optimiser = optax.chain(optax.clip_by_global_norm(s["max_grad_norm"]), optax.adam(s["lr"], eps=1e-5))
    algo = memorax.PPO(config, env, params, actor, critic, optimiser, optimiser)

    def compile():
        def train(key, state):
            _, state, transitions = algo.train(key, state, steps)
            return state.actor_params, transitions.reward, transitions.done

        key, state = algo.init(jax.random.key(0))
        compiled = jax.jit(train).lower(key, state).compile()
        return lambda seed: compiled(*algo.init(jax.random.key(seed)))

    def score(out):
        """The mean return of the episodes of the last tenth of training."""
        last = max(1, len(out[2]) // 10)
        return float(out[1][-last:].sum() / out[2][-last:].sum())

    return Program(compile, score)
