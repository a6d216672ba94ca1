"""Sweeps: rows of settings x seeds, as few compiled programs, on the whole machine, to a plain folder.

The programs, the processes and the hosts are those of `rljax.engine`.

space.py       what to try: grids and distributions
rows.py        each setting: as asked for, as built, as recorded
spec.py        what is asked for, all together
planning.py    from what is asked for to a plan, round after round
execute.py     runs shards of a plan in this process
search.py      what to try next: successive halving, and a sampler that learns
driver.py      `rljax.sweep` itself; progress.py: how far it is
store.py       the folder of a sweep; record.py: what `sweep.json` says
result.py      what came of it: arrays, tables, curves, policies
ranking.py     which rows are better, on each environment by itself; selection.py: rows by their settings
report.py      the same as one page, made of page.py; appendix.py: its end; figures.py: its drawings
view.py        what the page shows of rows that compare; importance.py: which fields move the score
"""
