"""`lab new`: a project of one's own to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from lab.cli.options import Settings, common, settings
from lab.cli.show import envelope


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@common
@settings
def new(settings: Settings, folder: Path) -> None:
    """Write a topology, a scenario and a CI file to start from.

    They are short, hold as they stand, and say what can be changed: network.yaml, headed by its diagram; test_network.py, with
    a claim and its counterfactual; .github/workflows/lab.yml, which runs it on GitHub and keeps the report. DIR is made, or is
    empty: nothing is overwritten. `pytest` in DIR runs the same scenario, among other tests and with its own options.

    \b
    Exit status:
      0  they are written       2  DIR is not empty, or cannot be written

    \b
    Example:
      lab new my-network
      lab run my-network/test_network.py

    See also: lab run, lab up
    """
    from lab import new

    written = new.write(folder)
    settings.decided()
    if settings.json:
        envelope("new", {"folder": folder, "files": written})
    elif settings.verbosity >= 0:
        for path in written:
            print(path)
        print(f"next: lab run {shlex.quote(str(folder))}")


COMMANDS: tuple[Any, ...] = (new,)
