"""Learning from a memory: what the algorithms that do so share.

life.py     acts, remembers, learns from what is remembered; what is an algorithm's own is its `Method`
targets.py  what several critics say together, and how they learn it
"""
