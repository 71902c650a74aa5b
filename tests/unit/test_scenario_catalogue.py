"""What scenarios say of themselves, read from their files alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab import scenarios
from lab.topology.shipped import shipped_topologies

MINE = '''"""Who answers where.

More about it.
"""
import pytest
import what_is_not_installed

@pytest.mark.slow
@pytest.mark.lab("one", members=2)
def test_first(lab):
    """It answers."""

@pytest.mark.lab("two")
def test_second(lab): ...

@pytest.mark.lab("one")
def test_third(lab):
    """
    It answers again.

    And more.
    """

def helper():
    """No check."""
'''


def test_a_scenario_tells_its_title_topologies_and_checks_without_being_imported(tmp_path: Path) -> None:
    file = tmp_path / "who_answers.py"
    file.write_text(MINE)
    found = scenarios.read(file)
    assert (found.name, found.title, found.topologies) == ("who-answers", "Who answers where", ("one", "two"))
    assert found.checks == {"test_first": "It answers", "test_second": "test_second", "test_third": "It answers again"}


def test_every_shipped_scenario_says_what_it_is_about_and_names_shipped_topologies() -> None:
    for scenario in scenarios.shipped().values():
        assert scenario.title
        assert scenario.topologies
        assert set(scenario.topologies) <= set(shipped_topologies())


def test_every_check_of_a_shipped_scenario_has_a_sentence_of_its_own() -> None:
    for scenario in scenarios.shipped().values():
        titles = list(scenario.checks.values())
        assert len(set(titles)) == len(titles)
        assert not any(title.startswith("test_") for title in titles)


def test_listing_the_scenarios_imports_neither_pytest_nor_a_scenario() -> None:
    code = "import sys; from lab import runner; assert runner.scenarios(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pytest", "rich", "pydantic", "pyroute2", "lab.scenarios.rp_filter"} & set(loaded)
