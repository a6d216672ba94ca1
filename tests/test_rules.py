"""The house rules that a program can check: size, nesting, docstrings, words."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAX_FILE, MAX_FUNCTION, MAX_NESTING, MAX_TUPLE = 300, 60, 4, 3

SHAPED = ("ops", "nets", "data", "objectives", "on_policy", "off_policy")  # rooms whose functions take arrays
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.Match)

WORDS = {  # a word of an identifier -> what the field says
    "life": "loop, run or time",
    "lives": "runs, agents or repeats",
    "crew": "runner",
    "judge": "evaluate",
    "judged": "evaluated",
    "judges": "validation runs",
    "judgement": "evaluation or validation",
    "falling": "linear_schedule",
    "meet": "intersect",
    "lot": "shard or batch",
    "lots": "shards or batches",
}
NAMES = {  # a whole identifier -> what the field says
    "wrong": "td_error, priority or fault",
    "follow": "polyak_update",
    "held": "buffer or state",
    "own": "envs, custom or a word for what it is",
    "there": "present, existing or found",
    "place": "index, environment or launch",
    "propose": "sample_policy",
}
PROSE = {  # a word of a docstring, a comment, a message or a page -> what the field says
    "crew": "runner",
    "judge": "evaluate",
    "judged": "evaluated",
    "judges": "validation runs",
    "judging": "evaluating",
    "judgement": "evaluation or validation",
    "lives": "runs or agents",
    "lots": "shards or batches",
}


@dataclass(frozen=True)
class Unit:
    """A file, as the rules read it."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """The path from the root, without the package's name: `ops/returns.py`."""
        return str(self.path.relative_to(ROOT)).removeprefix("rljax/")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def definitions(self) -> list[tuple[str, ast.AST]]:
        """The module, classes and functions, each with its dotted name; "" is the module."""
        found: list[tuple[str, ast.AST]] = [("", self.tree)]
        for name, node in found:  # which grows meanwhile
            found += [(f"{name}.{child.name}".removeprefix("."), child) for child in _definitions_in(node)]
        return found


