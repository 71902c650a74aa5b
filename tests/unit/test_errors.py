"""The failure tree: which exit status each kind has, and what a user reads."""

from __future__ import annotations

import errno

import pytest

from lab import HostError, LabError, StepError, TeardownError, TopologyError
from lab.errors import Place, Problem, ProblemsError


@pytest.mark.parametrize(
    ("kind", "status"),
    [(TopologyError, 2), (HostError, 3), (StepError, 3), (TeardownError, 3), (LabError, 70)],
)
def test_each_kind_of_failure_has_its_exit_status(kind: type[LabError], status: int) -> None:
    assert kind.exit_status == status
    assert issubclass(kind, LabError)


def test_a_problem_is_told_with_its_place_and_what_to_write_instead() -> None:
    problem = Problem("unknown key 'kidn'", "did you mean 'kind'?", Place("x.yaml", 2, 13))
    assert str(problem) == "x.yaml:2:13: unknown key 'kidn'\n    did you mean 'kind'?"


def test_a_problem_behind_an_expression_shows_the_rendered_line() -> None:
    problem = Problem("no address", None, Place("x.yaml", 2, 1, "addresses: 10.0.0.300"))
    assert str(problem) == "x.yaml:2:1: no address\n    rendered as: addresses: 10.0.0.300"


def test_a_problem_may_have_neither_place_nor_hint() -> None:
    assert str(Problem("it is wrong")) == "it is wrong"


@pytest.mark.parametrize("kind", [TopologyError, HostError])
def test_all_problems_are_told_at_once(kind: type[ProblemsError]) -> None:
    problems = [Problem("one", place=Place("x", 1, 1)), Problem("two", "write 2")]
    error = kind(iter(problems))
    assert error.problems == tuple(problems)
    assert str(error) == "x:1:1: one\ntwo\n    write 2"


def test_a_problem_may_be_given_as_words() -> None:
    assert HostError("no root", "use sudo").problems == (Problem("no root", "use sudo"),)


def test_a_failed_step_tells_the_step_the_node_and_what_the_kernel_said() -> None:
    error = StepError("raise a:eth0", "a", errno.EBUSY, "someone has it", "see there")
    assert (error.step, error.node, error.code, error.extack) == ("raise a:eth0", "a", errno.EBUSY, "someone has it")
    assert str(error) == (
        "step failed on node a: raise a:eth0\n    EBUSY: Device or resource busy; the kernel says: someone has it; see there"
    )


def test_a_failed_step_may_know_less() -> None:
    assert str(StepError("wait", None)) == "step failed: wait"
    assert str(StepError("wait", "a", why="no carrier")) == "step failed on node a: wait\n    no carrier"
    assert "EEXIST: File exists" in str(StepError("wait", "a", errno.EEXIST))
    assert "512: Unknown error 512" in str(StepError("wait", "a", 512))


def test_a_failed_teardown_tells_every_undo_that_failed() -> None:
    error = TeardownError("two", ["unmount: busy", "end the inits: still alive"])
    assert (error.lab, error.failures) == ("two", ("unmount: busy", "end the inits: still alive"))
    assert str(error) == "lab two could not be undone whole:\n    unmount: busy\n    end the inits: still alive"


def test_a_place_can_be_clicked_in_an_editor() -> None:
    assert str(Place("a/x.yaml", 7, 3)) == "a/x.yaml:7:3"


@pytest.mark.parametrize(("value", "field"), [(Place("x", 1, 1), "line"), (Problem("x"), "message")])
def test_places_and_problems_cannot_be_changed(value: object, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, 2)
