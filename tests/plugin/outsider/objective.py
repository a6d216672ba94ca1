"""A policy objective that holds the policy on a leash: squared instead of clipped."""

from flax import struct

from rljax.types import Scalar


class Leash(struct.PyTreeNode):
    weight: Scalar = 1.0  # of the square of the log-ratio

    def __call__(self, log_ratio, advantage, progress, reference=None):
        return self.weight * log_ratio**2 - log_ratio * advantage
