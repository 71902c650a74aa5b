"""A run as JSON: one versioned envelope that a program can rely on."""

from __future__ import annotations

import json

from lab.report import envelope
from lab.report.results import Check, Outcome, Run, Table

FAILED = Check("s", "test_a", "Ünïcode — “it” holds", Outcome.FAILED, 0.12345, 1, "assert", "trace", {"routes": "a:\n  b"})


def test_the_envelope_names_its_version_and_kind() -> None:
    read = json.loads(envelope.render(Run((FAILED,), 0.0, 1.0)))
    assert (read["version"], read["kind"]) == (1, "run")


def test_a_check_keeps_everything_that_is_known_of_it() -> None:
    (check,) = json.loads(envelope.render(Run((FAILED,), 0.0, 1.0)))["data"]["checks"]
    assert check == {
        "scenario": "s",
        "name": "test_a",
        "title": "Ünïcode — “it” holds",
        "outcome": "failed",
        "seconds": 0.123,
        "message": "assert",
        "detail": "trace",
        "evidence": {"routes": "a:\n  b"},
        "tables": {},
    }


def test_a_run_without_checks_is_valid_too() -> None:
    data = json.loads(envelope.render(Run((), 0.0, 1.0, ("x.py cannot be collected",))))["data"]
    assert (data["status"], data["checks"], data["problems"]) == (2, [], ["x.py cannot be collected"])
    assert data["counts"] == {"held": 0, "failed": 0, "error": 0, "skipped": 0}


def test_the_start_is_told_in_utc() -> None:
    assert json.loads(envelope.render(Run((), 86400.5, 0.0)))["data"]["started"] == "1970-01-02T00:00:00.500+00:00"


def test_a_table_keeps_its_columns_and_rows() -> None:
    held = Check("s", "test_a", "It holds", Outcome.HELD, 0.1, tables={"outage": Table.of(("way", "s"), [("none", 1.5)])})
    (check,) = json.loads(envelope.render(Run((held,), 0.0, 1.0)))["data"]["checks"]
    assert check["tables"] == {"outage": {"columns": ["way", "s"], "rows": [["none", "1.50"]]}}
