"""A matrix as data for JSON, as JUnit, and as lines of text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab import __version__
from lab.matrix import verdicts
from lab.matrix.verdicts import Column, Matrix, Verdict
from lab.report import junit
from lab.report.results import Check, Outcome

VERSION = 1


def data(matrix: Matrix) -> dict[str, Any]:
    """What `-f json` and matrix.json have."""
    return {
        "status": matrix.status,
        "verdict": matrix.verdict,
        "lab": __version__,
        "started": datetime.fromtimestamp(matrix.started, UTC).isoformat(timespec="milliseconds"),
        "seconds": round(matrix.seconds, 3),
        "kernels": [_kernel(column) for column in matrix.columns],
        "scenarios": [_scenario(matrix, name, about) for name, about in matrix.scenarios.items()],
        "differences": [dataclasses.asdict(each) for each in matrix.differences()],
    }


def _kernel(column: Column) -> dict[str, Any]:
    booted = column.run is not None
    return {
        "name": column.name,
        "release": column.release,
        "booted": booted,
        "trouble": column.trouble,
        "status": column.run.status if column.run else column.status,
        "seconds": round(column.seconds, 3),
    }


def _scenario(matrix: Matrix, name: str, about: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": about,
        "verdicts": {column.release: _cell(matrix.cell(column, name)) for column in matrix.columns},
        "checks": [
            {
                "name": check,
                "title": title,
                "verdicts": {column.release: _cell(matrix.cell(column, name, check)) for column in matrix.columns},
            }
            for check, title in matrix.checks(name).items()
        ],
    }


def _cell(cell: verdicts.Cell) -> dict[str, Any]:
    return {"verdict": cell.verdict.value, "reason": cell.reason}


def write_json(matrix: Matrix, file: Path) -> None:
    text = json.dumps({"version": VERSION, "kind": "matrix", "data": data(matrix)}, indent=2, ensure_ascii=False)
    file.write_text(text + "\n")


def write_junit(matrix: Matrix, file: Path) -> None:
    """One suite for each kernel; one that did not boot has one case, which says why."""
    junit.write(file, (junit.suite(f"Linux {column.release}", _checks(column)) for column in matrix.columns))


def _checks(column: Column) -> tuple[Check, ...]:
    if column.run is None:
        title = f"Linux {column.release} boots"
        return (
            Check("kernel", "boot", title, Outcome.ERROR, column.seconds, column.status, column.trouble, kernel=column.release),
        )
    return tuple(dataclasses.replace(check, kernel=column.release) for check in column.run.checks)


def table(matrix: Matrix) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows."""
    head = ("SCENARIO", *(column.release for column in matrix.columns))
    rows = [(name, *(str(matrix.cell(column, name)) for column in matrix.columns)) for name in matrix.scenarios]
    if not rows:
        rows = [("", *(str(Verdict.MISSING if column.run else column.verdict) for column in matrix.columns))]
    return head, rows


def lines(matrix: Matrix) -> Iterator[str]:
    """What is said below the table."""
    for reason, where in verdicts.reasons(matrix).items():
        yield f"{', '.join(where)}: {reason}"
    for difference in matrix.differences():
        yield f"differs: {difference}"
        if difference.reason:
            yield f"    {difference.reason}"
    yield from _alike(matrix)
    yield from (f"{problem}" for column in matrix.columns if column.run for problem in column.run.problems)


def _alike(matrix: Matrix) -> Iterator[str]:
    """What fails wherever it was decided: no kernel's matter."""
    changed = {(each.scenario, each.name) for each in matrix.differences()}
    for scenario in matrix.scenarios:
        for name, title in matrix.checks(scenario).items():
            cells = [(column.release, matrix.cell(column, scenario, name)) for column in matrix.columns]
            failed = [(release, cell) for release, cell in cells if cell.verdict is Verdict.FAIL]
            if failed and (scenario, name) not in changed:
                yield f"fails on {', '.join(release for release, _ in failed)}: {scenario}: {title}\n    {failed[0][1].reason}"
