"""A run as the versioned JSON envelope: {"version": 1, "kind": "run", "data": …}. Fields are added, never changed."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

from lab import __version__
from lab.report.results import Capture, Check, Frame, Outcome, Run, Step

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
        "started": _when(run.started),
        "seconds": round(run.seconds, 3),
        "clock": "virtual" if run.virtual else "real",
        "counts": {outcome.value: run.count(outcome) for outcome in Outcome},
        "problems": list(run.problems),
        "left_out": run.left_out,
        "scenarios": [{"name": name, "title": title} for name, title in run.about.items()],
        "checks": [_check(check) for check in run.checks],
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "scenario": check.scenario,
        "name": check.name,
        "title": check.title,
        "outcome": check.outcome.value,
        "kernel": check.kernel or os.uname().release,
        "started": _when(check.started),
        "seconds": round(check.seconds, 3),
        "message": check.message,
        "detail": check.detail,
        "evidence": dict(check.evidence),
        "tables": {title: {"columns": each.columns, "rows": each.rows} for title, each in check.tables.items()},
        "topology": {"name": check.recorded.topology, "params": dict(check.recorded.params)},
        "steps": [_step(step) for step in check.recorded.steps],
        "captures": [_capture(capture) for capture in check.recorded.captures],
    }


def _step(step: Step) -> dict[str, Any]:
    took = None if step.seconds is None else round(step.seconds, 6)
    return {
        "started": _when(step.started, "microseconds"),
        "node": step.node,
        "kind": step.kind,
        "what": step.what,
        "seconds": took,
        "outcome": step.outcome,
    }


def _capture(capture: Capture) -> dict[str, Any]:
    return {
        "interfaces": capture.interfaces,
        "filter": capture.filter,
        "frames": [_frame(frame) for frame in capture.frames],
        "more": capture.more,
        "lost": dict(capture.lost),
    }


def _frame(frame: Frame) -> dict[str, Any]:
    return {
        "time": _when(frame.time, "microseconds"),
        "interface": frame.interface,
        "direction": frame.direction,
        "length": frame.length,
        "summary": frame.summary,
        "dissection": frame.dissection,
    }


def _when(seconds: float, precision: str = "milliseconds") -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)
