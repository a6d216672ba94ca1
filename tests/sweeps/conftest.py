"""Fixtures of this room, which it shares with another."""

from populations import compiled, every_compilation, finished, shared_programs

__all__ = ["compiled", "every_compilation", "finished", "shared_programs"]
