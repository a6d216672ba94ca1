"""Kinds of the arguments of runs, sweeps and searches, in Python and on the command line alike."""

from __future__ import annotations

from rljax.kinds import Count, Maybe

STEPS = Count(1, 2**53)  # of environments: as many as a float tells apart
SEED = Count(0, 2**32 - 1)
EVERY = Maybe(Count(1))  # updates between two rows or checkpoints
SOME = Count(1, 10**7)  # episodes, seeds, members, generations
NUMBER = Count(0, 10**7)  # the same, or none
PROCESSES = Maybe(Count(1, 10**4))
