"""The table of deliberate errors is in step with the package and its tests."""

from __future__ import annotations

import pytest

from mutants import MUTANTS
from mutants.mutant import ROOT


def test_there_are_enough_of_all_kinds():
    assert len(MUTANTS) >= 80
    rooms = {mutant.file.split("/")[0] for mutant in MUTANTS}
    wanted = {
        "ops",
        "data",
        "nets",
        "objectives",
        "off_policy",
        "algos",
        "run.py",
        "engine",
        "sweeps",
        "meta",
        "results",
    }
    assert wanted <= rooms
    algorithms = {mutant.file for mutant in MUTANTS if mutant.file.startswith("algos/")}
    assert len(algorithms) >= 7, algorithms


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.meaning}")
def test_an_error_can_be_made_and_its_tests_exist(mutant):
    assert mutant.occurrences == 1, (
        f"'{mutant.old}' is to stand once in rljax/{mutant.file}; bring the table up to date"
    )
    assert mutant.new != mutant.old
    for test in mutant.tests:
        file, _, name = test.partition("::")
        text = (ROOT / "tests" / file).read_text()
        assert f"def {name.partition('[')[0]}" in text if name else text
