"""Memories: layers with a state that lasts from step to step of an episode, by name.

A memory is a flax module that derives from `Memory`. It forgets where `reset` holds, before it looks at that step's
input; one step is a sequence with `T = 1`. Its state is called `carry`, a pytree of float32 `[B, ...]`, however long the
sequences are that it is trained on.
"""
