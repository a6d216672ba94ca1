"""Deliberate errors: what the tests are worth is how many of them they notice. `make test-mutants` tries them all."""

from mutants import agents, drivers, environments, imitation, maths, memories, meta, networks, replayed, runs

MUTANTS = [
    *maths.MUTANTS,
    *networks.MUTANTS,
    *memories.MUTANTS,
    *replayed.MUTANTS,
    *agents.MUTANTS,
    *imitation.MUTANTS,
    *environments.MUTANTS,
    *drivers.MUTANTS,
    *runs.MUTANTS,
    *meta.MUTANTS,
]
