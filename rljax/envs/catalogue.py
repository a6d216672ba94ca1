"""The names of the environments that come with rljax, as plain data, so that listing them imports nothing.

The tests compare each table with what its library registers.
"""

from collections.abc import Iterable

from rljax.errors import unknown

GYMNAX = (
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Asterix-MinAtar",
    "Breakout-MinAtar",
    "Freeway-MinAtar",
    "Seaquest-MinAtar",
    "SpaceInvaders-MinAtar",
    "Catch-bsuite",
    "DeepSea-bsuite",
    "MemoryChain-bsuite",
    "UmbrellaChain-bsuite",
    "DiscountingChain-bsuite",
    "SimpleBandit-bsuite",
    "FourRooms-misc",
    "MetaMaze-misc",
    "PointRobot-misc",
    "BernoulliBandit-misc",
    "GaussianBandit-misc",
    "Reacher-misc",
    "Swimmer-misc",
    "Pong-misc",
    "FrozenLake-misc",
)

GYMNAX_EXCLUDED = {
    "MNISTBandit-bsuite": "downloads MNIST when it is built",
}

BRAX = (
    "brax/ant",
    "brax/halfcheetah",
    "brax/hopper",
    "brax/humanoid",
    "brax/humanoidstandup",
    "brax/inverted_double_pendulum",
    "brax/inverted_pendulum",
    "brax/pusher",
    "brax/reacher",
    "brax/walker2d",
)

BRAX_EXCLUDED = {
    "brax/fast": "is a stub without physics, for Brax's own tests",
    "brax/swimmer": "calls jnp.clip as JAX no longer allows, in Brax's fluid forces",
}

BRAX_BACKENDS = ("generalized", "spring", "positional", "mjx")

GRIDWORLDS = (
    "gridworld/dense",
    "gridworld/sparse",
    "gridworld/long",
    "gridworld/longer",
    "gridworld/long-dense",
    "gridworld/small",
    "gridworld/medium",
    "gridworld/large",
    "gridworld/all",
    "gridworld/rand-dense",
    "gridworld/rand-long",
    "gridworld/rand-small",
    "gridworld/rand-sparse",
    "gridworld/rand-very-dense",
    "gridworld/rand-all",
)

POPGYM = tuple(
    f"popgym/{family}-{level}"
    for family in (
        "RepeatFirst",
        "RepeatPrevious",
        "Autoencode",
        "CountRecall",
        "Concentration",
        "HigherLower",
        "Battleship",
        "MineSweeper",
        "MultiarmedBandit",
        "PositionOnlyCartPole",
        "VelocityOnlyCartPole",
        "NoisyPositionOnlyCartPole",
        "PositionOnlyPendulum",
        "NoisyPositionOnlyPendulum",
    )
    for level in ("easy", "medium", "hard")
)

TMAZES = ("tmaze/passive", "tmaze/active")

BANDITS = tuple(f"bandit/{arms}x{pulls}" for arms in (3, 5, 10) for pulls in (10, 100, 300))

DARKROOMS = ("darkroom/5x5", "darkroom/7x7", "darkroom/9x9", "darkroom/10x10", "darkroom/hard")

KEYDOORS = ("keydoor/9x9",)

HIDDEN_TASKS = (*BANDITS, *DARKROOMS, *KEYDOORS)

PROBES = (
    "probe/constant",
    "probe/discounted",
    "probe/observation",
    "probe/action",
    "probe/action-observation",
    "probe/truncation",
    "probe/both-flags",
    "probe/action-mask",
    "probe/continuous",
)

WRAPPERS = {  # the file of each
    "flatten_observation": "wrappers",
    "mask_observation": "wrappers",
    "clip_action": "wrappers",
    "rescale_action": "wrappers",
    "time_limit": "wrappers",
    "action_repeat": "wrappers",
    "frame_stack": "wrappers",
    "sticky_actions": "wrappers",
    "trials": "task_wrappers",
    "random_projection": "task_wrappers",
    "with_past": "memory_wrappers",
    "noisy_observation": "memory_wrappers",
}


def check_arguments(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an argument of environment `name` that is not in `known`: raises ConfigError."""
    for argument in given:
        if argument not in known:
            raise unknown(f"argument of {name}", argument, known)
