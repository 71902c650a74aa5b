"""The `lab` command: which commands there are, and which exit status each way of failing has.

130, 143  interrupted; everything undone      3  the host cannot, a step or a teardown failed, a leak
70        a fault of ours, with a traceback   1  a check did not hold, or a condition that was waited for
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
from lab.cli import (
    candidates,
    capture,
    completion,
    debug,
    explain,
    graph,
    guests,
    host,
    kernels,
    labs,
    matrix,
    new,
    scenarios,
    send,
    services,
    topologies,
    wait,
)
from lab.cli.interrupts import Interrupts, Terminated
from lab.cli.options import Settings, asks_for_json, common, in_guests
from lab.cli.show import envelope, say
from lab.errors import LabError, Problem, ProblemsError

INTERRUPTED, TERMINATED, OUR_FAULT, WRONG_CALL = 130, 143, 70, 2

_EPILOG = """\b
Environment:
  LAB_FORMAT, LAB_VERBOSE, LAB_QUIET   as -f, -v, -q; the command line wins
  LAB_KERNEL, LAB_MEMORY, LAB_CPUS, LAB_WARP, LAB_UNTRUSTED
                                       as the options about guests
  LAB_RUN_DIR                          where labs are kept, /run/lab otherwise
  LAB_CACHE                            kernels for guests, else ~/.cache/lab
  NO_COLOR, FORCE_COLOR                never a colour, or one on a pipe too

\b
Exit status, the first that applies:
  130, 143  interrupted; everything is undone
  70        a fault of lab's own
  2         the call or the topology is wrong
  3         the host cannot, a step or a teardown failed, or a leak
  1         a check or a condition did not hold
  4         everything was skipped
  0         done

`lab COMMAND --help` has more on each, with an example.
"""


_SECTIONS = {
    "Write topologies": ("new", "validate", "render", "plan", "graph", "schema"),
    "Living labs": ("up", "down", "ls", "inspect", "exec", "shell", "wait", "logs", "capture", "send", "explain", "prune"),
    "Experiments": ("run", "matrix", "debug", "scenarios"),
    "This host": ("doctor", "kernels", "completion"),
}


class _Group(click.Group):
    """The commands in sections; one that has no place in any is listed last. Other names of a command are not repeated."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """While a shell completes the value of an option, an empty one stands for it: without, click reads no argument."""
        name, command, rest = super().resolve_command(ctx, args)
        if ctx.resilient_parsing and command and rest and candidates.wants_value(command, rest[-1]):
            rest = [*rest, ""]
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        known = {name for names in _SECTIONS.values() for name in names}
        own = {name: command for name, command in self.commands.items() if command.name == name}
        widest = max(map(len, own))
        for title, names in {**_SECTIONS, "Others": tuple(name for name in own if name not in known)}.items():
            room = formatter.width - widest - 6
            rows = [(name.ljust(widest), own[name].get_short_help_str(room)) for name in names if name in own]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(__version__, prog_name="lab", message="%(prog)s %(version)s")
@in_guests
@common
def cli() -> None:
    """A laboratory for Linux networking.

    One file describes hosts, links, VLANs and addresses; lab turns it into a real kernel network, runs a multi-host
    experiment on it, says what happened and leaves nothing behind.

    \b
    Example:
      lab up two-hosts
      lab exec two-hosts a -- ping -c1 10.0.0.2
      lab down two-hosts
      lab run rp-filter

    The options are taken before and after a command's name.
    """


_EXPERIMENTS = (scenarios, matrix, debug)
_MODULES = (new, topologies, graph, labs, services, capture, send, explain, wait, *_EXPERIMENTS, host, kernels, completion)
for command in (each for module in _MODULES for each in module.COMMANDS):
    guests.know(command)
    candidates.know(command)
    cli.add_command(command)
cli.add_command(topologies.up, "deploy")
cli.add_command(labs.down, "destroy")


def main(argv: Sequence[str]) -> int:
    """Runs one command; the exit status."""
    # What a topology becomes all lives to the end: a collector that walks it again and again finds nothing.
    gc.set_threshold(100_000, 50, 50)
    if instruction := os.environ.get(completion.VARIABLE):
        return completion.answer(cli, instruction)
    interrupts = Interrupts()
    try:
        return _main(list(argv), interrupts)
    finally:
        interrupts.decided()


def _main(argv: list[str], interrupts: Interrupts) -> int:
    settings = Settings(decided=interrupts.decided, argv=tuple(argv))
    try:
        return _status(cli.main(argv, prog_name="lab", standalone_mode=False, obj=settings))
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        settings.format = "json" if asks_for_json(argv) else settings.format  # it may stand behind what is wrong
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
