"""The journal: what is done is kept only while somebody keeps it, in order, bounded, and with how it came out."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.observe import journal


def test_a_step_has_its_node_its_words_and_how_long_it_took() -> None:
    with journal.keeping() as kept, journal.step("a", "run", ["ip", Path("/x y"), "link"]):
        (going_on,) = kept.steps
        assert going_on.seconds is None
    (step,) = kept.steps
    assert (step.node, step.kind, step.what, step.outcome) == ("a", "run", "ip '/x y' link", "")
    assert step.seconds is not None and step.seconds >= 0
    assert step.time > 1e9


def test_a_step_that_raises_says_so_and_raises_on() -> None:
    with journal.keeping() as kept, pytest.raises(ValueError, match="no such"), journal.step("a", "set", "x = 1"):
        raise ValueError("no such\nthing")
    assert kept.steps[0].outcome == "ValueError: no such"


def test_nothing_is_kept_where_nobody_keeps_it() -> None:
    with journal.step("a", "run", ["true"]) as step:
        assert step is None
    with journal.keeping() as kept:
        pass
    with journal.step("a", "run", ["true"]):
        pass
    assert kept.steps == []


def test_a_step_in_a_step_is_one_of_its_own() -> None:
    with journal.keeping() as kept, journal.step("a", "wait", "until x"), journal.step("b", "run", ["true"]):
        pass
    assert [(step.node, step.kind) for step in kept.steps] == [("a", "wait"), ("b", "run")]


def test_a_journal_is_bounded_and_counts_the_rest() -> None:
    with journal.keeping() as kept:
        for number in range(journal.MOST + 3):
            with journal.step("a", "set", "x" * 9999 if number == 0 else str(number)):
                pass
    assert (len(kept.steps), kept.left) == (journal.MOST, 3)
    assert len(kept.steps[0].what) < 1000
    assert kept.lines().splitlines()[-1] == "… and 3 more"
