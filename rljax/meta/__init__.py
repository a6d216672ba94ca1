"""Outer loops: they learn the objectives and rules that agents learn by.

strategies.py  evolution strategies over any tree of numbers: OpenAI-ES, fitness shaping
evosax.py      the strategies of evosax, behind the same protocol; registry.py: strategies by name
gradient.py    meta-gradients through K updates of agents that persist and are replaced

tasks.py       the training runs of a search
fitness.py     the fitness of a run; validation.py: scores in validation runs
runner.py      runs agents on the whole machine, under given parts of their hypers

spec.py        the specification of a search; evolve.py, descend.py: the two methods
search.py      a search from start to end: on disk, validated, resumed; result.py: its result
compare.py     compares learned objectives and rules with others in the same runs
"""
