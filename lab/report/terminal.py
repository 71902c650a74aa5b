"""A run on the terminal: each check as it is decided, then what failed with its evidence, then the verdict.

Colours where stdout is a terminal and NO_COLOR does not forbid them; plain lines, never wrapped, anywhere else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Literal, TextIO

from rich.console import Console
from rich.text import Text

from lab.report.results import Check, Outcome, Run

_MARKS = {Outcome.HELD: "✓", Outcome.FAILED: "✗", Outcome.ERROR: "!", Outcome.SKIPPED: "-"}
_PLAIN_MARKS = {**_MARKS, Outcome.HELD: "+", Outcome.FAILED: "x"}
_STYLES = {Outcome.HELD: "green", Outcome.FAILED: "bold red", Outcome.ERROR: "bold red", Outcome.SKIPPED: "yellow"}
_LINES = 14
"""How much of a section is shown where nobody asked for more."""
_LONG = ("topology as deployed",)
"""Sections that are shown only to who asked for more."""


class Terminal:
    """Writes to `stream`. `verbosity`: -1 only what did not hold and the verdict, 1 all evidence in full length."""

    def __init__(self, stream: TextIO, verbosity: int = 0) -> None:
        colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
        self._console = Console(file=stream, color_system=colours, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._stream, self._verbosity = stream, verbosity
        self._encoding = stream.encoding or "utf-8"
        self._marks = _MARKS if self._encoding.lower().startswith("utf") else _PLAIN_MARKS
        self._scenario = ""
        self._reasons: set[str] = set()
        self.aside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        """A block in which the terminal is this object's alone."""

    def check(self, check: Check, about: str = "") -> None:
        """One check, under the name of its scenario and what that is `about`."""
        if self._verbosity < 0 and check.outcome in (Outcome.HELD, Outcome.SKIPPED):
            return
        if check.scenario != self._scenario:
            self._scenario, self._reasons = check.scenario, set()
            self._say(Text.assemble((check.scenario, "bold"), f"  {about}" if about else ""))
        reason = check.message.strip() if check.outcome is Outcome.SKIPPED else ""
        told = f"\n{_indented(reason, 4)}" if reason and reason not in self._reasons else ""
        self._reasons.add(reason)
        self._say(
            Text.assemble(
                "  ",
                (self._marks[check.outcome], _STYLES[check.outcome]),
                f" {check.title}",
                (f"  {check.seconds * 1000:.0f} ms", "dim"),
                (told, "dim"),
            )
        )
        for title, table in check.tables.items():
            self._say(Text.assemble("    ", (title, "bold"), "\n", _indented(str(table), 6)))

    def end(self, run: Run) -> None:
        """What did not hold, each with its evidence, and the verdict."""
        for check in run.checks:
            if check.outcome in (Outcome.FAILED, Outcome.ERROR):
                self._failure(check)
        for problem in run.problems:
            self._say(Text(f"\n{problem}"))
        self._say(Text(f"\n{run.verdict}" if self._verbosity >= 0 else run.verdict, "green" if run.status == 0 else "bold"))

    def note(self, text: str) -> None:
        """A word behind the verdict, where that is not all that is wanted."""
        if self._verbosity >= 0:
            self._say(Text(text, "dim"))

    def _failure(self, check: Check) -> None:
        self._say(Text.assemble("\n", (f"{check.scenario}: {check.title}", "bold red"), (f"  [{check.name}]", "dim")))
        self._say(Text(_indented(check.detail or check.message)))
        for title, text in check.evidence.items():
            if title in _LONG and self._verbosity <= 0:
                continue
            self._say(Text.assemble("  ", (title, "bold")))
            self._say(Text(_indented(self._shortened(text), 4)))

    def _shortened(self, text: str) -> str:
        lines = text.splitlines()
        left = len(lines) - _LINES
        if self._verbosity > 0 or left <= 0:
            return text
        return "\n".join([*lines[:_LINES], f"… {left} more; -v shows all, and --json keeps all"])

    def _say(self, text: Text) -> None:
        with self._console.capture() as captured:  # rich itself would end the process where nobody reads any more
            self._console.print(text)
        try:
            with self.aside():
                self._stream.write(captured.get().encode(self._encoding, "replace").decode(self._encoding))
                self._stream.flush()
        except BrokenPipeError:  # the reader went away, as `head` does; the checks go on, and their status counts
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), self._stream.fileno())


def _indented(text: str, width: int = 2) -> str:
    return "\n".join(f"{' ' * width}{line}".rstrip() for line in text.splitlines())
