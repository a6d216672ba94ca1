"""Learning from rollouts: what the algorithms that do so share.

loop.py     rolls out, computes targets, learns in epochs of minibatches; an algorithm overrides what is its own
"""
