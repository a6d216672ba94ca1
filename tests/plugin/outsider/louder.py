"""A wrapper that multiplies rewards."""

from dataclasses import replace


def louder(env, factor=2.0):
    def step(key, state, action, task):
        state, result = env.step(key, state, action, task)
        return state, result._replace(reward=factor * result.reward)

    return replace(env, name=f"{env.name}|louder({factor})", step=step)
