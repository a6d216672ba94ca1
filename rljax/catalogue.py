"""The parts that agents are made of, by name: objectives, networks and what is in them. Needs no jax.

Algorithms, environments, sinks and commands have their registries where they are: `rljax.algos`, `rljax.envs`, ...
"""

from __future__ import annotations

from typing import Any

from rljax.registry import Registry

OBJECTIVES: Registry[type] = Registry(
    "objective",
    {
        "ppo-clip": "rljax.objectives.clip:PPOClip",
        "kl-penalty": "rljax.objectives.kl:KLPenalty",
        "dpo": "rljax.objectives.discovered:DPO",
        "lpo": "rljax.objectives.learned:LPO",
        "ta-lpo": "rljax.objectives.learned:TALPO",
    },
    "rljax list objectives",
)
LEARNED: Registry[type] = Registry(  # classes whose `load` reads a file of learned numbers, by what the file calls them
    "class of learned objectives",
    {"LPO": "rljax.objectives.learned:LPO", "TALPO": "rljax.objectives.learned:TALPO"},
)
TORSOS: Registry[Any] = Registry(
    "torso",
    {
        "mlp": "rljax.nets.mlp:MLP",
        "cnn": "rljax.nets.cnn:CNN",  # MinAtar's
        "nature": "rljax.nets.cnn:Nature",  # DQN's on Atari
        "impala": "rljax.nets.cnn:Impala",  # residual
    },
    "rljax list torsos",
)
MEMORIES: Registry[Any] = Registry(
    "memory",
    {
        "none": "rljax.nets.memory.base:NoMemory",
        "gru": "rljax.nets.memory.gated:GRU",
        "lstm": "rljax.nets.memory.gated:LSTM",
        "mingru": "rljax.nets.memory.linear:MinGRU",
        "lru": "rljax.nets.memory.linear:LRU",
        "s5": "rljax.nets.memory.linear:S5",
        "transformer": "rljax.nets.memory.transformer:Transformer",
    },
    "rljax list memories",
)
ACTIVATIONS: Registry[Any] = Registry(
    "activation",
    {
        "elu": "jax.nn:elu",
        "gelu": "jax.nn:gelu",
        "relu": "jax.nn:relu",
        "silu": "jax.nn:silu",
        "swish": "jax.nn:silu",
        "tanh": "jax.numpy:tanh",
    },
)
VALUE_HEADS: Registry[Any] = Registry(  # what is called with the number of outputs; the scalar head with its loss
    "value head",
    {
        "scalar": "rljax.ops.value_heads:ScalarHead",
        "rescaled": "rljax.ops.value_heads:RescaledHead",
        "categorical": "rljax.ops.value_heads:CategoricalHead",
        "hl-gauss": "rljax.ops.value_heads:HLGaussHead",
        "quantile": "rljax.ops.value_heads:QuantileHead",
    },
)
CURRICULA: Registry[Any] = Registry("curriculum", {})  # functions `(progress, task) -> task` of the user's
OPTIMISERS: Registry[Any] = Registry(  # what is called with learning_rate=..., as the factories of optax are
    "optimiser",
    {
        "adam": "rljax.ops.optim:adam",
        **{
            name: f"optax:{name}"
            for name in (
                *("adabelief", "adadelta", "adafactor", "adagrad", "adamax", "adamaxw", "adamw", "adan", "amsgrad"),
                *("fromage", "lamb", "lars", "lion", "nadam", "nadamw", "novograd", "radam", "rmsprop", "rprop"),
                *("sgd", "sign_sgd", "sm3", "yogi"),
            )
        },
    },
    "rljax list optimisers",
)
SCHEDULES: Registry[Any] = Registry(  # what is called with the part of a run that is over, see `ops.schedules.along`
    "schedule",
    {name: f"rljax.ops.schedules:{name}" for name in ("linear", "constant", "cosine", "steps", "warmup")},
    "rljax list schedules",
)
