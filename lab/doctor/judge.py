"""Facts -> findings, section after section; pure. The sentences themselves stand beside the judgement that says them."""

from __future__ import annotations

from collections.abc import Sequence

from lab.doctor import kernel, privileges, programs, scenarios, settings
from lab.doctor.facts import Facts
from lab.doctor.finding import Finding


def judge(facts: Facts) -> tuple[Finding, ...]:
    first = tuple(privileges.judge(facts))
    blocked = bool(blame(first))
    return (
        *first,
        *kernel.judge(facts),
        *programs.judge(facts),
        *scenarios.judge(facts, blocked),
        *settings.judge(facts),
    )


def blame(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Why no lab at all can run for the caller; empty where one can."""
    return tuple(finding for finding in findings if finding.blocks)
