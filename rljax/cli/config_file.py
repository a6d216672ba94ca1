"""`--config FILE`, and `--from RUN`: options from a file, in YAML or JSON; those on the command line count before them.

The file has names and values as they are on the command line, `lr: 1e-3`, `hidden: [64, 64]`, `task: {gravity: 3}`,
`grid: {lr: [1e-4, 1e-3]}`, and possibly `algo` and `env`. What a run writes, `config.json`, is such a file, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rljax.errors import ConfigError, require
from rljax.kinds import whole
from rljax.parts import TASK, of_record
from rljax.records import RUN
from rljax.results.folder import RUN as FOLDER
from rljax.settings import literal

COMMANDS = {"train", "sweep", "meta-train"}  # that take it
OPTION, FROM = "--config", "--from"  # the settings of a run, and with what it has learned
POSITIONS = ("algo", "env")
REPEATED = ("grid", "sample", "vary")  # an option for each entry
RECORDED = (
    *("algo", "env", "env_args", "steps", "seed"),
    *("log_every", "save_every", "tensorboard", "wandb", "sinks", "keep", "until_return"),
)


def expand(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with those of its `--config` file in place of it.

    Raises:
      ConfigError: the file cannot be read, or holds no options.
    """
    words, path = [], None
    rest = list(arguments)
    while rest:
        option, equals, value = (word := rest.pop(0)).partition("=")
        if option not in (OPTION, FROM):
            words.append(word)
            continue
        require(path is None, "config", value, "is given twice; write it once")
        if not (equals or rest):
            raise ConfigError(f"{option} needs a value: a {'file' if option == OPTION else 'run folder'}")
        path = Path(value if equals else rest.pop(0)).expanduser()
        if option == FROM:
            words.append(f"--start={path}")
            path = path / FOLDER.record
    if path is None:
        return words
    found = read(path)
    places = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    named = [str(found.pop(name)) for name in POSITIONS if name in found]
    given = {_name(word) for word in words if word.startswith("--")}
    more = [word for name, value in found.items() if name not in given for word in _words(name, value)]
    return [*places, *named[len(places) :], *words[len(places) :], *more]


def read(path: Path) -> dict[str, Any]:
    """The options in a file, by name. Raises ConfigError where it cannot be read, or holds none."""
    import yaml  # which reads JSON as well

    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"config={path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"config={path}: cannot be read ({' '.join(str(error).split())[:160]})") from None
    fits = isinstance(found, Mapping) and all(isinstance(name, str) for name in found)
    require(fits, "config", path, "must hold names and values: lr: 0.001")
    return _of_record(path, found) if {*RUN} <= {*found} else {n.replace("-", "_"): x for n, x in found.items()}


def _of_record(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The options that run again what a record says: every setting has its value there."""
    kept = {name: record[name] for name in RECORDED if record.get(name) is not None}
    evaluation = dict(record.get("evaluation") or {})
    if evaluation:
        kept["evaluate_every"] = evaluation.pop("every")
        task = {f"{TASK}{name}": value for name, value in evaluation.pop("task").items()}
        kept["evaluation"] = {name: value for name, value in evaluation.items() if value is not None} | task
    settings = {name: value for name, value in of_record(record).items() if not name.startswith(TASK)}
    arrays = [name for name, value in settings.items() if name.startswith("objective.") and isinstance(value, list)]
    known = ":" not in str(settings.get("objective", ""))
    require(
        known or not arrays, "config", path, f"{', '.join(arrays)} cannot be written as options; give the objective"
    )
    horizon = {"horizon"}  # which the length of a run sets
    return kept | {n: x for n, x in settings.items() if n not in {*arrays, *horizon}} | {"task": record["task"]}


def _name(word: str) -> str:
    name = word.partition("=")[0].removeprefix("--").replace("-", "_")
    return name.removeprefix("no_")


def _words(name: str, value: Any) -> list[str]:
    """The words of an option."""
    option = f"--{name.replace('_', '-')}"
    if value is None:
        return []
    if isinstance(value, Mapping):
        pairs = [f"{key}={_text(x)}" for key, x in value.items()]
        if name in REPEATED:
            return [word for pair in pairs for word in (option, pair)]
        return [option, *pairs] if pairs else []
    if isinstance(value, list | tuple):
        return [option, *(map(_text, value) if value else ("none",))]
    return [f"{option}={_text(value)}"]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    number = literal(value) if isinstance(value, str) else value  # YAML takes 1e-3 for text
    return str(whole(number)) if isinstance(number, int | float) and not isinstance(number, bool) else str(value)
