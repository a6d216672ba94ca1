"""`rljax new`: a file to begin with."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from rljax.errors import ConfigError, require
from rljax.storage import absolute, shown, storing

WORD = "TEMPLATE"  # what stands for the name in the files of `rljax.templates`


@dataclasses.dataclass(frozen=True)
class New:
    """Write a commented file with an algorithm, an environment or a torso of your own, which trains as it is.

    Args:
      what: what to write.
      name: of it, a word: my_idea.
      out: the file; by default NAME.py in the working folder.
    """

    what: Positional[Literal["algorithm", "environment", "torso"]]
    name: Positional[str]
    out: str | None = None

    def __call__(self) -> int:
        name = self.name.replace("-", "_")
        require(name.isidentifier(), "name", repr(self.name), "must be a word, such as my_idea")
        path = absolute(self.out or f"{name}.py")
        require(path.suffix == ".py", "out", shown(path), "must be a Python file, .py")
        if path.exists():
            raise ConfigError(f"{shown(path)}: exists; choose another name, or --out")
        found = importlib.util.find_spec(f"rljax.templates.{self.what}")
        assert found is not None and found.origin is not None
        words = "".join(part.capitalize() for part in name.split("_"))
        text = Path(found.origin).read_text().replace(f"{WORD}_CLASS", words)
        text = text.replace(f"./{WORD}.py", f"./{shown(path)}").replace(WORD, name)
        with storing(path):
            path.write_text(text)
        command = next(line.strip() for line in text.splitlines() if line.strip().startswith("rljax train"))
        print(f"wrote {shown(path)}; to train it:\n  {command}")
        return 0
