"""Settings in parts: config, hyperparameters, objective and task, from their names on the command line and back.

A setting is named as it is on the command line: `lr`, `num_envs`, `objective`, `objective.clip`, `task.length`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rljax.settings import Setting

TASK, OBJECTIVE = "task.", "objective."  # the beginnings of the names of an environment's numbers, and an objective's


class Chosen(NamedTuple):
    """A policy objective: its name, or itself, and those of its fields that are to have other values."""

    name: Any
    fields: dict[str, Any]


class Parts(NamedTuple):
    """Settings by what they belong to."""

    config: dict[str, Any]
    hypers: dict[str, Any]  # without the objective
    objective: Chosen | None  # None: the algorithm's own
    task: dict[str, Any]  # numbers of the environment

    def flat(self) -> dict[str, Any]:
        """All of them by the names that the command line has for them; the inverse of `split`."""
        found = {**self.config, **self.hypers}
        if self.objective is not None:
            found |= {"objective": self.objective.name} if self.objective.name is not None else {}
            found |= {OBJECTIVE + name: value for name, value in self.objective.fields.items()}
        return found | {TASK + name: value for name, value in self.task.items()}


def split(known: Mapping[str, Setting], given: Mapping[str, Any]) -> Parts:
    """Settings by what they belong to; one of an unknown name counts as a hyperparameter, to be refused by `check`.

    Args:
      known: the fields of the algorithm.
      given: `lr`, `objective`, `objective.clip`, `task.length` and so on.
    """
    parts, fields = Parts({}, {}, None, {}), {}
    for name, value in given.items():
        if name.startswith(TASK):
            parts.task[name.removeprefix(TASK)] = value
        elif name.startswith(OBJECTIVE):
            fields[name.removeprefix(OBJECTIVE)] = value
        elif name != "objective":
            (parts.config if name in known and known[name].group == "config" else parts.hypers)[name] = value
    chosen = given.get("objective")
    return parts if chosen is None and not fields else parts._replace(objective=Chosen(chosen, fields))


def of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a record of a run, by the names that the command line has for them."""
    chosen = record.get("objective")
    objective = None if chosen is None else Chosen(chosen["name"], chosen["fields"])
    config, hypers, task = (record.get(part, {}) for part in ("config", "hypers", "task"))
    return Parts(config, hypers, objective, task).flat()
