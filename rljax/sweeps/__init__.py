"""Sweeps: rows of settings x seeds, as few compiled programs as possible, on the whole machine, to a plain folder.

space.py       what to try: grids and samples -> rows
plan.py        rows -> groups that share a program -> chunks that fit
population.py  the programs: `init` and `step` over an axis of members, placed on every device
memory.py      what a program needs, what the machine has
execute.py     runs chunks in this process; pool.py: in one process a core; cluster.py: on several hosts
search.py      what to try next: a sampler that learns, and successive halving
store.py       the folder of a sweep
result.py      what came of it: arrays, tables, curves, policies
report.py      the same as one page
driver.py      `sweep` itself
"""
