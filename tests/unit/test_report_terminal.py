"""What a run looks like where somebody reads it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable

import pytest

from lab.report.results import Check, Outcome, Run, Table
from lab.report.terminal import Terminal

HELD = Check("rp-filter", "test_a", "It holds", Outcome.HELD, 0.0123)
SKIPPED = Check("rp-filter", "test_b", "It is skipped", Outcome.SKIPPED, 0.001, message="this kernel has no vlan")
EVIDENCE = {"routes": "target:\n  default", "long": "\n".join(f"line {number}" for number in range(100))}
FAILED = Check(
    "other", "test_c", "It does not", Outcome.FAILED, 0.5, 1, "assert 1 == 2", "x.py:3: in test_c\n  assert 1 == 2", EVIDENCE
)


def written(do: Callable[[Terminal], object], verbosity: int = 0, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    do(Terminal(stream, verbosity))
    stream.seek(0)
    return stream.read()


def test_a_check_is_a_mark_its_title_and_how_long_it_took() -> None:
    assert written(lambda terminal: terminal.check(HELD)) == "rp-filter\n  ✓ It holds  12 ms\n"


def test_a_table_is_shown_below_its_check_also_where_that_holds() -> None:
    held = Check("s", "t", "It holds", Outcome.HELD, 0.0, tables={"outage": Table.of(("way", "s"), [("none", 1.5)])})
    lines = written(lambda terminal: terminal.check(held)).splitlines()
    assert lines[2:] == ["    outage", "      way   s", "      none  1.50"]


def test_a_scenario_is_named_once_and_says_what_it_is_about() -> None:
    def both(terminal: Terminal) -> None:
        terminal.check(HELD, "who answers")
        terminal.check(FAILED)
        terminal.check(FAILED)

    lines = written(both).splitlines()
    assert lines == ["rp-filter  who answers", "  ✓ It holds  12 ms", "other", *["  ✗ It does not  500 ms"] * 2]


def test_a_skipped_check_says_why_and_the_next_ones_do_not_repeat_it() -> None:
    def twice(terminal: Terminal) -> None:
        terminal.check(SKIPPED)
        terminal.check(SKIPPED)

    check = "  - It is skipped  1 ms"
    assert written(twice).splitlines() == ["rp-filter", check, "    this kernel has no vlan", check]


REASONS = [
    SKIPPED,
    HELD,
    SKIPPED,
    Check("rp-filter", "test_c", "So is it", Outcome.SKIPPED, 0.001, message="two lines\n  of it"),
    Check("other", "test_d", "And this", Outcome.SKIPPED, 0.001, message="this kernel has no vlan"),
]


def test_a_reason_is_told_once_in_its_scenario_and_every_line_of_it_is_indented() -> None:
    def all_of_them(terminal: Terminal) -> None:
        for check in REASONS:
            terminal.check(check)

    assert written(all_of_them).splitlines() == [
        "rp-filter",
        "  - It is skipped  1 ms",
        "    this kernel has no vlan",
        "  ✓ It holds  12 ms",
        "  - It is skipped  1 ms",
        "  - So is it  1 ms",
        "    two lines",
        "      of it",
        "other",
        "  - And this  1 ms",
        "    this kernel has no vlan",
    ]


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colours_are_forced_and_forbidden_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], coloured: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in written(lambda terminal: terminal.check(HELD))) == coloured


def test_a_long_title_stays_on_its_line_where_no_terminal_reads() -> None:
    title = "word " * 60
    long = Check("s", "t", title.strip(), Outcome.HELD, 0.0)
    assert title.strip() in written(lambda terminal: terminal.check(long))


def test_no_colour_is_written_where_no_terminal_reads() -> None:
    assert "\x1b" not in written(lambda terminal: terminal.end(Run((HELD, FAILED), 0, 0)))


def test_a_terminal_without_unicode_gets_plain_marks_and_no_error() -> None:
    assert written(lambda terminal: terminal.check(HELD), encoding="ascii") == "rp-filter\n  + It holds  12 ms\n"
    assert "? 86 more" in written(lambda terminal: terminal.end(Run((FAILED,), 0, 0)), encoding="ascii")


def test_text_in_square_brackets_is_text_and_no_markup() -> None:
    check = Check("s", "t", "[bold]It[/bold] [a-b] :smile:", Outcome.HELD, 0.0)
    assert "[bold]It[/bold] [a-b] :smile:" in written(lambda terminal: terminal.check(check))


def test_the_end_shows_what_failed_with_its_evidence_and_then_the_verdict() -> None:
    lines = written(lambda terminal: terminal.end(Run((HELD, FAILED), 0, 0.7))).splitlines()
    assert lines[1:8] == [
        "other: It does not  [test_c]",
        "  x.py:3: in test_c",
        "    assert 1 == 2",
        "  routes",
        "    target:",
        "      default",
        "  long",
    ]
    assert lines[-1] == "1 held, 1 did not hold, in 0.7 s"


def test_a_long_section_is_cut_and_says_how_to_see_the_rest() -> None:
    def end(terminal: Terminal) -> None:
        terminal.end(Run((FAILED,), 0, 0))

    assert "line 99" not in written(end)
    assert re.search(r"… \d+ more; -v shows all", written(end))
    assert "line 99" in written(end, verbosity=1)


def test_quiet_says_only_what_failed_and_the_verdict() -> None:
    def everything(terminal: Terminal) -> None:
        for check in (HELD, SKIPPED):
            terminal.check(check)
        terminal.end(Run((HELD, SKIPPED), 0, 0.7))

    assert written(everything, verbosity=-1) == "1 held, 1 skipped, in 0.7 s\n"


def test_a_reader_that_goes_away_does_not_end_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        terminal = Terminal(stream)
        terminal.check(HELD)
        terminal.end(Run((HELD,), 0, 0))
    assert capfd.readouterr() == ("", "")
