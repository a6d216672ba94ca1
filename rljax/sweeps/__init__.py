"""Sweeps: rows of settings x seeds, as few compiled programs, on the whole machine, to a plain folder.

space.py       what to try: grids and distributions
rows.py        each setting: as asked for, as built, as recorded
spec.py        what is asked for, all together
plan.py        rows that share a program, in lots that run side by side
measure.py     how wide a program should be
planning.py    from what is asked for to a plan, round after round
population.py  the programs: `init` and `step` over an axis of members, placed on every device
execute.py     runs lots in this process; pool.py: in one process a core; cluster.py: as one of those of several hosts,
               which meet first, rendezvous.py
search.py      what to try next: successive halving, and a sampler that learns
driver.py      `rljax.sweep` itself; progress.py: how far it is
store.py       the folder of a sweep; record.py: what `sweep.json` says
result.py      what came of it: arrays, tables, curves, policies
ranking.py     which rows are better, on each environment by itself; selection.py: rows by their settings
report.py      the same as one page, made of page.py; appendix.py: its end; figures.py: its drawings
view.py        what the page shows of rows that compare; importance.py: which fields move the score
"""
