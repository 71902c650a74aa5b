"""A run as one page that needs nothing else: no script, no other file, no network. Failures come first.

Whatever the checks said is text: the template escapes everything but the drawings, which `lab.drawing.svg` made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lab import __version__
from lab.drawing import mermaid, svg
from lab.drawing.picture import Picture
from lab.errors import HostError
from lab.report.results import Check, Outcome, Run

_TEMPLATE = "page.html"
_MARKS = {Outcome.HELD: "✓", Outcome.FAILED: "✗", Outcome.ERROR: "!", Outcome.SKIPPED: "–"}
_WORDS = {
    Outcome.HELD: "held",
    Outcome.FAILED: "did not hold",
    Outcome.ERROR: "could not be made",
    Outcome.SKIPPED: "skipped",
}
_UNPRINTABLE = dict.fromkeys((*range(9), *range(11, 32), 127), "\ufffd")
_SHOWN_OTHERWISE = ("frames at ", "what was done")
_TICKS = 4
_LEAST = 0.35  # percent of the line: a bar that can be seen, and hit


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture of a scenario, and the numbers of the checks that ran on it."""

    picture: Picture
    checks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    about: str
    checks: tuple[tuple[int, Check], ...]
    pictures: tuple[Drawn, ...]


def write(run: Run, file: Path, kernel: str = "") -> None:
    """`kernel`: where that is not the one that runs here. Raises OSError."""
    file.write_bytes(render(run, kernel).encode("utf-8", "replace"))


def render(run: Run, kernel: str = "") -> str:
    """The whole document."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=printable,
    )
    system = os.uname()
    return environment.get_template(_TEMPLATE).render(
        run=run,
        version=__version__,
        kernel=kernel or f"{system.sysname} {system.release}, {system.machine}",
        started=datetime.fromtimestamp(run.started, UTC),
        failures=[(at, check) for at, check in enumerate(run.checks) if failed(check)],
        scenarios=_scenarios(run),
        counts=[(outcome.value, _WORDS[outcome], run.count(outcome)) for outcome in Outcome if run.count(outcome)],
        ticks=[run.seconds * part / _TICKS for part in range(_TICKS + 1)],
        mark=lambda check: _MARKS[check.outcome],
        word=lambda check: _WORDS[check.outcome],
        failed=failed,
        drawn=_drawn,
        took=took,
        place=place,
        evidence=_evidence,
        pairs=_pairs,
    )


def failed(check: Check) -> bool:
    """Did not hold, or could not be made."""
    return check.outcome in (Outcome.FAILED, Outcome.ERROR)


def took(seconds: float | None) -> str:
    """Short enough for a column."""
    if seconds is None:
        return ""
    milliseconds = seconds * 1000
    if milliseconds < 10:
        return f"{milliseconds:.2f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{seconds:.2f} s"


def place(started: float, seconds: float | None, begin: float, whole: float) -> str:
    """Where a bar lies on its line, as CSS; numbers only."""
    whole = max(whole, 1e-6)
    left = min(max((started - begin) / whole, 0.0), 1.0) * 100
    width = min(max((seconds or 0.0) / whole * 100, _LEAST), 100 - left + _LEAST)
    return f"left:{left:.3f}%;width:{width:.3f}%"


def printable(value: Any) -> Any:
    """What an HTML document may not contain would be another character for every browser."""
    return value.translate(_UNPRINTABLE) if type(value) is str else value


def _scenarios(run: Run) -> list[Scenario]:
    names = dict.fromkeys(check.scenario for check in run.checks)
    return [_scenario(run, name) for name in names]


def _scenario(run: Run, name: str) -> Scenario:
    checks = tuple((at, check) for at, check in enumerate(run.checks) if check.scenario == name)
    pictures: dict[Picture, list[int]] = {}
    for at, check in checks:
        if check.recorded.picture and not failed(check):  # of one that failed there is a picture with it
            pictures.setdefault(check.recorded.picture, []).append(at)
    drawn = tuple(Drawn(picture, tuple(numbers)) for picture, numbers in pictures.items())
    return Scenario(name, run.about.get(name, ""), checks, drawn)


def _drawn(picture: Picture) -> Markup:
    try:
        return Markup(svg.render(picture))  # made by us, with every text of a topology escaped
    except HostError as error:
        return Markup('<p class="hint">{}</p><pre>{}</pre>').format(str(error), mermaid.render(picture))


def _evidence(check: Check) -> Iterable[tuple[str, str]]:
    kept = bool(check.recorded.steps or check.recorded.captures)
    return [(title, text) for title, text in check.evidence.items() if not (kept and title.startswith(_SHOWN_OTHERWISE))]


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
