"""Shipped scenarios with a parameter changed: what does not hold any more, of many runs in one boot.

Run by `lab --kernel … run tests/guest/counterfactuals.py`, with what is to be run in LAB_RUNS: a JSON list of pairs, the names
that `lab run` gets and the parameters that are set. The table has a row for each check that was not held.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from lab import runner

Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def test_runs(tmp_path: Path, report_table: Report) -> None:
    """What was asked to be run was run."""
    rows, made = [], 0
    for number, (names, sets) in enumerate(json.loads(os.environ["LAB_RUNS"])):
        file = tmp_path / f"{number}.json"
        runner.run(names, sets=sets, json=file, verbosity=-1)
        checks = json.loads(file.read_text())["data"]["checks"]
        made += len(checks)
        rows += [
            (number, each["name"], each["outcome"], each["message"].partition("\n")[0])
            for each in checks
            if each["outcome"] != "held"
        ]
    report_table("not held", ("run", "check", "outcome", "message"), rows)
    report_table("made", ("checks",), [(made,)])
