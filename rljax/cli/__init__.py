"""The command `rljax`: train, sweep, eval, plot, render, report, list. Its help and its refusals need no jax."""

from __future__ import annotations

import gc
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from rljax import plugins
from rljax.cli import parser
from rljax.cli.check_env import CheckEnv
from rljax.cli.meta_eval import MetaEval
from rljax.cli.new import New
from rljax.cli.runs import Eval, Export, List, Plot, Render
from rljax.cli.sweep import Merge, Report
from rljax.errors import (
    SIGNALLED,
    ConfigError,
    DivergedError,
    NotPluggedIn,
    RljaxError,
    StorageError,
    WorkerError,
    out_of_memory,
)
from rljax.registry import Registry

USAGE = 2  # the exit code of a command that cannot be carried out as given
FAILED = 1

COMMANDS: Registry[Any] = Registry(  # a class of options that is called, or what parses the words of the command
    "command",
    {
        "train": "rljax.cli.train:parse",
        "sweep": "rljax.cli.sweep:parse",
        "meta-train": "rljax.cli.meta_train:parse",
        "check-env": CheckEnv,
        "eval": Eval,
        "plot": Plot,
        "render": Render,
        "export": Export,
        "report": Report,
        "merge": Merge,
        "meta-eval": MetaEval,
        "list": List,
        "new": New,
    },
    "rljax --help",
)

OVERVIEW = """usage: rljax COMMAND [options]

  train ALGO ENV     train one agent:         rljax train ppo CartPole-v1 --out runs/a
  train --resume RUN continue a stopped run; with --steps, also one that is finished
  train --from RUN   begin with what a run has learned, with its settings where no others are given
  sweep ALGO ENV     train many:              rljax sweep ppo CartPole-v1 --grid lr=1e-4,1e-3 --seeds 16
  sweep --resume DIR continue a stopped sweep; with --seeds or --steps, give it more
  merge DIR...       several sweeps as one
  report DIR         a sweep as one page:     rljax report sweeps/a
  meta-train WHAT    learn an objective:      rljax meta-train lpo --env CartPole-v1 --steps 65536
  meta-train --resume DIR
  meta-eval DIR      compare it with others:  rljax meta-eval searches/a --env Acrobot-v1 --against ppo,dpo
  eval RUN           evaluate it:             rljax eval runs/a --episodes 128
  plot RUN...        draw its learning curve
  render RUN         film an episode as a GIF
  export RUN         its policy as a file: --out policy.onnx, policy.jax, or policy.npz for plain numpy
  check-env ENV      play an environment and find its faults
  list WHAT          algos, envs, objectives, learned, presets, torsos, wrappers, sinks ..., or plugins
  new WHAT NAME      a file to begin with: an algorithm, an environment or a torso of your own

  --config FILE      with train, sweep and meta-train: options from a YAML or JSON file, or a run's config.json
  --plugin WHAT      with any command: add what a module, my_package, or a file, ./mine.py, registers
  --no-plugins       use no installed plugins

rljax COMMAND --help shows the options; rljax train ALGO ENV --help those of an algorithm, with the values that
would be used on that environment.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    gc.set_threshold(
        200_000, 50, 50
    )  # imports and tracing make objects that stay: fewer collections start 0.2 s sooner
    if argv is None:
        os.environ["MPLBACKEND"] = "agg"  # pictures go to files: neither a notebook's backend nor a display is needed
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(OVERVIEW, end="")
        return 0 if arguments else USAGE
    shown, warnings.showwarning = warnings.showwarning, _warn
    try:
        return _parse(_with_plugins(_with_config(arguments)))()
    except (DivergedError, StorageError, WorkerError) as error:
        print(f"rljax: {error}", file=sys.stderr)
        return FAILED
    except NotPluggedIn as error:
        again = f": {shlex.join(['rljax', *arguments, *error.options])}" if error.options else ""
        print(f"rljax: {error.why}{again}", file=sys.stderr)
        return USAGE
    except RljaxError as error:
        print(f"rljax: {error}", file=sys.stderr)
        return USAGE
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(
            "rljax: the memory is full: give fewer environments, smaller networks or a smaller width", file=sys.stderr
        )
        return FAILED
    except KeyboardInterrupt:
        return SIGNALLED + 2
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGNALLED + 13
    finally:
        warnings.showwarning = shown


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    """Prints a warning in one line, without the line of code that it came from."""
    print(f"rljax: {message}" if category is UserWarning else f"{category.__name__}: {message}", file=sys.stderr)


def _with_config(arguments: list[str]) -> list[str]:
    """Puts the options of a `--config` file in place of it."""
    given = next((option for word in arguments if (option := word.partition("=")[0]) in ("--config", "--from")), "")
    if not given:
        return arguments
    from rljax.cli.config_file import COMMANDS as TAKING
    from rljax.cli.config_file import expand

    position = next((i for i, word in enumerate(arguments) if word in COMMANDS), len(arguments))
    taken = arguments[position : position + 1]
    takers = TAKING if given == "--config" else {"train"}
    if not {*taken} & takers:
        raise ConfigError(f"{given} is for {', '.join(sorted(takers))}; {' '.join(['rljax', *taken])} takes none")
    return [*arguments[:position], *taken, *expand(arguments[position + 1 :])]


def _with_plugins(arguments: Sequence[str]) -> list[str]:
    """Loads what `--plugin` names, and minds `--no-plugins`, wherever they stand; returns the other words."""
    rest, words = [], list(arguments)
    while words:
        option, equals, value = (word := words.pop(0)).partition("=")
        if option == "--plugin":
            if not (equals or words):
                raise ConfigError("--plugin needs a value: my_package or ./mine.py")
            plugins.load(value if equals else words.pop(0))
        elif word == "--no-plugins":
            plugins.disable()
        else:
            rest.append(word)
    return rest


def _parse(arguments: list[str]) -> Callable[[], int]:
    if not arguments:
        raise ConfigError("a command is missing; rljax --help shows all")
    command, rest = arguments[0], arguments[1:]
    if command == "--version":
        from rljax import __version__

        return lambda: print(f"rljax {__version__}") or 0
    found = COMMANDS.load(command)
    return parser.parse(found, f"rljax {command}", rest) if isinstance(found, type) else found(rest)
