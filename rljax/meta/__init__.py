"""Outer loops: how what agents learn by is learned itself.

strategies.py  evolution strategies over any tree of numbers: OpenAI-ES, fitness shaping
evosax.py      the strategies of evosax, behind the same protocol; registry.py: strategies by name
gradient.py    meta-gradients through K updates of agents that live, die and are replaced

tasks.py       where agents live and for how long
fitness.py     what a life is worth; judge.py: what was learned, on lives held out
runner.py      runs agents on the whole machine, under given parts of their hypers

spec.py        what a search is; evolve.py, descend.py: the two methods
search.py      a search from start to end: on disk, judged, resumed; result.py: what came of it
compare.py     what was learned against others, in the same lives
"""
