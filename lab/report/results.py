"""The results of a run as frozen values, and the exit status that they come to. Knows no pytest and prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.drawing.picture import Picture

INTERRUPTED, TERMINATED, FAULT, WRONG_CALL, HOST_CANNOT, DOES_NOT_HOLD, SKIPPED, HELD = 130, 143, 70, 2, 3, 1, 4, 0
BY_RANK = (INTERRUPTED, TERMINATED, FAULT, WRONG_CALL, HOST_CANNOT, DOES_NOT_HOLD)
"""Of several that apply the first one counts."""


class Outcome(StrEnum):
    HELD = "held"
    FAILED = "failed"
    """The check was made, and it does not hold."""
    ERROR = "error"
    """The check could not be made, or something was left behind by it."""
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Table:
    """What a check measured: the names of the columns, and rows of as many cells. Shown also where the check holds."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
        """Cells become text; a float has two digits behind its point. Raises ValueError for a row of another length."""
        table = cls(tuple(columns), tuple(tuple(map(_cell, row)) for row in rows))
        if wrong := [row for row in table.rows if len(row) != len(table.columns)]:
            raise ValueError(f"a row has {len(table.columns)} cells, not {len(wrong[0])}: {wrong[0]}")
        return table

    def __str__(self) -> str:
        """Lines of plain text, column below column."""
        lines = (self.columns, *self.rows)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Step:
    """What was done on a node: `kind` is run, spawn, wait, set or ask; `started` in seconds since the epoch; `seconds` is None
    for what had not come to its end."""

    node: str
    kind: str
    what: str
    started: float
    seconds: float | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame on the wire: `time` in seconds since the epoch by the kernel, `direction` sends or receives, `summary` a line,
    `dissection` every field; `length` in bytes."""

    time: float
    interface: str
    direction: str
    summary: str
    dissection: str
    length: int


@dataclass(frozen=True, slots=True)
class Capture:
    """The frames of one capture, the first ones; `more` counts those behind them, `lost` those that the kernel dropped."""

    interfaces: tuple[str, ...]
    filter: str
    frames: tuple[Frame, ...]
    more: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is kept of a check where a report is wanted. `topology` is the name of its file, `picture` what is drawn of it:
    of a check that did not hold as the lab was at its end."""

    topology: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    more_steps: int = 0
    captures: tuple[Capture, ...] = ()
    picture: Picture | None = None


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
    tables: Mapping[str, Table] = field(default_factory=dict)
    """By their titles."""
    started: float = 0.0
    """Seconds since the epoch."""
    recorded: Recorded = Recorded()
    kernel: str = ""
    """The release of the guest's kernel that it was made on; empty for the one that runs here."""


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
    about: Mapping[str, str] = field(default_factory=dict)
    """Scenario -> what it is about."""
    virtual: bool = False
    """Whether every time of it is that of a guest whose clock is decoupled from ours."""

    def count(self, outcome: Outcome) -> int:
        return Counter(check.outcome for check in self.checks)[outcome]

    @property
    def status(self) -> int:
        """The exit status of `lab run`: the first that applies."""
        asked = {self.ending, *(check.status for check in self.checks)}
        asked |= {WRONG_CALL} if self.problems or not (self.checks or self.ending or self.left_out) else set()
        for status in BY_RANK:
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
        clock = " of virtual time" if self.virtual else ""
        return f"{told}, in {self.seconds:.1f} s{clock}{left_out}{_ENDINGS.get(self.ending, '')}"


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
