"""The logs, checkpoints and evaluations beside the training of a run, and its early end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from rljax import log
from rljax.arguments import EVERY
from rljax.errors import require
from rljax.evaluation import RETURN, Evaluation
from rljax.kinds import Choice, Flag, Maybe, Number
from rljax.ops import metrics

BEST, LAST = "best", "last"


@dataclass(frozen=True)
class Watch:
    """The watch over a run, in plain values: each is a field of its record.

    Attributes:
      log_every, save_every: updates per row, per checkpoint; None: a 100th of the run, every ten seconds.
      tensorboard: whether to log for TensorBoard, where there is a folder.
      wandb: what `wandb.init` takes, its project at least, or None.
      sinks: names of further sinks.
      evaluation: None where there is none.
      keep: `last`: the newest checkpoints; `best`: that of the best evaluation as well.
      until_return: the return at which the run ends, of an evaluation where there are any, else of a row; or None.
    """

    log_every: int | None = None
    save_every: int | None = None
    tensorboard: bool = True
    wandb: dict[str, Any] | None = None
    sinks: list[str] = dataclasses.field(default_factory=list)
    evaluation: Evaluation | None = None
    keep: Literal["last", "best"] = LAST
    until_return: float | None = None

    @classmethod
    def of(
        cls,
        log_every: Any,
        save_every: Any,
        tensorboard: Any,
        wandb: Any,
        sinks: Sequence[str | log.Sink],
        evaluate_every: Any,
        evaluation: Any,
        keep: Any,
        until_return: Any,
    ) -> Self:
        """Reads the arguments of `train`. Raises ConfigError for one that cannot be."""
        found = cls(
            EVERY.convert("log_every", log_every),
            EVERY.convert("save_every", save_every),
            Flag().convert("tensorboard", tensorboard),
            log.wandb_options(wandb),
            [sink for sink in sinks if isinstance(sink, str)],
            Evaluation.of(evaluate_every, evaluation),
            Choice((LAST, BEST)).convert("keep", keep),
            Maybe(Number()).convert("until_return", until_return),
        )
        for name in found.sinks:
            log.SINKS.check(name)
        evaluated = found.evaluation is not None
        require(found.keep == LAST or evaluated, "keep", keep, "goes by evaluations; say how often, evaluate_every=")
        return found

    def to_json(self) -> dict[str, Any]:
        """Its fields as a record holds them."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return kept | {"evaluation": self.evaluation and self.evaluation.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The inverse, from the record of a run."""
        kept: dict[str, Any] = {f.name: record[f.name] for f in dataclasses.fields(cls)}
        kept["evaluation"] = Evaluation.from_json(record["evaluation"])
        return cls(**kept)

    def names(self) -> list[tuple[str, str]]:
        """The names that stand for code: (what it is, name)."""
        return [*(("sink", name) for name in self.sinks), *(self.evaluation.names() if self.evaluation else ())]

    def is_enough(self, row: Mapping[str, Any]) -> bool:
        """Whether a run may end with this row."""
        value = row.get(RETURN if self.evaluation else metrics.RETURN)
        known = self.until_return is not None and value is not None and math.isfinite(value)
        return known and value >= self.until_return  # pyright: ignore
