"""Commands about this host: doctor."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lab.cli.options import Settings, common, settings
from lab.cli.show import envelope, say, table

if TYPE_CHECKING:
    from lab.doctor.facts import Facts
    from lab.doctor.finding import Finding

NOTHING_RUNS = 3


@click.command()
@click.option("--install", is_flag=True, help="Bring the programs that are missing, through apt; starts and enables no daemon.")
@common
@settings
def doctor(settings: Settings, install: bool) -> int:
    """Show what this host can do for labs, and what to do about the rest.

    Privileges, kernel features (each found by trying), programs with the Debian packages that bring them, what the shipped
    scenarios can do here, and settings of the host that can disturb a lab. Needs no root, but knows more as root. Ends with
    status 3 where no lab can run at all. With -q only what is not in order is shown.

    \b
    Example:
        lab doctor
        lab doctor -f json
        sudo lab doctor --install
    """
    return _install(settings) if install else _look(settings)


def _look(settings: Settings) -> int:
    from lab.doctor.gather import gather
    from lab.doctor.judge import blame, judge

    begin = time.monotonic()
    facts = gather()
    findings = judge(facts)
    guilty = blame(findings)
    if settings.json:
        seconds = round(time.monotonic() - begin, 3)
        envelope("doctor", {"runs": not guilty, "seconds": seconds, "findings": findings, "features": _features(facts)})
    else:
        _show(findings, silent=settings.verbosity < 0)
    if guilty:
        said = "".join(f"\n    {each.name}: {each.found}" for each in guilty)
        say(f"lab: no lab can run here for this user{said}")
    return NOTHING_RUNS if guilty else 0


def _features(facts: Facts) -> dict[str, Any]:
    return {
        name: {"there": each.there, "microseconds": round(each.seconds * 1e6), "modules": each.modules, "why": each.why}
        for name, each in facts.kernel.answers.items()
    }


def _show(findings: Sequence[Finding], silent: bool) -> None:
    from lab.doctor.finding import Section, Verdict

    for section in Section:
        rows = [
            (each.verdict, each.name, _words(each))
            for each in findings
            if each.section is section and not (silent and each.verdict is Verdict.OK)
        ]
        if rows:
            table(("", section.upper(), ""), rows)


def _words(finding: Finding) -> str:
    said = "; ".join(part for part in (finding.found, finding.follows) if part)
    return f"{said}\n-> {finding.remedy}" if finding.remedy else said


def _install(settings: Settings) -> int:
    from lab.doctor import apt, programs

    lacking = [program for program in programs.wanted() if not program.path]
    done = apt.install(sorted({program.package for program in lacking}), tell=say if settings.verbosity >= 0 else None)
    if settings.json:
        envelope("installed", done)
    elif settings.verbosity >= 0:
        print("\n".join(apt.in_words(done)))
    return 0


COMMANDS: tuple[Any, ...] = (doctor,)
