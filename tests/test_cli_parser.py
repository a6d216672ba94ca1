"""The words of a command line: what stands for what, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from tyro.conf import Positional, UseAppendAction

from rljax.cli import parser
from rljax.cli.options import Option, command_type
from rljax.errors import ConfigError
from rljax.kinds import Count, Number, Several


@dataclass(frozen=True)
class Command:
    """A command with options of every form.

    Args:
      runs: some.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path | None = None
    steps: Annotated[int | None, Count(1)] = None
    rate: Annotated[float, Number(0.0, 1.0)] = 0.5
    kind: Literal["fast", "slow"] | None = None
    quiet: bool = False
    loud_bell: bool = True
    sizes: Annotated[tuple[int, ...], Several(Count())] = (8,)
    grid: UseAppendAction[tuple[str, ...]] = ()


def read(line, **options):
    return parser.read(Command, "rljax it", line.split(), **options)


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("a b", {"runs": (Path("a"), Path("b"))}),
        ("a --out c b", {"runs": (Path("a"), Path("b")), "out": Path("c")}),
        ("a --steps 1e3", {"steps": 1000}),
        ("a --steps=7", {"steps": 7}),
        ("a --rate 1", {"rate": 1.0}),
        ("a --kind slow", {"kind": "slow"}),
        ("a --quiet", {"quiet": True}),
        ("a --quiet false", {"quiet": False}),
        ("a --quiet=True", {"quiet": True}),
        ("a --no-quiet", {"quiet": False}),
        ("--quiet a", {"runs": (Path("a"),), "quiet": True}),
        ("a --no-loud-bell", {"loud_bell": False}),
        ("a --loud_bell false", {"loud_bell": False}),
        ("a --sizes 4 4", {"sizes": (4, 4)}),
        ("a --sizes none", {"sizes": ()}),
        ("a --grid x=1 --grid y=-2,3", {"grid": ("x=1", "y=-2,3")}),
        ("a --grid=x=1", {"grid": ("x=1",)}),
    ],
)
def test_words_become_options(line, right):
    found = read(line).command
    assert {name: getattr(found, name) for name in right} == right


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "rljax it needs RUNS; rljax it --help says what it is"),
        ("a --stps 3", "unknown option '--stps'; did you mean '--steps'? rljax it --help shows all"),
        ("a -x", "unknown option '-x'"),
        ("a --steps", "--steps needs a value"),
        ("a --steps --quiet", "--steps needs a value"),
        ("a --out=", "--out needs a value"),
        ("a --steps 1 --steps 1", "--steps is given twice"),
        ("a --quiet --no-quiet", "--quiet is given twice"),
        ("a --grid x=1 --grid x=1", "--grid x=1 is given twice"),
        ("a --steps -1", "steps=-1: must be at least 1"),
        ("a --steps many", "steps='many': must be a whole number, not text"),
        ("a --rate nan", "rate=nan: must be a number"),
        ("a --rate -5e2", "rate=-500.0: must lie between 0 and 1"),
        ("a --kind slo", "kind=slo: must be one of fast, slow; did you mean 'slow'?"),
        ("a --quiet=maybe", "quiet='maybe': must be true or false"),
        ("a --no-quiet=true", "--no-quiet takes no value"),
        ("a --sizes 4 0", "sizes=0: must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(line, message):
    with pytest.raises(ConfigError) as error:
        read(line)
    assert message in str(error.value)


def test_one_word_too_many():
    made = command_type("Made", "", [Option("objective.clip", Number(), 0.1, "epsilon")])
    assert parser.read(made, "it", ["--objective.clip", "2"]).command.objective__clip == 2.0
    with pytest.raises(ConfigError, match="it: 'a' is one word too many"):
        parser.parse(made, "it", ["a"])


def test_it_says_what_was_written_and_leaves_what_is_not_its_own():
    made = command_type("Made", "", [Option("steps", Count(), 1, ""), Option("quiet", bool, True, "")])
    found = parser.read(made, "it", ["a", "--steps", "3", "--other", "4", "--no-quiet"], partly=True)
    assert found.given == {"steps", "quiet"} and found.rest == ["a", "--other", "4"]


def test_help_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        read("--steps 3 -h")
    assert stop.value.code == 0 and "--loud-bell" in capsys.readouterr().out
