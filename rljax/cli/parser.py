"""Parses the words of a command line into the options of a command; refusals are one line. tyro writes the help.

A command is a dataclass. Options are written `--name value`, `--name=value`, `--flag`, `--no-flag` or `--flag true`;
those that take several values take all words up to the next option, or `none`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from tyro.conf import Positional, UseAppendAction

from rljax.declarations import of_annotation
from rljax.errors import ConfigError, unknown
from rljax.kinds import Choice, Count, Flag, Kind, Maybe, Number, Several

HELP = ("-h", "--help")
NONE = "none"  # of what takes several
FLAGS = {"true": True, "false": False}


class Argument(NamedTuple):
    """One option, or a positional argument."""

    field: str  # of the command
    name: str  # as an error calls it
    kind: Kind | None  # what it takes; None for a path
    positional: bool
    several: bool  # takes all words up to the next option
    repeats: bool  # may be given several times
    needed: bool

    @property
    def written(self) -> str:
        """The option as it is written on the command line."""
        return self.name.upper() if self.positional else f"--{self.name.replace('_', '-')}"


class Parsed(NamedTuple):
    """A parsed command line."""

    command: Any
    given: frozenset[str]  # the names of the options that were written out
    rest: list[str]  # words that are not the command's


def parse(command: type, prog: str, arguments: Sequence[str]) -> Any:
    """Parses the arguments of a command.

    Raises:
      ConfigError: an unknown, missing or repeated option, or a value that it does not take.
      SystemExit: help was asked for, and is printed.
    """
    return read(command, prog, arguments).command


def read(command: type, prog: str, arguments: Sequence[str], partly: bool = False) -> Parsed:
    """Parses as `parse`, and says which options were given; `partly` leaves the words of other commands in `rest`."""
    if not partly and any(word in HELP for word in arguments):
        import tyro

        tyro.cli(command, prog=prog, args=["--help"])
    options = options_of(command)
    words, rest = _distribute(options, prog, arguments, partly)
    for option in options:
        if option.needed and option.field not in words:
            raise ConfigError(f"{prog} needs {option.written}; {prog} --help says what it is")
    values = {o.field: _value(o, words[o.field]) for o in options if o.field in words}
    return Parsed(command(**values), frozenset(o.name for o in options if o.field in words), rest)


def options_of(command: type) -> list[Argument]:
    """Makes the options of a command from its fields."""
    hints = typing.get_type_hints(command, include_extras=True)
    return [_argument(field, hints[field.name]) for field in dataclasses.fields(command)]


def _argument(field: dataclasses.Field[Any], hint: Any) -> Argument:
    annotation, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    inner = [x for x in get_args(annotation) if x is not type(None)] if _is_union(annotation) else [annotation]
    several = get_origin(inner[0]) is tuple
    element = get_args(inner[0])[0] if several else inner[0]
    kind = next((mark for mark in marks if isinstance(mark, Kind)), None)
    if kind is None and element is not Path:
        kind = of_annotation(annotation)
    return Argument(
        field.name,
        field.name.replace("__", "."),
        kind,
        positional=Positional in marks,
        several=several,
        repeats=UseAppendAction in marks,
        needed=field.default is dataclasses.MISSING,
    )


def _distribute(
    options: Sequence[Argument], prog: str, arguments: Sequence[str], partly: bool
) -> tuple[dict[str, list[str]], list[str]]:
    """Assigns the words to options, by field; the second result is the words that belong to none."""
    named = {option.written: option for option in options if not option.positional}
    off = {f"--no-{o.written[2:]}": o for o in named.values() if isinstance(o.kind, Flag)}
    positions = [option for option in options if option.positional]
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        option = named.get(name) or off.get(name)
        if option is None and partly:
            rest.append(word)
        elif option is None and _is_option(word):
            raise unknown("option", name, [*named, *off], f"{prog} --help")
        elif option is None:
            position = next((o for o in positions if o.several or o.field not in found), None)
            if position is None:
                raise ConfigError(f"{prog}: '{word}' is one word too many; {prog} --help says what it takes")
            found.setdefault(position.field, []).append(word)
        else:
            if option.field in found and not option.repeats:
                raise ConfigError(f"{option.written} is given twice; write it once")
            taken = _values(option, name in off, [value] if equals else None, words)
            found[option.field] = [*found.get(option.field, ()), *taken]
    return found, rest


def _values(option: Argument, off: bool, attached: list[str] | None, words: list[str]) -> list[str]:
    """Takes the words of an option: the one attached to it by `=`, or those that come next."""
    if off:
        if attached:
            raise ConfigError(f"--no-{option.written[2:]} takes no value")
        return ["false"]
    if attached is not None:
        taken = attached
    elif isinstance(option.kind, Flag):
        return [words.pop(0)] if words and words[0].lower() in FLAGS else ["true"]
    else:
        count = next((i for i, word in enumerate(words) if _is_option(word)), len(words))
        taken = [words.pop(0) for _ in range(count if option.several else min(count, 1))]
    if not taken or "" in taken:
        raise ConfigError(f"{option.written} needs a value")
    return taken


def _value(option: Argument, words: list[str]) -> Any:
    """Converts the words of an option to its value."""
    if option.repeats:
        twice = next((word for i, word in enumerate(words) if word in words[:i]), None)
        if twice is not None:
            raise ConfigError(f"{option.written} {twice} is given twice; write it once")
    if option.kind is None:
        return tuple(map(Path, words)) if option.several else Path(words[0])
    if option.several and words == [NONE]:
        return ()
    values = [_plain(option.kind, word) for word in words]
    return option.kind.convert(option.name, values if option.several else values[0])


def _plain(kind: Kind, word: str) -> Any:
    """Converts a word to a number or a truth value where the kind takes those."""
    if isinstance(kind, Maybe | Several):
        return _plain(kind.kind, word)
    if isinstance(kind, Flag):
        return FLAGS.get(word.lower(), word)
    if isinstance(kind, Count | Number):
        return number(word)
    if isinstance(kind, Choice):
        return next((option for option in kind.options if str(option) == word), word)
    return word


def number(word: str) -> Any:
    """Converts a word to the number that it is, an int if it is written so; leaves another word as it is."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word


def _is_option(word: str) -> bool:
    """Whether this begins an option, and is no negative number."""
    return word.startswith("-") and len(word) > 1 and isinstance(number(word), str)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (typing.Union, types.UnionType)
