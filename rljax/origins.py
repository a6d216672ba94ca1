"""Records and the plugins that their names come from: which they are, and whether they are here. Needs no jax."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from rljax import plugins, registry
from rljax.errors import ConfigError, NotPluggedIn


def used(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The plugins that these names come from: source -> version.

    Args:
      names: (what it is, name), as registries have them: `("algorithm", "a2c")`.
    """
    sources = dict.fromkeys(registry.source(what, name) for what, name in names)
    return {source: plugins.version(source) for source in sources if source}


def check(names: Iterable[tuple[str, str]], recorded: Mapping[str, str]) -> None:
    """Refuses a record some of whose names stand for nothing here, and warns where a plugin has another version.

    Args:
      names: (what it is, name).
      recorded: the plugins that the record says it used, with their versions.

    Raises:
      NotPluggedIn: it says what to plug in.
      ConfigError: there is no such name, and no plugin had it.
    """
    for what, name in names:
        try:
            registry.of(what).check(name)
        except ConfigError as error:
            missing = {source: x for source, x in recorded.items() if not plugins.is_loaded(source)}
            if not missing:
                raise ConfigError(f"{error}; {_remedy(what)}") from None
            raise _missing(f"{what} '{name}'", missing) from error
    _warn_of_versions(tuple(recorded.items()))


@cache  # once for all rows of a sweep
def _warn_of_versions(recorded: tuple[tuple[str, str], ...]) -> None:
    for source, before in recorded:
        now = plugins.version(source) if plugins.is_loaded(source) else before
        if now != before and not now.startswith("sha256") and not before.startswith("sha256"):
            warnings.warn(f"plugin '{source}' is {now} here; the record was made with {before}", stacklevel=2)


def _remedy(what: str) -> str:
    given = "given again, as env=, or " if what == "environment" else ""
    return f"one of your own is {given}registered before this call"


def _missing(what: str, versions: Mapping[str, str]) -> NotPluggedIn:
    """The error for a name whose plugin is not there; `versions` are those of all plugins that are missing."""
    for source, version in versions.items():
        if not plugins.is_file(source) and importlib.util.find_spec(source.partition(".")[0]) is None:
            where = "" if version.startswith("sha256") else f" of {version}"
            return NotPluggedIn(f"{what} comes from a plugin, {source}{where}, which is not installed here")
        if plugins.is_file(source) and not Path(source).exists():
            return NotPluggedIn(f"{what} comes from a plugin, {source}, which is gone; give where it is now: --plugin")
    return NotPluggedIn(
        f"{what} comes from a plugin, {', '.join(versions)}, and a record imports nothing; plug it in again",
        "; ".join(f"rljax.plugins.load({source!r})" for source in versions),
        tuple(word for source in versions for word in ("--plugin", source)),
    )
