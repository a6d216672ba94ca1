"""Fixtures of this room, which it shares with another."""

from env_checks import check_rollout, check_types

__all__ = ["check_rollout", "check_types"]
