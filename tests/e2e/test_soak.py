"""What takes longer than a CI run should: every experiment again and again, and those that wait for default timers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.commands import Said, lab

pytestmark = [pytest.mark.root, pytest.mark.soak]
RUNS = 20


def run(*words: str) -> Said:
    return lab("run", *words, "-f", "json", timeout=1800)


def verdicts(said: Said) -> dict[tuple[str, str], str]:
    """(scenario, check) -> how it came out."""
    return {(check["scenario"], check["name"]): check["outcome"] for check in said.json("run")["checks"]}


def test_twenty_runs_of_everything_two_at_a_time_give_the_same_verdicts() -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: run(), range(RUNS)))
    told = [verdicts(said) for said in runs]
    differing = {check: [each.get(check) for each in told] for check in told[0] if len({each.get(check) for each in told}) > 1}
    assert not differing
    assert {said.status for said in runs} == {0}


def test_what_waits_for_default_timers_holds_too() -> None:
    said = run("--slow", "-j", "4")
    assert said.status == 0, {check: outcome for check, outcome in verdicts(said).items() if outcome != "held"}
