"""Weights & Biases without a network: it notes what it is told."""

from __future__ import annotations

import sys


class Wandb:
    """The package, and its one run, as far as they are used."""

    def __init__(self, fails: tuple[str, ...] = ()):
        self.fails, self.begun, self.rows, self.finished = fails, [], [], False
        self.id = "first"

    def _maybe(self, name: str) -> None:
        if name in self.fails:
            raise RuntimeError(f"{name}: no answer.\nmore words")

    def login(self) -> None:
        self._maybe("login")

    def init(self, **options) -> Wandb:
        self._maybe("init")
        self.begun.append(options)
        return self

    def log(self, row, step) -> None:
        self._maybe("log")
        self.rows.append((step, row))

    def finish(self) -> None:
        self._maybe("finish")
        self.finished = True


def wandb(monkeypatch, *fails: str) -> Wandb:
    found = Wandb(fails)
    monkeypatch.setitem(sys.modules, "wandb", found)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return found
