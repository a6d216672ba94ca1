"""The names of suites: listed without their libraries, compared with them where they are installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from rljax import envs
from rljax.envs.suites import catalogue
from rljax.errors import ConfigError

MODULES = {suite: "mujoco_playground" if suite == "playground" else suite for suite in catalogue.SUITES}


def test_listing_imports_no_library():
    program = (
        "import sys, rljax.envs\n"
        "assert 'craftax/symbolic' in rljax.envs.names() and 'navix/Empty-8x8' in rljax.envs.names()\n"
        f"print([m for m in ('jax', 'numpy', *{list(MODULES.values())}) if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("suite", MODULES)
def test_without_its_library_a_suite_says_what_to_install(suite, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == MODULES[suite]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, MODULES[suite], None)
    first = next(iter(catalogue.SUITES[suite]))
    with pytest.raises(ConfigError, match=rf"needs {suite}: pip install '{catalogue.REQUIRES[suite]}'") as error:
        envs._make.__wrapped__(f"{suite}/{first}", None)
    assert "\n" not in str(error.value)


def test_other_names_are_refused():
    for name, message in (
        ("craftax/symbolik", "did you mean 'craftax/symbolic'"),
        ("jumanji/Sokoban", "is left out: it downloads its levels"),
    ):
        with pytest.raises(ConfigError, match=message):
            envs.make(name)


def registered(suite):
    """The names that a library has, of what can be here."""
    if suite == "craftax":
        return set(catalogue.CRAFTAX.values())
    if suite == "xminigrid":
        import xminigrid

        return set(xminigrid.registered_environments())
    if suite == "navix":
        import navix

        return set(navix.registry())
    if suite == "jumanji":
        import jumanji

        return set(jumanji.registered_environments())
    if suite == "jaxmarl":
        import jaxmarl

        return set(jaxmarl.registered_envs)
    from mujoco_playground._src import dm_control_suite

    return set(dm_control_suite.ALL_ENVS)


WHOLE = {"xminigrid": set(), "jumanji": {"Sokoban-v0"}, "playground": set()}  # what is left out of those that are whole


@pytest.mark.parametrize("suite", MODULES)
def test_names_are_those_of_the_library(suite):
    if find_spec(MODULES[suite]) is None:
        pytest.skip(f"{suite} is not installed: make test-suites")
    here, library = set(catalogue.SUITES[suite].values()), registered(suite)
    assert here <= library
    if suite in WHOLE:
        assert library - here == WHOLE[suite]
