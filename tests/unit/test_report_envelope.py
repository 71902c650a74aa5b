"""A run as JSON: one versioned envelope that a program can rely on."""

from __future__ import annotations

import json
from dataclasses import replace

from lab.report import envelope
from lab.report.results import Capture, Check, Frame, Outcome, Recorded, Run, Step, Table

FAILED = Check("s", "test_a", "Ünïcode — “it” holds", Outcome.FAILED, 0.12345, 1, "assert", "trace", {"routes": "a:\n  b"})


def test_the_envelope_names_its_version_and_kind() -> None:
    read = json.loads(envelope.render(Run((FAILED,), 0.0, 1.0)))
    assert (read["version"], read["kind"]) == (1, "run")


def test_a_check_keeps_everything_that_is_known_of_it() -> None:
    (check,) = json.loads(envelope.render(Run((replace(FAILED, kernel="6.1"),), 0.0, 1.0)))["data"]["checks"]
    assert check == {
        "scenario": "s",
        "name": "test_a",
        "title": "Ünïcode — “it” holds",
        "outcome": "failed",
        "kernel": "6.1",
        "started": "1970-01-01T00:00:00.000+00:00",
        "seconds": 0.123,
        "message": "assert",
        "detail": "trace",
        "evidence": {"routes": "a:\n  b"},
        "tables": {},
        "topology": {"name": "", "params": {}},
        "steps": [],
        "captures": [],
    }


def test_what_was_recorded_of_a_check_is_there_with_its_times() -> None:
    frame = Frame(86400.000_001, "a:eth0", "sends", "Ether / ARP", "###[ Ethernet ]###", 42)
    step = Step("a", "run", "true", 86400.5, 0.25, "ended with status 1")
    recorded = Recorded("x.yaml", {"n": "3"}, (step,), 0, (Capture(("a:eth0",), "arp", (frame,), 7, {"a:eth0": 1}),))
    (check,) = json.loads(envelope.render(Run((replace(FAILED, recorded=recorded),), 0.0, 1.0)))["data"]["checks"]
    assert check["topology"] == {"name": "x.yaml", "params": {"n": "3"}}
    assert check["steps"] == [
        {
            "started": "1970-01-02T00:00:00.500000+00:00",
            "node": "a",
            "kind": "run",
            "what": "true",
            "seconds": 0.25,
            "outcome": "ended with status 1",
        }
    ]
    (capture,) = check["captures"]
    assert (capture["interfaces"], capture["filter"], capture["more"], capture["lost"]) == (["a:eth0"], "arp", 7, {"a:eth0": 1})
    assert capture["frames"] == [
        {
            "time": "1970-01-02T00:00:00.000001+00:00",
            "interface": "a:eth0",
            "direction": "sends",
            "length": 42,
            "summary": "Ether / ARP",
            "dissection": "###[ Ethernet ]###",
        }
    ]


def test_a_run_names_its_scenarios_and_what_they_are_about() -> None:
    data = json.loads(envelope.render(Run((FAILED,), 0.0, 1.0, about={"s": "who answers"})))["data"]
    assert data["scenarios"] == [{"name": "s", "title": "who answers"}]


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
