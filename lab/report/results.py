"""The results of a run as frozen values, and the exit status that they come to. Knows no pytest and prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

INTERRUPTED, TERMINATED, FAULT, WRONG_CALL, HOST_CANNOT, DOES_NOT_HOLD, SKIPPED, HELD = 130, 143, 70, 2, 3, 1, 4, 0
_BY_RANK = (INTERRUPTED, TERMINATED, FAULT, WRONG_CALL, HOST_CANNOT, DOES_NOT_HOLD)
"""Of several that apply the first one counts."""


class Outcome(StrEnum):
    HELD = "held"
    FAILED = "failed"
    """The check was made, and it does not hold."""
    ERROR = "error"
    """The check could not be made, or something was left behind by it."""
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `status` is the exit status that it asks for, `message` one or a few lines, `detail` the whole traceback."""

    scenario: str
    name: str
    title: str
    outcome: Outcome
    seconds: float
    status: int = HELD
    message: str = ""
    detail: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """All checks in the order in which they were decided. `started` in seconds since the epoch; `problems` are what kept
    scenarios from being collected, in words; `ending` is a status that is no check's: interrupted, fault, wrong call.
    `left_out` counts the slow checks that nobody asked for."""

    checks: tuple[Check, ...]
    started: float
    seconds: float
    problems: tuple[str, ...] = ()
    ending: int = HELD
    fail_on_skip: bool = False
    left_out: int = 0

    def count(self, outcome: Outcome) -> int:
        return Counter(check.outcome for check in self.checks)[outcome]

    @property
    def status(self) -> int:
        """The exit status of `lab run`: the first that applies."""
        asked = {self.ending, *(check.status for check in self.checks)}
        asked |= {WRONG_CALL} if self.problems or not (self.checks or self.ending or self.left_out) else set()
        for status in _BY_RANK:
            if status in asked:
                return status
        skipped = self.count(Outcome.SKIPPED)
        return SKIPPED if skipped == len(self.checks) or (skipped and self.fail_on_skip) else HELD

    @property
    def verdict(self) -> str:
        """One line: what it came to."""
        said = [f"{self.count(outcome)} {_WORDS[outcome]}" for outcome in Outcome if self.count(outcome)]
        told = ", ".join(said) or "nothing was checked"
        left_out = f"; {self.left_out} slow left out, --slow runs them" if self.left_out else ""
        return f"{told}, in {self.seconds:.1f} s{left_out}{_ENDINGS.get(self.ending, '')}"


_WORDS = {
    Outcome.HELD: "held",
    Outcome.FAILED: "did not hold",
    Outcome.ERROR: "could not be made",
    Outcome.SKIPPED: "skipped",
}
_ENDINGS = {
    INTERRUPTED: "; interrupted, everything is undone",
    TERMINATED: "; terminated, everything is undone",
    FAULT: "; ended by a fault of lab's own",
}
