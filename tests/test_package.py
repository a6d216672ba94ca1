"""The package ships whole, and imports run one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rljax"

ORDER = """
    errors fingerprint plugins registry catalogue origins
    storage resources shipped processes kinds fields declarations arguments records
    modes spaces types runtime settings parts orbax_files
    ops nets objectives data
    envs
    on_policy off_policy
    algos
    progress saved_leaves checkpoint jsonl log results
    divergence run task build spec policy deploy footprint warm_start evaluation watch trainer api
    engine
    sweeps meta folders templates
    cli __main__
""".split()  # noqa: SIM905  a room imports from those before it


@cache
def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def room(module: str) -> str:
    """The part of the package that a module belongs to: `ops` of `rljax.ops.returns`."""
    return module.split(".")[1]


@cache
def imports(path: Path) -> set[str]:
    """The rljax modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name in modules()} - {"rljax"}


def test_every_room_has_its_place_in_the_order():
    assert {room(module) for module in modules() if module != "rljax"} - set(ORDER) == set()


def test_imports_run_one_way():
    for module, path in modules().items():
        for imported in imports(path) if module != "rljax" else ():
            assert ORDER.index(room(imported)) <= ORDER.index(room(module)), f"{module} imports {imported}"


BELOW_ALGORITHMS = (
    "types",
    "spaces",
    "errors",
    "fields",
    "ops",
    "nets",
    "data",
    "objectives",
    "on_policy",
    "off_policy",
)


def test_algorithms_know_neither_drivers_nor_each_other():
    for module, path in modules().items():
        if module.startswith("rljax.algos.") and module != "rljax.algos.presets":
            allowed = tuple(f"rljax.{room}" for room in BELOW_ALGORITHMS)
            assert all(name.startswith(allowed) for name in imports(path)), module


def test_the_front_doors_lead_into_the_package():
    for name in ("envs", "algos"):
        assert (ROOT / name).resolve() == PACKAGE / name


def built(project, out) -> Path:
    """The wheel of a project, built in the folder `out`."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(project)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


def test_a_wheel_holds_every_module_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name and "__pycache__" not in name}
    present = {str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert shipped == present


def test_nobody_is_sent_to_another_project():
    """`rljax` on the package index is not this one."""
    texts = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    assert [
        t.name for t in texts if re.search(r"rljax\[|(install|add) (-U |--upgrade )?['\"]?rljax\b(?!-)", t.read_text())
    ] == []


def test_a_wheel_has_a_name_of_its_own_and_the_version_of_the_code(wheel):
    import rljax

    assert wheel.name.startswith(f"rljax_research-{rljax.__version__}-")


def test_a_wheel_works_without_the_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = "import rljax, rljax.algos; print(rljax.__file__); assert rljax.algos.settings('ppo')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith(str(tmp_path)), done.stderr
