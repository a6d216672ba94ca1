"""What comes with rljax and was learned: objectives and update rules, by name. Needs no jax."""

from __future__ import annotations

from pathlib import Path

from rljax.errors import unknown

FOLDER = Path(__file__).parent / "objectives" / "learned"
FILE = ".npz"  # what the name of a file with learned numbers ends with


def names() -> list[str]:
    """Those there are: the names of their files."""
    return sorted(path.stem for path in FOLDER.glob(f"*{FILE}"))


def is_learned(given: str) -> bool:
    """Whether this is such a name, or the path of a file of such numbers."""
    return given.endswith(FILE) or given in names()


def file_of(given: str) -> Path:
    """The file that a name stands for, or the one that is given by its path.

    Raises:
      ConfigError: it is neither such a name nor the path of a file.
    """
    if given in names():
        return FOLDER / f"{given}{FILE}"
    if not given.endswith(FILE) and not Path(given).exists():
        raise unknown("learned part", given, names(), "rljax list learned, or give the path of an .npz file")
    return Path(given)
