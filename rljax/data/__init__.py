"""The memory of agents: replay on the device, part of an algorithm's state.

rows.py         steps as rows of 32-bit words, whatever they are made of
ring.py         the last so many steps of every environment, to draw from
prioritised.py  what is drawn, in proportion to priorities
episodes.py     the best episodes, whole, to imitate
transitions.py  from runs of steps to what a value is learned from
"""