def _definitions_in(node: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield child
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _definitions_in(child)


@cache
def units(folder: str) -> list[Unit]:
    """The Python files of a folder."""
    return [Unit(path, path.read_text()) for path in sorted((ROOT / folder).rglob("*.py"))]


def public(name: str) -> bool:
    """Whether every part of a dotted name is public."""
    return not any(part.startswith("_") for part in name.split("."))


# Each rule yields the names of what breaks it, in one file.


def long_files(unit: Unit) -> Iterator[str]:
    """Files of more than 300 lines."""
    if len(unit.text.splitlines()) > MAX_FILE:
        yield ""


def long_functions(unit: Unit) -> Iterator[str]:
    """Functions of more than 60 lines."""
    for name, node in unit.definitions:
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION:
            yield name


def deep_nesting(unit: Unit) -> Iterator[str]:
    """Functions with more than four blocks in each other."""
    for name, node in unit.definitions:
        if isinstance(node, ast.FunctionDef) and _depth(node) > MAX_NESTING:
            yield name


def _depth(node: ast.AST) -> int:
    """The most blocks around any statement below `node`; `elif` is no level of its own."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        branch = isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If)
        deepest = max(deepest, _depth(child) + (isinstance(child, BLOCKS) and not branch))
    return deepest


def undocumented(unit: Unit) -> Iterator[str]:
    """Public modules, classes and functions without a docstring."""
    for name, node in unit.definitions:
        top = "." not in name or isinstance(node, ast.ClassDef)
        if top and public(name) and unit.text.strip() and not ast.get_docstring(node):
            yield name


def shapeless(unit: Unit) -> Iterator[str]:
    """Public functions that take an array, other than a key, and name no shape, such as `[T, E]`."""
    if not unit.name.startswith(SHAPED):
        return
    for name, node in unit.definitions:
        if isinstance(node, ast.FunctionDef) and "." not in name and public(name):
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            arrays = [a for a in parameters if a.annotation and "Array" in ast.unparse(a.annotation)]
            if any(a.arg != "key" for a in arrays) and not re.search(r"\[[^\]]*\]", ast.get_docstring(node) or ""):
                yield name


def indirect_heads(unit: Unit) -> Iterator[str]:
    """Docstrings that begin with a question word or a preposition instead of a subject or a verb."""
    for name, node in unit.definitions:
        if re.match(r"(What|How|Where|Which|Who|Of|Those|That|As|By|From|Until)\b", ast.get_docstring(node) or ""):
            yield name


def long_tuples(unit: Unit) -> Iterator[str]:
    """Functions that return more than three unnamed things."""
    for name, node in unit.definitions:
        if isinstance(node, ast.FunctionDef) and node.returns:
            found = [n for n in ast.walk(node.returns) if isinstance(n, ast.Subscript)]
            if any(ast.unparse(n.value) == "tuple" and _entries(n.slice) > MAX_TUPLE for n in found):
                yield name


def _entries(inside: ast.expr) -> int:
    return len(inside.elts) if isinstance(inside, ast.Tuple) else 1


def private_identifiers(unit: Unit) -> Iterator[str]:
    """Identifiers with a word for which the field has another."""
    for name in {unit.path.stem, *_identifiers(unit.tree)}:
        if name.lower() in NAMES or WORDS.keys() & set(_words(name)):
            yield name


def _identifiers(tree: ast.Module) -> Iterator[str]:
    """The names that a file defines: functions, classes, parameters, variables, fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def _words(name: str) -> list[str]:
    """The words of an identifier in lower case, by underscores and capitals."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def private_prose(unit: Unit) -> Iterator[str]:
    """Docstrings, comments and messages with a word for which the field has another, by the word."""
    found = PROSE.keys() & set(re.findall(r"[a-z]+", unit.text.lower()))
    for token in tokenize.generate_tokens(io.StringIO(unit.text).readline) if found else ():
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield from found & set(re.findall(r"[a-z]+", token.string.lower()))


CODE, ALL = ("rljax", "benchmarks"), ("rljax", "benchmarks", "notebooks", "tests")
RULES: dict[str, tuple[Callable[[Unit], Iterator[str]], tuple[str, ...]]] = {
    "file-length": (long_files, CODE),
    "function-length": (long_functions, CODE),
    "nesting": (deep_nesting, CODE),
    "docstring": (undocumented, CODE),
    "shapes": (shapeless, ("rljax",)),
    "docstring-head": (indirect_heads, ALL),
    "tuple": (long_tuples, CODE),
    "identifier": (private_identifiers, ALL),
    "prose": (private_prose, ALL),
}


@cache
def offenders(rule: str) -> set[str]:
    """The names that break a rule today, as `file:name`."""
    find, folders = RULES[rule]
    found = {f"{unit.name}:{name}" for folder in folders for unit in units(folder) for name in find(unit)}
    return {name for name in found if not name.startswith("tests/test_rules.py:")}  # which names the words


def page_offenders() -> set[str]:
    """The words of the table in Markdown, as `file:word`."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    found = ((p, word) for p in pages for word in PROSE if re.search(rf"\b{word}\b", p.read_text(), re.I))
    return {f"{p.relative_to(ROOT)}:{word}" for p, word in found}


@pytest.mark.parametrize("rule", RULES)
def test_nothing_breaks_a_rule(rule):
    words = RULES[rule][0].__doc__
    assert offenders(rule) == set(), f"{words} See CONTRIBUTING.md and the tables in this file."


def test_pages_use_the_words_of_the_field():
    assert page_offenders() == set()


def test_benchmarks_import_each_other_in_no_circle():
    names = {unit.path.stem: unit for unit in units("benchmarks")}
    graph = {
        name: {word for node in ast.walk(unit.tree) for word in _imported(node)} & names.keys()
        for name, unit in names.items()
    }
    while graph:  # takes away what imports nothing that is left
        leaves = {name for name, imported in graph.items() if not imported & graph.keys()}
        assert leaves, f"these import each other: {sorted(graph)}"
        graph = {name: imported for name, imported in graph.items() if name not in leaves}


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {part for alias in node.names for part in alias.name.split(".")}
    if isinstance(node, ast.ImportFrom):
        return {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    return set()


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("file-length", "x = 1\n" * 301),
        ("function-length", "def f():\n" + "    x = 1\n" * 60),
        ("nesting", "def f():\n if a:\n  for b in c:\n   while d:\n    with e:\n     if g:\n      pass\n"),
        ("docstring", "def f(): ...\n"),
        ("shapes", 'def f(x: Array):\n    """Adds."""\n'),
        ("docstring-head", '"""What it is."""\n'),
        ("tuple", "def f() -> tuple[int, int, int, int]: ...\n"),
        ("identifier", "class CrewMember: ...\n"),
        ("prose", "# the crew\n"),
    ],
)
def test_a_rule_finds_what_breaks_it(rule, code):
    assert list(RULES[rule][0](Unit(ROOT / "rljax/ops/new.py", code)))
