"""What the action tells its runner, from results alone."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from support import junit as strict
from support.commands import REPOSITORY

from lab import pytest_plugin
from lab.report import results


@pytest.fixture(scope="module")
def action() -> ModuleType:
    spec = importlib.util.spec_from_file_location("action", REPOSITORY / "tools" / "action.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["action"] = module  # where its dataclass looks for the names of its types
    spec.loader.exec_module(module)
    return module


ONE_OF_EACH = Counter(held=1, skipped=1)


@pytest.mark.parametrize(
    ("statuses", "outcomes", "allowed", "status"),
    [
        ([0], Counter(held=2), False, 0),
        ([0], ONE_OF_EACH, False, 4),
        ([0], ONE_OF_EACH, True, 0),
        ([4], Counter(skipped=2), True, 4),
        ([0], Counter(skipped=2), True, 4),
        ([4, 0], Counter(held=2), False, 0),  # all was skipped here, and held in a guest
        ([1, 0], Counter(failure=1, skipped=1), True, 1),
        ([0, 1], Counter(held=1, failure=1), False, 1),
        ([1, 3], Counter(failure=1, error=1), False, 3),
        ([3, 2], Counter(), False, 2),
        ([1, 70], Counter(failure=1), False, 70),
        ([130], ONE_OF_EACH, False, 130),
        ([-9], Counter(), False, -9),  # killed, by the kernel for its memory for one
        ([127], Counter(), False, 127),
    ],
)
def test_the_status_is_the_first_that_applies(
    action: ModuleType, statuses: list[int], outcomes: Counter[str], allowed: bool, status: int
) -> None:
    assert action.verdict(statuses, outcomes, allowed) == status


def test_what_it_knows_of_lab_is_so(action: ModuleType) -> None:
    """It imports nothing of lab, which is not there when it begins."""
    assert action.LACKS == pytest_plugin.LACKS
    assert action.BY_RANK == results.BY_RANK
    assert action.SKIPPED == results.SKIPPED


def test_a_command_is_one_line_whatever_is_said(action: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    action.command("error", "100%\r\n::error::forged", title="a: b, c\n::", line="3")
    assert capsys.readouterr().out == "::error title=a%3A b%2C c%0A%3A%3A,line=3::100%25%0D%0A::error::forged\n"


def test_an_output_has_a_delimiter_of_its_own(action: ModuleType) -> None:
    first, second = (action.output("report", "a\nEOF\nb").splitlines() for _ in range(2))
    assert first[1:-1] == ["a", "EOF", "b"]
    assert first[0] == f"report<<{first[-1]}"
    assert first[-1] != second[-1]


def test_a_cell_of_the_summary_is_text_and_in_one_row(action: ModuleType) -> None:
    assert action._cell("a | b\n<script> `x` &amp;") == "a &#124; b<br>&lt;script> &#96;x&#96; &amp;amp;"
    assert len(action._cell("x" * 5000)) == 301


def test_a_long_table_says_how_many_are_not_in_it(action: ModuleType) -> None:
    cases = [ElementTree.fromstring(f'<testcase classname="a" name="t{i}"><error message="no"/></testcase>') for i in range(60)]
    told = action.summary("60 could not be made", 3, cases)
    assert told.count("| could not be made |") == 50
    assert "10 more are in the report." in told


def test_a_failure_that_was_expected_is_no_skip(action: ModuleType) -> None:
    case = ElementTree.fromstring('<testcase name="a"><skipped type="pytest.xfail" message=""/></testcase>')
    assert action.outcome(case) == "held"


def test_what_was_made_in_a_guest_takes_the_place_of_what_lacked_something(action: ModuleType, tmp_path: Path) -> None:
    here, there = tmp_path / "here.xml", tmp_path / "there.xml"
    lacks = '<properties><property name="lab-lacks" value="t.py::b"/></properties>'
    skipped = '<skipped message="no"/></testcase>'
    here.write_text(
        '<testsuites><testsuite name="pytest" tests="3" failures="0" errors="0" skipped="2"><testcase classname="t" name="a"/>'
        f'<testcase classname="t" name="b">{lacks}{skipped}<testcase classname="t" name="c">{skipped}</testsuite></testsuites>'
    )
    there.write_text(
        '<testsuites><testsuite name="lab" tests="1" failures="1" errors="0"><testcase classname="t" name="b">'
        '<failure message="no"/></testcase></testsuite></testsuites>'
    )
    action.merge(here, there)
    assert strict.read(here) == {"a": "held", "b": "failure", "c": "skipped"}


def test_a_place_is_the_last_line_of_the_traceback_in_the_repository(
    action: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    folder = tmp_path / "sub"
    folder.mkdir()
    for name in ("test_a.py", "helper.py"):
        (folder / name).touch()
    text = "test_a.py:3: in test_a\nhelper.py:7: in helps\n/usr/lib/python3/x.py:9: in there\nE   gone.py:1: no\n"
    case = ElementTree.fromstring(f"<testcase><failure>{text}</failure></testcase>")
    assert action.place(case, folder) == {"file": "sub/helper.py", "line": "7"}
    assert action.place(ElementTree.fromstring("<testcase><failure>no</failure></testcase>"), folder) == {}
