"""The `lab` command: which commands there are, and which exit status each way of failing has.

130, 143  interrupted; everything undone      3  the host cannot, a step or a teardown failed, a leak
70        a fault of ours, with a traceback   1  a check of a scenario did not hold
2         the call or the topology is wrong   4  everything was skipped          0  done
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from lab import __version__
from lab.cli import capture, host, labs, scenarios, services, topologies
from lab.cli.interrupts import Interrupts, Terminated
from lab.cli.options import Settings, common
from lab.cli.show import envelope, say
from lab.errors import LabError, Problem, ProblemsError

INTERRUPTED, TERMINATED, OUR_FAULT, WRONG_CALL = 130, 143, 70, 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lab", message="%(prog)s %(version)s")
@common
def cli() -> None:
    """A laboratory for Linux networking.

    One file describes hosts, links, VLANs and addresses; lab turns it into a real kernel network, runs a multi-host
    experiment on it, says what happened and leaves nothing behind.

    \b
    Example:
        lab up two-hosts        a network from a shipped topology
        lab exec two-hosts a -- ping -c1 10.0.0.2
        lab down two-hosts
        lab run rp-filter       a whole experiment, up to down
    """


_COMMANDS = (topologies, labs, services, capture, scenarios, host)
for command in (each for module in _COMMANDS for each in module.COMMANDS):
    cli.add_command(command)
cli.add_command(topologies.up, "deploy")
cli.add_command(labs.down, "destroy")


def main(argv: Sequence[str]) -> int:
    """Runs one command; the exit status."""
    # What a topology becomes all lives to the end: a collector that walks it again and again finds nothing.
    gc.set_threshold(100_000, 50, 50)
    interrupts = Interrupts()
    try:
        return _main(list(argv), interrupts)
    finally:
        interrupts.decided()


def _main(argv: list[str], interrupts: Interrupts) -> int:
    settings = Settings(decided=interrupts.decided)
    try:
        return _status(cli.main(argv, prog_name="lab", standalone_mode=False, obj=settings))
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        _envelope((Problem(error.format_message()),), settings)
        return WRONG_CALL
    except LabError as error:
        _tell(error, settings)
        return error.exit_status
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Terminated:
        return TERMINATED
    except (BrokenPipeError, SystemExit):
        return _nobody_reads()  # click turns the first into the second
    except Exception:
        if interrupts.status is not None:  # a library took the interrupt for a failure of its own, as pydantic does
            return interrupts.status
        say(f"This is a fault of lab {__version__}, not yours; please report it with what follows.")
        traceback.print_exc()
        return OUR_FAULT


def _status(result: Any) -> int:
    return result if isinstance(result, int) else 0


def _tell(error: LabError, settings: Settings) -> None:
    problems = error.problems if isinstance(error, ProblemsError) else (Problem(str(error)),)
    say(f"lab: {error}" if len(problems) == 1 else f"lab: {len(problems)} problems\n{error}")
    _envelope(problems, settings)


def _envelope(problems: Sequence[Problem], settings: Settings) -> None:
    if settings.json:
        envelope("error", problems)


def _nobody_reads() -> int:
    """The reader of our output went away, as `head` does: end quietly, also where Python flushes at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
