"""Commands about experiments: run, scenarios."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from lab.cli.options import Settings, common, sets, settings
from lab.cli.show import envelope, table
from lab.errors import HostError

_file = click.Path(dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("scenario", nargs=-1)
@sets
@click.option("--junit", type=_file, metavar="FILE", help="Write a JUnit report there.")
@click.option("--json", "json_file", type=_file, metavar="FILE", help="Write the results as JSON there.")
@click.option("--report", type=_folder, metavar="DIR", help="Write there index.html, run.json and junit.xml.")
@click.option("--keep-on-failure", is_flag=True, help="Leave the lab of a failed check up, and say how to get in.")
@click.option("--fail-on-skip", is_flag=True, help="End with status 4 if anything was skipped.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, metavar="N", help="Run up to N scenarios side by side.")
@click.option("--part", type=_file, hidden=True, help="In a guest: leave the results there for the run that this is a part of.")
@click.option("--record", is_flag=True, hidden=True, help="With --part: with all that a page shows.")
@click.option("--slow", is_flag=True, help="Also run what is marked slow: the kernel's and the daemons' default timers.")
@common
@settings
def run(
    settings: Settings,
    scenario: tuple[str, ...],
    params: dict[str, object],
    junit: Path | None,
    json_file: Path | None,
    report: Path | None,
    keep_on_failure: bool,
    fail_on_skip: bool,
    slow: bool,
    jobs: int,
    part: Path | None,
    record: bool,
) -> int:
    """Run experiments.

    They are the shipped ones by name, all of them without one, or test files of your own. An ordinary user's labs are made in a
    user namespace, which ends with the command.

    Each check is printed as it is decided, and a failed one with its evidence. `--set` overrides what the scenarios say. With
    `-j` each scenario has a process of its own; what is printed and written is the same, in the same order. `--report` makes a
    page of the run that needs neither network nor scripts: failures first, the topology drawn, what was done on each node
    when, tables, and the frames of every capture. Checks marked slow are left out, and counted, unless `--slow` asks for them.

    `--untrusted` is for a stranger's files. Their guest sees /usr, what of /etc holds no secret, this program and Python, and
    the files themselves: a folder whole, of a test file also conftest.py, templates/ and a topology of the same name beside
    it. Before they run its root tries to get at this host, and must fail. A report of theirs is a stranger's text all the same.

    \b
    Example:
        lab run rp-filter
        lab run -j 4 --report build/report
        lab run ./test_mine.py --set members=5 --junit out.xml
        lab run --kernel 6.1 --untrusted ./bug.py
    """
    status = _without_root(settings, keep_on_failure)
    if status is not None:
        return status
    from lab import runner

    return runner.run(
        scenario,
        sets=params,
        junit=junit,
        json=json_file,
        report=report,
        keep_on_failure=keep_on_failure,
        fail_on_skip=fail_on_skip,
        slow=slow,
        jobs=jobs,
        part=part,
        record=record,
        **_elsewhere(settings),
        format=settings.format,
        verbosity=settings.verbosity,
    )


def _elsewhere(settings: Settings) -> dict[str, Any]:
    """Whether checks that this kernel cannot make go to a guest, or why not."""
    if os.environ.get("LAB_GUEST"):
        return {}
    if settings.kernel == "host":
        return {"why_here": "--kernel host forbids a guest, which might have it"}
    from lab import kernels
    from lab.kernels import store

    if store.fetched():
        return {"elsewhere": True}
    return {"why_here": f"a guest with another kernel may have it: lab kernels fetch {kernels.DEFAULT}"}


def _without_root(settings: Settings, keep_on_failure: bool) -> int | None:
    """None where the command goes on in this process: root's, or one that is root in a user namespace by now."""
    if os.geteuid() == 0:
        from lab import host

        host.require_root()
        return None
    if keep_on_failure:
        what = "--keep-on-failure needs root: without it the labs are in a user namespace, which ends with the command"
        raise HostError(what, "run it as root, for example with sudo, or look at the evidence of the failed check")
    from lab.cli import rootless

    quiet = settings.verbosity < 0
    status = rootless.enter(settings.decided, quiet)
    if status is None and not quiet:
        rootless.say_what_the_host_decides()
    return status


@click.command()
@common
@settings
def scenarios(settings: Settings) -> None:
    """List the shipped experiments.

    Each with what it is about and the number of its checks, read from its file without running any of it. With -f json also
    the titles of the checks and the topologies they run on.

    \b
    Example:
      lab scenarios

    See also: lab run
    """
    from lab import runner

    found = runner.scenarios()
    if settings.json:
        envelope("scenarios", found)
    else:
        table(("SCENARIO", "WHAT IT IS ABOUT", "CHECKS"), ((each.name, each.title, len(each.checks)) for each in found))


COMMANDS: tuple[Any, ...] = (run, scenarios)
