"""Command-line options made from the fields of algorithms."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from tyro.conf import arg

from rljax import registry
from rljax.arguments import EVERY
from rljax.cli.parser import Parsed
from rljax.errors import ConfigError
from rljax.fields import Entry
from rljax.kinds import Kind, Part
from rljax.settings import Setting, is_own, literal, pairs, split_commas, with_objective


class Option(NamedTuple):
    """One option of a command."""

    name: str
    type: Any  # an annotation, or a kind
    default: Any
    help: str


WANDB = "log to this Weights & Biases project too; after it, options of wandb.init: group=NAME tags=A,B"
EVALUATION = [
    Option("evaluate_every", EVERY, None, "updates per evaluation, a column of the rows; it changes no number"),
    Option("evaluation", tuple[str, ...], (), "episodes=32 greedy=false env=NAME task.NUMBER=VALUE, where it differs"),
]


def project(words: Sequence[str]) -> dict[str, Any] | None:
    """Reads `PROJECT group=NAME tags=A,B`, what `wandb.init` is to take. Raises ConfigError for other words."""
    if not words:
        return None
    named = {"project": words[0]} if "=" not in words[0] else {}
    options = pairs(words[len(named) :], "VALUE", "wandb")
    return {**named, **options, **({"tags": split_commas(options["tags"])} if "tags" in options else {})}


def command_type(name: str, doc: str, options: Iterable[Option]) -> type:
    """Makes the dataclass whose fields are the options of a command."""
    fields = [
        (identifier(option.name), _annotation(option), dataclasses.field(default=option.default)) for option in options
    ]
    made = dataclasses.make_dataclass(name, fields, frozen=True)
    made.__doc__ = doc
    return made


def _annotation(option: Option) -> Any:
    marks = [arg(name=option.name.replace("_", "-"), help=option.help)]
    kind = option.type if isinstance(option.type, Kind) else None
    if kind and kind.type is None:
        raise TypeError(f"{option.name}: cannot be written on a command line")
    return Annotated[kind.type, kind, *marks] if kind else Annotated[option.type, *marks]


def of_settings(known: Mapping[str, Setting], defaults: Mapping[str, Any]) -> list[Option]:
    """Makes an option of every field of an algorithm."""
    found = []
    for name, setting in known.items():
        if isinstance(setting.kind, Part):  # that was learned
            meaning = f"a file, or a name (rljax list learned), that holds {setting.doc}"
            found.append(Option(name, setting.kind, None, meaning))
        elif isinstance(setting.kind, Entry):
            meaning = f"{setting.doc}: {', '.join(registry.of(setting.kind.what))}, or module:Class"
            found.append(Option(name, setting.kind, defaults.get(name, setting.default), meaning))
        elif setting.kind.type is not None:  # not weights: they come with their objective, from a file
            found.append(Option(name, setting.kind, defaults.get(name, setting.default), setting.doc))
    return found


def with_chosen_objective(arguments: Sequence[str], known: Mapping[str, Setting]) -> dict[str, Setting]:
    """Adds to the fields of an algorithm those of the objective that the arguments choose.

    Raises:
      ConfigError: there is no such objective.
    """
    name = None
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        option, equals, value = argument.partition("=")
        if option == "--objective":
            name = value if equals else following
    if "objective" not in known or not name:
        return dict(known)
    if is_own(name):  # its fields are not known
        return {n: s for n, s in known.items() if not n.startswith("objective.")}
    return with_objective(known, name)


def given(parsed: Parsed, known: Iterable[str]) -> dict[str, Any]:
    """The fields that the command line gives, whatever their defaults."""
    return {name: getattr(parsed.command, identifier(name)) for name in known if name in parsed.given}


def named(text: str, what: str) -> tuple[str, dict[str, Any]]:
    """Parses `NAME,FIELD=VALUE,...` into (NAME, settings). Raises ConfigError where it is something else."""
    name, *rest = split_commas(text)
    return name, {field: literal(value) for field, value in pairs(rest, "VALUE", what).items()}


def identifier(setting: str) -> str:
    """Turns a setting's name into the name of a field: `objective.clip` into `objective__clip`."""
    return setting.replace(".", "__")


def split_names(command: str, arguments: Sequence[str]) -> list[str]:
    """Finds the algorithm and the environment before the options.

    Raises:
      ConfigError: one is missing, and help is not asked for.
    """
    names = []
    for argument in arguments[:2]:
        if argument.startswith("-"):
            break
        names.append(argument)
    asked_for_help = any(a in ("-h", "--help") for a in arguments)
    if len(names) < 2 and not asked_for_help:
        raise ConfigError(f"{command} needs an algorithm and an environment, e.g. rljax {command} ppo CartPole-v1")
    return names
