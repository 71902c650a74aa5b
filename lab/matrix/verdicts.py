"""The runs of several kernels beside each other: cells, and where a verdict changes from one kernel to the next; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from lab.guest.verdict import had_booted
from lab.report import results
from lab.report.results import Check, Outcome, Run


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    """It could not be made there."""
    SKIPPED = "skipped"
    NO_BOOT = "could not boot"
    DIED = "died"
    """The guest, before its checks were done: it panicked, hung, ran out of memory or was killed."""
    MISSING = "-"
    """It is none of that kernel's checks."""


_OF_CHECK = {
    Outcome.HELD: Verdict.PASS,
    Outcome.FAILED: Verdict.FAIL,
    Outcome.ERROR: Verdict.ERROR,
    Outcome.SKIPPED: Verdict.SKIPPED,
}
_WORST = (Verdict.ERROR, Verdict.FAIL, Verdict.PASS, Verdict.SKIPPED)
"""Of several checks the first of these is their scenario's verdict."""
DECIDED = (Verdict.PASS, Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class Column:
    """One kernel: `name` as it was asked for, `run` what came of it; None where it did not boot, or ended before anything was
    known, with `trouble` in words and the `status` that it asks for. `seconds` is wall time, with the boot."""

    name: str
    release: str
    run: Run | None
    seconds: float
    trouble: str = ""
    status: int = 0

    @property
    def verdict(self) -> Verdict:
        """Of one without a run: `lab --kernel` says by its status that the guest did not boot, or did not live."""
        if self.status != results.HOST_CANNOT:
            return Verdict.ERROR
        return Verdict.DIED if had_booted(self.trouble) else Verdict.NO_BOOT


@dataclass(frozen=True, slots=True)
class Cell:
    """`held` of `made` checks; `reason` why it did not hold, was skipped or could not be made, in one line."""

    verdict: Verdict
    reason: str = ""
    held: int = 0
    made: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        if self.verdict in (Verdict.NO_BOOT, Verdict.DIED, Verdict.MISSING) or not self.made + self.skipped:
            return str(self.verdict)
        if self.verdict is Verdict.SKIPPED:
            return f"skipped {self.skipped}"
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.verdict} {self.held}/{self.made}{skipped}"


@dataclass(frozen=True, slots=True)
class Difference:
    """A check whose verdict is `before` on the kernel `older` and `after` on `newer`, the next one on which it was decided."""

    scenario: str
    name: str
    title: str
    older: str
    before: Verdict
    newer: str
    after: Verdict
    reason: str = ""
    """What was said where it fails."""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.title}: {self.before} on {self.older}, {self.after} on {self.newer}"


@dataclass(frozen=True, slots=True)
class Matrix:
    """`columns` from the oldest kernel to the newest."""

    columns: tuple[Column, ...]
    started: float
    seconds: float

    @property
    def scenarios(self) -> dict[str, str]:
        """Those of all kernels, each with what it is about."""
        found: dict[str, str] = {}
        for run in self._runs():
            found.update({check.scenario: run.about.get(check.scenario, "") for check in run.checks})
        return found

    def checks(self, scenario: str) -> dict[str, str]:
        """Name -> title."""
        return {check.name: check.title for run in self._runs() for check in run.checks if check.scenario == scenario}

    def _runs(self) -> Iterator[Run]:
        yield from (column.run for column in self.columns if column.run)

    def cell(self, column: Column, scenario: str, name: str | None = None) -> Cell:
        """Of a whole scenario, or of one of its checks."""
        if column.run is None:
            return Cell(column.verdict, column.trouble)
        return _cell([each for each in column.run.checks if each.scenario == scenario and name in (None, each.name)])

    def differences(self) -> tuple[Difference, ...]:
        return tuple(
            difference
            for scenario in self.scenarios
            for name, title in self.checks(scenario).items()
            for difference in self._changes(scenario, name, title)
        )

    def _changes(self, scenario: str, name: str, title: str) -> Iterator[Difference]:
        """Kernels on which nothing was decided are passed over."""
        cells = [(column.release, self.cell(column, scenario, name)) for column in self.columns]
        decided = [(release, cell) for release, cell in cells if cell.verdict in DECIDED]
        for (older, before), (newer, after) in pairwise(decided):
            if before.verdict is not after.verdict:
                reason = before.reason or after.reason
                yield Difference(scenario, name, title, older, before.verdict, newer, after.verdict, reason)

    @property
    def status(self) -> int:
        """The exit status: the first that applies, of all kernels."""
        asked = {column.run.status if column.run else column.status for column in self.columns}
        found = next((status for status in results.BY_RANK if status in asked), None)
        if found is not None:
            return found
        return results.HELD if results.HELD in asked else results.SKIPPED

    @property
    def verdict(self) -> str:
        """One line: what it came to."""
        differ = f"{_count(changes, 'difference')}" if (changes := len(self.differences())) else "no difference"
        on = f"{_count(len(self.scenarios), 'scenario')} on {_count(len(self.columns), 'kernel')}"
        return f"{on}: {differ}, in {self.seconds:.1f} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cell(checks: Sequence[Check]) -> Cell:
    if not checks:
        return Cell(Verdict.MISSING)
    verdicts = [_OF_CHECK[check.outcome] for check in checks]
    worst = next(each for each in _WORST if each in verdicts)
    said = next((check.message for check, each in zip(checks, verdicts, strict=True) if each is worst), "")
    skipped = verdicts.count(Verdict.SKIPPED)
    reason = "" if worst is Verdict.PASS else _line(said)
    return Cell(worst, reason, verdicts.count(Verdict.PASS), len(checks) - skipped, skipped)


def _line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def reasons(matrix: Matrix) -> Mapping[str, list[str]]:
    """What is to be said below the table beside failures: a reason -> where it applies, as `scenario on release`."""
    found: dict[str, dict[str, None]] = {}
    for column in matrix.columns:
        if column.run is None:
            found.setdefault(f"{column.verdict}: {column.trouble}", {})[column.release] = None
        for check in column.run.checks if column.run else ():
            if check.outcome in (Outcome.SKIPPED, Outcome.ERROR):
                said = f"{_OF_CHECK[check.outcome]}: {_line(check.message)}"
                found.setdefault(said, {})[f"{check.scenario} on {column.release}"] = None
    return {reason: list(where) for reason, where in found.items()}
