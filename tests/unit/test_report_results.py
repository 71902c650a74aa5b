"""What a run comes to: its exit status is the first line of the table that applies, and its verdict says it in one line."""

from __future__ import annotations

import itertools

import pytest

from lab.report.results import Check, Outcome, Run, Table

HELD = Check("s", "test_a", "it holds", Outcome.HELD, 0.1)
SKIPPED = Check("s", "test_b", "it is skipped", Outcome.SKIPPED, 0.1, message="no vlan")
FAILED = Check("s", "test_c", "it does not hold", Outcome.FAILED, 0.1, status=1)
BROKEN = Check("s", "test_d", "a step fails", Outcome.ERROR, 0.1, status=3)
WRONG = Check("s", "test_e", "its topology is wrong", Outcome.ERROR, 0.1, status=2)
FAULT = Check("s", "test_f", "lab is at fault", Outcome.ERROR, 0.1, status=70)


def a_run(*checks: Check, ending: int = 0, problems: tuple[str, ...] = (), fail_on_skip: bool = False) -> Run:
    return Run(checks, 0.0, 1.25, problems, ending, fail_on_skip)


@pytest.mark.parametrize(
    ("run", "status"),
    [
        (a_run(HELD), 0),
        (a_run(HELD, SKIPPED), 0),
        (a_run(HELD, SKIPPED, fail_on_skip=True), 4),
        (a_run(SKIPPED), 4),
        (a_run(HELD, FAILED), 1),
        (a_run(SKIPPED, FAILED, fail_on_skip=True), 1),
        (a_run(FAILED, BROKEN), 3),
        (a_run(BROKEN, WRONG), 2),
        (a_run(HELD, problems=("cannot be collected",)), 2),
        (a_run(), 2),
        (Run((), 0.0, 1.0, left_out=2), 4),
        (a_run(WRONG, FAULT), 70),
        (a_run(FAULT, ending=130), 130),
        (a_run(ending=143), 143),
    ],
)
def test_the_first_line_of_the_table_that_applies_is_the_status(run: Run, status: int) -> None:
    assert run.status == status


@pytest.mark.parametrize("order", list(itertools.permutations((HELD, FAILED, BROKEN))))
def test_the_order_of_the_checks_does_not_matter_to_the_status(order: tuple[Check, ...]) -> None:
    assert a_run(*order).status == 3


def test_the_verdict_counts_each_outcome_that_there_was() -> None:
    assert a_run(HELD, HELD, FAILED, SKIPPED).verdict == "2 held, 1 did not hold, 1 skipped, in 1.2 s"


def test_the_verdict_of_an_interrupted_run_says_so() -> None:
    assert a_run(HELD, ending=130).verdict == "1 held, in 1.2 s; interrupted, everything is undone"


def test_the_verdict_of_a_run_without_checks_does_not_claim_that_anything_held() -> None:
    assert a_run().verdict == "nothing was checked, in 1.2 s"


def test_the_verdict_counts_the_slow_checks_that_were_left_out() -> None:
    assert Run((HELD,), 0.0, 1.25, left_out=2).verdict == "1 held, in 1.2 s; 2 slow left out, --slow runs them"


def test_a_table_is_text_in_columns_and_a_float_has_two_digits() -> None:
    table = Table.of(("way", "s"), [("none", 1.2345), ("a longer one", 7)])
    assert table.rows == (("none", "1.23"), ("a longer one", "7"))
    assert str(table).splitlines() == ["way           s", "none          1.23", "a longer one  7"]
    assert str(Table.of(("way", "s"), [])) == "way  s"


def test_a_table_with_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a row has 2 cells, not 1"):
        Table.of(("way", "s"), [("none",)])


def test_the_verdict_says_that_times_are_virtual() -> None:
    assert Run((), 0.0, 3600.0, virtual=True).verdict == "nothing was checked, in 3600.0 s of virtual time"
    assert "virtual" not in Run((), 0.0, 1.0).verdict
