"""Many runs as few compiled programs over populations, on the whole machine; sweeps and meta are its clients.

program.py  the programs: `init` and `step` over an axis of members, placed on every device
plan.py     members that share a program, in shards that run side by side
width.py    measures how wide a program should be; machine.py: what there is to run it on
work.py     runs shards on the devices of a process: the job, the shard, the report; progress.py: a bar over all runs
pool.py     runs shards in one process a core; payload.py: what is sent there, pickling.py: how
cluster.py  several processes on one or more hosts as one job, which meet first, rendezvous.py
"""
