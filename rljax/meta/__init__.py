"""Outer loops: how the numbers by which an agent learns are learned themselves.

strategies.py  evolution strategies over any tree of numbers: OpenAI-ES, fitness shaping
evosax.py      the strategies of evosax, behind the same protocol
gradient.py    meta-gradients through K updates of agents that live, die and are replaced
"""
