"""Sweeps: rows of settings x seeds, as few compiled programs, on the whole machine, to a plain folder.

The programs, the processes and the hosts are those of `rljax.engine`.

space.py       what to try: grids and distributions
rows.py        each setting: as asked for, as built, as recorded
spec.py        what is asked for, all together
search.py      what to try next: successive halving, and a sampler that learns
planning.py    from what is asked for to a plan and its record, round after round
driver.py      `rljax.sweep` itself
extending.py   more seeds, rows or steps for a sweep that is there
merging.py     several sweeps as one
execute.py     runs shards of a plan in this process, and says how far they are
store.py       the folder of a sweep
ranking.py     which rows are better, on each environment by itself
result.py      what came of it: arrays, tables, curves, policies
report/        the same as one page
"""
