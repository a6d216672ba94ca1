"""Deliberate errors: what the tests are worth is how many of them they notice. `make test-mutants` tries them all."""

from mutants import agents, drivers, maths, meta, networks, runs

MUTANTS = [*maths.MUTANTS, *networks.MUTANTS, *agents.MUTANTS, *drivers.MUTANTS, *runs.MUTANTS, *meta.MUTANTS]
