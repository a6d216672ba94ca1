"""`rljax meta-train`: learns the objective or the rule that agents learn by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from tyro.conf import UseAppendAction

from rljax import algos, envs
from rljax.algos.presets import preset
from rljax.arguments import PROCESSES, SEED, SOME
from rljax.cli import parser
from rljax.cli.options import Option, command_type, given, named, of_settings
from rljax.cli.shared import keep, outcome
from rljax.errors import SIGNALLED, ConfigError, require, unknown
from rljax.kinds import INF, Maybe, Number, whole
from rljax.settings import DRIFT, literal, pairs, values, with_objective
from rljax.storage import absolute, shown
from rljax.sweeps.space import DISTRIBUTIONS

EVOLUTION = ("popsize", "runs", "pairs", "normalise", "strategy", "strategy_with")  # what that method alone takes
DESCENT = ("agents", "num_updates", "meta_steps", "meta_lr", "meta_max_grad_norm")
LENGTHS = "a number, or SHORTEST:LONGEST"


class Learnable(NamedTuple):
    """Something that can be learned."""

    algo: str
    settings: dict[str, Any]
    parts: tuple[str, ...]  # of hypers
    doc: str
    units: int = 0  # of its network's hidden layer; 0: it has none to choose
    descends: bool = False  # whether it can be learned by meta-gradients too


LEARNABLE = {
    "lpo": Learnable("ppo", {"objective": "lpo"}, DRIFT, "the drift of a policy objective, beginning from PPO's", 128),
    "ta-lpo": Learnable("ppo", {"objective": "ta-lpo"}, DRIFT, "a drift that may change over the agent's run", 128),
    "lpg": Learnable("lpg", {}, ("rule",), "the rule by which agents learn, from nothing", descends=True),
    "ta-lpg": Learnable("ta-lpg", {}, ("rule",), "a rule that knows how old its agent is and will be", descends=True),
}


@dataclasses.dataclass(frozen=True)
class Resume:
    """Continue a search that was stopped or killed, to the same bits as without the stop.

    Args:
      resume: the search's folder.
      workers: processes.
      objective: module:Class, where that is one of your own.
    """

    resume: Path
    workers: Annotated[int | None, PROCESSES] = None
    objective: str | None = None

    def __call__(self) -> int:
        from rljax.meta import search

        return _finish(outcome(lambda: search.resume(self.resume, objective=self.objective, workers=self.workers)))


def parse(arguments: Sequence[str]) -> Callable[[], int]:
    """`rljax meta-train`, ready to be called."""
    if any(a == "--resume" or a.startswith("--resume=") for a in arguments):
        return parser.parse(Resume, "rljax meta-train", arguments)
    what = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if what is None and not any(a in ("-h", "--help") for a in arguments):
        raise ConfigError(
            f"meta-train needs what to learn: {', '.join(LEARNABLE)}, e.g. rljax meta-train lpo --env CartPole-v1"
        )
    learnable = _learnable(what or "lpo")
    known = dict(algos.settings(learnable.algo))
    if "objective" in learnable.settings:
        known = with_objective(known, learnable.settings["objective"])
    taken = (*learnable.settings, *learnable.parts, "horizon")  # learned, or set by each run
    known = {name: setting for name, setting in known.items() if name not in taken}
    settings = of_settings(known, {name: setting.default for name, setting in known.items()})
    doc = f"Learn {learnable.doc}: by evolution, the fitness of a member comes from whole training runs."
    kind = command_type("MetaTrain", doc, [*_options(learnable), *settings])
    parsed = parser.read(kind, f"rljax meta-train {what or 'WHAT'}", arguments[what is not None :])
    learnable = learnable._replace(parts=getattr(parsed.command, "learn", learnable.parts))
    require(bool(learnable.parts), "learn", "()", f"say which numbers of {what} to learn, e.g. --learn lr entropy_coef")
    method = getattr(parsed.command, "method", "evolution")
    for name in EVOLUTION if method == "gradient" else DESCENT:
        require(name not in parsed.given, name, getattr(parsed.command, name, None), f"has no effect with {method}")
    return lambda: _train(what or "lpo", learnable, parsed.command, given(parsed, known))


def _learnable(what: str) -> Learnable:
    """The thing to learn of that name, or the numbers of an algorithm. Raises ConfigError where it is neither."""
    if what in LEARNABLE:
        return LEARNABLE[what]
    if not algos.ALGORITHMS.knows(what):
        raise unknown("thing to learn", what, [*LEARNABLE, *algos.names()])
    return Learnable(what, {}, (), f"numbers of {what}, those that --learn names")


def _options(learnable: Learnable) -> list[Option]:
    several = UseAppendAction[tuple[str, ...]]
    descent = [
        Option("method", Literal["evolution", "gradient"], "evolution", "gradient: follow meta-gradients instead"),
        Option("agents", SOME, 64, "with gradient: agents that learn at a time"),
        Option("num_updates", SOME, 5, "with gradient: updates that it passes through"),
        Option("meta_steps", SOME, 10, "with gradient: steps a generation"),
        Option("meta_lr", Number(low=0.0), 1e-4, "with gradient: learning rate of what is learned"),
        Option(
            "meta_max_grad_norm", Number(above=0.0, high=INF), 0.5, "with gradient: bound on a meta-gradient's norm"
        ),
    ]
    descent = descent if learnable.descends else []
    parts = [] if learnable.parts else [Option("learn", tuple[str, ...], (), "its numbers: lr entropy_coef ...")]
    units = [Option("units", SOME, learnable.units, "hidden units of the drift's network")] if learnable.units else []
    return [
        *parts,
        *units,
        Option("env", several, (), "an environment, NAME[,FIELD=VALUE...] with settings on it; may be repeated"),
        Option(
            "steps", str | None, None, f"environment steps of a run, {LENGTHS} (log-uniform); default: the preset's"
        ),
        Option("vary", several, (), f"a task parameter drawn for every run, NAME=DISTRIBUTION, being {DISTRIBUTIONS}"),
        Option("env_args", tuple[str, ...], (), "arguments of the environment's factory: NAME=VALUE ..."),
        Option("generations", SOME, 100, "updates of what is learned"),
        Option("popsize", SOME, 32, "members a generation"),
        Option("runs", SOME, 1, "whole training runs of each member in each generation"),
        Option("pairs", bool, False, "give every antithetic pair other runs, instead of all members the same"),
        Option(
            "fitness",
            Literal["final", "mean", "evaluation"],
            "final",
            "of a run: last tenth, all of it, or episodes after",
        ),
        Option("normalise", Literal["ranks", "z-score", "pairwise", "none"], "ranks", "how runs are made comparable"),
        *descent,
        Option("strategy", str, "open-es", "or one of evosax's, e.g. CMA_ES"),
        Option("strategy_with", tuple[str, ...], (), "its numbers: sigma=0.1 lr=0.03 ..."),
        Option("seed", SEED, 0, "of the search"),
        Option("validation_runs", SOME, 16, "validation runs on each environment, which evaluate the mean"),
        Option("validate_every", SOME, 10, "generations between validations"),
        Option(
            "out", str | None, None, "the folder; by default searches/WHAT-ENV, numbered; of this same search: go on"
        ),
        Option("workers", PROCESSES, None, "processes; by default one for each core, or one for all accelerators"),
        Option("width", Maybe(SOME), None, "runs side by side in a program; by default what measures fastest"),
        Option("memory_limit", str | None, None, "for all arrays, e.g. 16GB; by default most of what is free"),
    ]


def _train(what: str, learnable: Learnable, options: Any, settings: dict[str, Any]) -> int:
    require(len(options.env) > 0, "env", None, "say on which environment, e.g. --env CartPole-v1")
    places = [named(text, "env") for text in options.env]
    for env, _ in places:
        envs.accept(env)
    from rljax import runtime
    from rljax.meta import search
    from rljax.results.folder import Numbered

    runtime.start()

    numbers = {**learnable.settings, **_network(learnable, options), **settings}
    common = {
        "domains": tuple(_domain(learnable, env, numbers | more, options) for env, more in places),
        "learn": learnable.parts,
        "generations": options.generations,
        "kind": options.fitness,
        "seed": options.seed,
        "validation_runs": options.validation_runs,
        "validate_every": options.validate_every,
    }
    name = "-".join([what, *(env for env, _ in places)]).replace("/", "-")
    how = {"workers": options.workers, "width": options.width, "memory_limit": options.memory_limit}
    where = Numbered(absolute("searches"), name) if options.out is None else absolute(options.out)
    asked = _search(common, options)
    return _finish(outcome(lambda: search.run(asked, where, **how)))


def _search(common: dict[str, Any], options: Any) -> Any:
    """The search by the method that was asked for."""
    from rljax.meta import descend, evolve, registry

    if getattr(options, "method", "evolution") == "gradient":
        return descend.Descent(**common, **{name: getattr(options, name) for name in DESCENT})
    numbers = values(options.strategy_with, "strategy_with")
    strategy = registry.strategy(options.strategy, options.popsize, **numbers)
    how = {"runs": options.runs, "shared": not options.pairs, "normalise": options.normalise}
    return evolve.Evolution(**common, strategy=strategy, **how)


def _domain(learnable: Learnable, env: str, settings: dict[str, Any], options: Any) -> Any:
    """Makes a domain with these settings."""
    from rljax.meta import spec

    steps = _lengths(settings.pop("steps", options.steps))
    known = preset(learnable.algo, env)
    require(steps is not None or known is not None, "steps", None, f"there is no preset for {env}; say how many")
    vary = pairs(options.vary, DISTRIBUTIONS, "vary")
    env_args = values(options.env_args, "env_args")
    return spec.domain(learnable.algo, env, steps, vary=vary, env_args=env_args, **settings)


def _network(learnable: Learnable, options: Any) -> dict[str, Any]:
    """Makes the objective that the search begins with: its network is zero, of the width that was asked for."""
    if not learnable.units:
        return {}
    from rljax import objectives

    require(options.units >= 1, "units", options.units, "must be at least 1")
    kind = objectives.named(learnable.settings["objective"])
    return {"objective": kind(**objectives.network(kind().hidden.shape[0], options.units))}


def _lengths(text: Any) -> int | tuple[int, int] | None:
    """`65536`, or `16384:262144`."""
    if text is None:
        return None
    parts = str(text).split(":")
    numbers = [whole(literal(part)) for part in parts]
    fits = len(parts) <= 2 and all(type(number) is int for number in numbers)
    require(fits, "steps", text, f"must be {LENGTHS}")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _finish(found: Any) -> int:
    """Prints the result of a search: how to continue it, or what was learned and its scores."""
    from rljax.results.folder import SEARCH

    if found.stopped_by:
        done = f"{found.generation} of {found.record['generations']} generations"
        print(f"stopped by {found.stopped_by.name} after {done}; to go on: {SEARCH.again(found.folder)}")
        return SIGNALLED + found.stopped_by
    last = {name: x[-1] for name, x in found.history.items()}
    count = found.record["validation_runs"]
    for name in found.record["names"]:
        learned, start, gain = (_interval(last, f"{kind}/{name}") for kind in ("held_out", "start", "gain"))
        print(f"{name}: {learned}, at the start {start}, difference {gain}")
    print(f"(mean fitness of {count} validation runs, with 95 % intervals; the difference is paired)")
    learned = keep("what was learned", lambda: found.save(found.folder / "learned.npz"))
    if learned:
        print(f"learned: {shown(learned)}")
    pictures = keep("a picture", found.plot)
    if pictures:
        print("pictures:", *map(shown, pictures))
    print(f"search folder: {shown(found.folder)}")
    return 0


def _interval(row: dict[str, float], name: str) -> str:
    return f"{row[name]:.4g} [{row[name + '/low']:.4g}, {row[name + '/high']:.4g}]"
