"""What a row of the benchmark is, and the register to which a module adds its own.

    @bench(Goal("lab --version, beyond python3 -c pass", "s", excess_at_most(0.060)))
    def version(kit: Kit) -> list[Figure]:
        ...measure...
        return [Figure(value, reference)]

One function measures what belongs together and gives one figure for each of its goals, in their order. What the
machine lacks is a CannotMeasureError with the command that brings it: the rows stay, with `holds` null and the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit import Kit


class CannotMeasureError(Exception):
    """This machine cannot measure it; says what is missing and how to get it."""


class BrokenError(Exception):
    """What was to be measured failed; says how."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, in the goal's unit, and what the same call measured of the reference."""

    value: float
    reference: float | None = None
    note: str | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.reference if self.reference else None


@dataclass(frozen=True, slots=True)
class Target:
    """A bound in words, and whether a figure keeps it."""

    words: str
    keeps: Callable[[Figure], bool]


def ratio_at_most(limit: float) -> Target:
    return Target(f"ratio <= {limit:g}", lambda figure: figure.ratio is not None and figure.ratio <= limit)


def value_at_most(limit: float) -> Target:
    return Target(f"value <= {limit:g}", lambda figure: figure.value <= limit)


def excess_at_most(limit: float) -> Target:
    return Target(f"value - reference <= {limit:g}", lambda figure: figure.value - (figure.reference or 0) <= limit)


@dataclass(frozen=True, slots=True)
class Goal:
    """One row before it is measured. No target: the row is told for comparison."""

    name: str
    unit: str
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it is printed and written; `holds` is None where there is no target or no figure."""

    name: str
    value: float | None
    unit: str
    reference: float | None
    ratio: float | None
    target: str | None
    holds: bool | None
    note: str | None


Measure = Callable[["Kit"], Sequence[Figure]]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A function and the goals it has figures for."""

    goals: tuple[Goal, ...]
    measure: Measure

    def matches(self, words: Sequence[str]) -> bool:
        """Whether any of `words` is in the function's name or in a goal's; no words match everything."""
        names = [self.measure.__name__, *(goal.name for goal in self.goals)]
        return not words or any(word in name for word in words for name in names)

    def rows(self, kit: Kit) -> list[Row]:
        """Measures. A BrokenError makes every row of it fail its target."""
        try:
            return [_row(goal, figure) for goal, figure in zip(self.goals, self.measure(kit), strict=True)]
        except CannotMeasureError as error:
            return [_empty(goal, f"cannot be measured: {error}", None) for goal in self.goals]
        except BrokenError as error:
            return [_empty(goal, f"failed: {error}", False) for goal in self.goals]


REGISTER: list[Benchmark] = []


def bench(*goals: Goal) -> Callable[[Measure], Measure]:
    """Registers a function that measures `goals`."""

    def register(measure: Measure) -> Measure:
        REGISTER.append(Benchmark(goals, measure))
        return measure

    return register


def _row(goal: Goal, figure: Figure) -> Row:
    target, holds = (goal.target.words, goal.target.keeps(figure)) if goal.target else (None, None)
    return Row(goal.name, figure.value, goal.unit, figure.reference, figure.ratio, target, holds, figure.note)


def _empty(goal: Goal, note: str, holds: bool | None) -> Row:
    return Row(goal.name, None, goal.unit, None, None, goal.target.words if goal.target else None, holds, note)
