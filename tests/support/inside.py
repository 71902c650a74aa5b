"""Shipped scenarios in a guest whose kernel has what this host's may lack; many runs in one boot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from lab.kernels import fetch
from support.commands import REPOSITORY, Said, lab

GUEST = REPOSITORY / "tests" / "guest"
SECONDS = 1200.0
Run = tuple[Sequence[str], Mapping[str, object]]
"""The names that `lab run` gets, and the parameters that are set."""


@cache
def kernel() -> str:
    """User-mode Linux, which boots in two seconds; fetched where it is not there."""
    fetch.fetch("uml-6.1")
    return "uml-6.1"


def run(*names: str | Path, kernel_name: str = "", **sets: object) -> Said:
    """`lab run NAMES --set …` in a guest."""
    words = [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
    return lab("--kernel", kernel_name or kernel(), "run", *names, "-f", "json", *words, timeout=SECONDS)


def failed(*runs: Run) -> list[set[str]]:
    """For each of these runs, all in one boot, the names of the checks that do not hold; none was skipped, each was made."""
    env = {"LAB_RUNS": json.dumps(runs)}
    said = lab("--kernel", kernel(), "run", GUEST / "counterfactuals.py", "-f", "json", timeout=SECONDS, env=env)
    assert said.status == 0, said.stdout + said.stderr
    (check,) = said.json("run")["checks"]
    rows = check["tables"]["not held"]["rows"]
    assert {row[2] for row in rows} <= {"failed"}, rows
    assert int(check["tables"]["made"]["rows"][0][0]) >= sum(len(names) for names, _ in runs)
    return [{row[1] for row in rows if int(row[0]) == number} for number in range(len(runs))]


def checks(scenario: str, *names: str) -> list[str]:
    """How `lab run` names single checks."""
    return [f"{scenario}::{name}" for name in names]
