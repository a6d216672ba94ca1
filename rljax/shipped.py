"""The learned objectives and update rules that come with rljax, by name. Needs no jax."""

from __future__ import annotations

from pathlib import Path

from rljax.errors import unknown

FOLDER = Path(__file__).parent / "objectives" / "learned"
FILE = ".npz"  # what the name of a file with learned numbers ends with


def names() -> list[str]:
    """The names of the learned parts, which are those of their files."""
    return sorted(path.stem for path in FOLDER.glob(f"*{FILE}"))


def is_learned(given: str) -> bool:
    """Whether a text is the name of a learned part, or the path of a file with one."""
    return given.endswith(FILE) or given in names()


def file_of(given: str) -> Path:
    """Finds the file of a learned part, by its name or its path.

    Raises:
      ConfigError: it is neither such a name nor the path of a file.
    """
    if given in names():
        return FOLDER / f"{given}{FILE}"
    if not given.endswith(FILE) and not Path(given).exists():
        raise unknown("learned part", given, names(), "rljax list learned, or give the path of an .npz file")
    return Path(given)
