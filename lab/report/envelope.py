"""A run as the versioned JSON envelope: {"version": 1, "kind": "run", "data": …}. Fields are added, never changed."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

from lab import __version__
from lab.report.results import Check, Outcome, Run

VERSION = 1


def render(run: Run) -> str:
    """The whole document, with a line break at its end."""
    return json.dumps({"version": VERSION, "kind": "run", "data": _run(run)}, indent=2, ensure_ascii=False) + "\n"


def _run(run: Run) -> dict[str, Any]:
    system = os.uname()
    return {
        "status": run.status,
        "verdict": run.verdict,
        "lab": __version__,
        "kernel": {"release": system.release, "version": system.version, "machine": system.machine},
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="milliseconds"),
        "seconds": round(run.seconds, 3),
        "counts": {outcome.value: run.count(outcome) for outcome in Outcome},
        "problems": list(run.problems),
        "left_out": run.left_out,
        "checks": [_check(check) for check in run.checks],
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "scenario": check.scenario,
        "name": check.name,
        "title": check.title,
        "outcome": check.outcome.value,
        "seconds": round(check.seconds, 3),
        "message": check.message,
        "detail": check.detail,
        "evidence": dict(check.evidence),
        "tables": {title: {"columns": each.columns, "rows": each.rows} for title, each in check.tables.items()},
    }
