"""What the arguments of runs, sweeps and searches take, in Python and on the command line alike."""

from __future__ import annotations

from rljax.kinds import Count, Maybe

STEPS = Count(1, 2**53)  # of environments: as many as a float tells apart
SEED = Count(0, 2**32 - 1)
EVERY = Maybe(Count(1))  # so many updates
SOME = Count(1, 10**7)  # of what is held side by side or one by one: episodes, seeds, members, generations
NUMBER = Count(0, 10**7)  # the same, or none of it
PROCESSES = Maybe(Count(1, 10**4))
