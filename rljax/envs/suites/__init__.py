"""Suites of environments from other libraries, one adapter a file; a library is imported when one of its own is made.

catalogue.py   their names, and what each needs, as plain data
shared.py      what adapters share

The names are `suite/environment`. Termination and truncation are told apart; an episode begins with a fresh reset, and
shows its own last observation at its end. The limit is ours: the library's own is switched off where its reward does
not depend on it, and steps are counted in our state, so `task.max_steps` can be swept.
"""
