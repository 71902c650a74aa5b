"""`lab matrix`: the same experiments on many kernels, and where they differ."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli import progress
from lab.cli.options import Settings, common, sets, settings
from lab.cli.show import envelope, say, table

if TYPE_CHECKING:
    from lab.matrix.verdicts import Column

_file = click.Path(dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


@click.command()
@click.argument("scenario", nargs=-1, required=True)
@click.option(
    "--kernels", required=True, metavar="NAMES", callback=_names, help="Kernels that were fetched, with commas; or host."
)
@sets
@click.option("--junit", type=_file, metavar="FILE", help="Write a JUnit report there.")
@click.option("--json", "json_file", type=_file, metavar="FILE", help="Write the matrix as JSON there.")
@click.option(
    "--report", type=_folder, metavar="DIR", help="Write there index.html, matrix.json, junit.xml, and a page a kernel."
)
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Run on up to N kernels at once.")
@click.option("--slow", is_flag=True, help="Also run what is marked slow: the kernel's and the daemons' default timers.")
@common
@settings
def matrix(
    settings: Settings,
    scenario: tuple[str, ...],
    kernels: list[str],
    params: dict[str, object],
    junit: Path | None,
    json_file: Path | None,
    report: Path | None,
    jobs: int | None,
    slow: bool,
) -> int:
    """Run experiments on many kernels, and say where they differ.

    Each kernel is one guest, booted once for all scenarios; as many run at once as there are processors and memory for. The
    table has a column a kernel, from the oldest to the newest: what passed and failed, what was skipped, what could not boot,
    what died, and why. Where a check's verdict changes, it is said between which two kernels.

    \b
    Exit status: as of `lab run`, over all kernels
      1  a check does not hold on one of them       3  one could not boot, or died

    \b
    Example:
      lab matrix anycast --kernels 5.10,6.1,6.12
      lab matrix anycast rp-filter --kernels 6.1,latest -j 2 --report build/matrix

    See also: lab kernels, lab run
    """
    from lab import runner
    from lab.guest.spec import MEMORY
    from lab.matrix import boots, tell

    runner.targets(scenario)
    places = boots.places(kernels)
    memory = settings.memory or MEMORY
    running = boots.Matrices(
        places, _words(scenario, params, slow, bool(report), settings.cpus), boots.at_once(jobs, memory, len(places)), memory
    )
    with progress.line(settings, lambda: str(running)) as line:
        running.alone = line.halted

        def told(column: Column) -> None:
            if settings.verbosity >= 0:
                with line.aside():
                    say(_done(column))

        running.told = told
        done = running.run()
    settings.decided()
    if report:
        _write_report(done, report)
    for file, write in ((json_file, tell.write_json), (junit, tell.write_junit)):
        if file:
            write(done, file)
    if settings.json:
        envelope("matrix", tell.data(done))
        return done.status
    table(*tell.table(done))
    print("\n".join(("", *tell.lines(done), done.verdict)))
    return done.status


def _done(column: Column) -> str:
    came = column.run.verdict if column.run else f"{column.verdict}: {column.trouble.partition(chr(10))[0]}"
    return f"lab: {column.release}: {came}; {column.seconds:.1f} s with the boot"


def _words(scenario: tuple[str, ...], params: dict[str, object], slow: bool, recorded: bool, cpus: int | None) -> list[str]:
    words = [*(["--slow"] if slow else []), *(["--record"] if recorded else []), *(["--cpus", str(cpus)] if cpus else [])]
    words += [word for name, value in params.items() for word in ("--set", f"{name}={value}")]
    return [*words, "--", *scenario]


def _write_report(done: Any, folder: Path) -> None:
    from lab.errors import TopologyError
    from lab.matrix import page, tell

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TopologyError(f"{folder} cannot be made: {error.strerror}", "name a directory, or one to be made") from error
    tell.write_json(done, folder / "matrix.json")
    tell.write_junit(done, folder / "junit.xml")
    page.write(done, folder)
    print(f"report: {folder / 'index.html'}", file=sys.stderr)


COMMANDS: tuple[Any, ...] = (matrix,)
