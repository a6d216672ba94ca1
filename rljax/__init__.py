"""rljax: reinforcement learning research in JAX, where a whole sweep or a meta-learned objective is one program."""

from rljax.runtime import settle as _settle

_settle()
