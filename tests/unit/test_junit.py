"""Checks that pytest did not make, in a JUnit file that a strict reader takes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from support import junit as strict

from lab.report import junit
from lab.report.results import Check, Outcome

CHECKS = [
    Check("vlan", "test_held", "It holds", Outcome.HELD, 1234.5678, started=1.5, kernel="6.1.0"),
    Check(
        "vlan", "test_failed", "It does not", Outcome.FAILED, 0.0, message="assert <1> & \x1b[31m\x00", detail="\ufffe\ud800"
    ),
    Check("vlan", "test_error", "It cannot", Outcome.ERROR, 0.0, message="no room"),
    Check("vlan", "test_skipped", "It is left out", Outcome.SKIPPED, 0.0, message="not today"),
]
FOUND = {"test_held": "held", "test_failed": "failure", "test_error": "error", "test_skipped": "skipped"}


def test_a_file_of_our_own_is_taken(tmp_path: Path) -> None:
    junit.write(tmp_path / "junit.xml", [junit.suite("lab", CHECKS)])
    assert strict.read(tmp_path / "junit.xml") == FOUND


def test_what_is_added_stands_beside_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    junit.add(file, "here", CHECKS[:1])
    junit.add(file, "in a guest", CHECKS[1:])
    assert strict.read(file) == FOUND
    assert [suite.get("name") for suite in ElementTree.parse(file).getroot()] == ["here", "in a guest"]


def test_no_check_at_all_is_a_suite_too(tmp_path: Path) -> None:
    junit.write(tmp_path / "junit.xml", [junit.suite("lab", [])])
    assert strict.read(tmp_path / "junit.xml") == {}


def test_the_strict_reader_is_strict(tmp_path: Path) -> None:
    """Each of these is what some writer does."""
    suite = junit.suite("lab", CHECKS)
    for spoil in (
        {"tests": "5"},
        {"time": "1,5"},
        {"failures": ""},
        {"file": "a.py"},
        {"timestamp": "today"},
        {"skipped": "2"},
    ):
        junit.write(tmp_path / "junit.xml", [suite])
        tree = ElementTree.parse(tmp_path / "junit.xml")
        tree.getroot()[0].attrib.update(spoil)
        tree.write(tmp_path / "junit.xml")
        with pytest.raises((AssertionError, ValueError)):
            strict.read(tmp_path / "junit.xml")
