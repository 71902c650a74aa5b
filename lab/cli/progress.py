"""What the commands show on stderr while they work: `lab.report.progress`, with words about each kind of work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from lab.cli.options import Settings
from lab.report.progress import Line
from lab.report.progress import line as on

if TYPE_CHECKING:
    from lab.recipe import Recipe
    from lab.steps import Step


def line(settings: Settings, text: Callable[[], str]) -> Line:
    """A line on stderr, not seen with -q; see `lab.report.progress`."""
    return on(sys.stderr, text, settings.verbosity >= 0)


class Building:
    """How far `up` is: told each step (from another thread), it says in words where it stands."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._done = 0
        self.recipe: Recipe | None = None
        self.step: Step | None = None

    def took(self, step: Step) -> None:
        """A step begins."""
        self.step, self._done = step, self._done + 1

    @cached_property
    def _steps(self) -> int:
        """Planned once more, since only a lab that takes its time is asked for it."""
        from lab import host

        return len(host.planned(self.recipe).steps) if self.recipe else 0

    def __str__(self) -> str:
        if self.recipe is None:
            return f"reading {self._source}"
        if self.step is None:
            return f"{self.recipe.topology.name}: planning"
        done, steps = self._done, self._steps
        if awaited := waiting():
            return f"{self.recipe.topology.name}: {done} steps done; {awaited}"
        return f"{self.recipe.topology.name}: step {done} of {steps}: {self.step.describe()}"


def waiting() -> str:
    """What this process waits for, in words; empty where it works.

    The thread that draws asks for it, and imports nothing: the main thread may be in the middle of importing the same, and a
    ring of modules is then met half made."""
    conditions = sys.modules.get("lab.observe.conditions")
    awaited = conditions.pending() if conditions and hasattr(conditions, "pending") else ()
    return f"waiting until {awaited[0]}" if awaited else ""
