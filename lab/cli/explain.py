"""The command `explain`: what the kernel drops in a living lab while a command runs, and why."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lab.cli import labs, prompt
from lab.cli.options import Settings, common, settings
from lab.cli.prompt import Start
from lab.cli.show import envelope, say

if TYPE_CHECKING:
    from lab.observe.explain.watch import Explainer


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("lab")
@click.argument("node")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@common
@settings
def explain(settings: Settings, lab: str, node: str, argv: tuple[str, ...]) -> int:
    """Run a command on a node, and say which packets were dropped.

    The command is run as by `lab exec`. Afterwards stdout has, for each packet that the kernel dropped anywhere in the lab
    meanwhile: node and interface, the packet, the kernel's reason, the setting of that node which causes it with its present
    value, and what to change. Drops that belong to what works are only counted; -v shows them too. With -f json what
    the command writes on stdout goes to stderr.

    It looks by a BPF program at the tracepoint skb:kfree_skb, which is gone with the command. Where that cannot be
    (without privilege in the first user namespace, before Linux 5.17, without BTF), it tells the counters that moved and
    their settings instead, and says so.

    \b
    Exit status:
      that of the command; 128 and the number of a signal that ended it;
      125 where lab could not run it

    \b
    Example:
      lab explain monday client -- ping -c1 -W1 10.0.0.2
      lab explain -f json monday client -- curl -m 2 http://10.0.0.2/

    See also: lab exec, lab capture
    """
    from lab import host, live
    from lab.errors import LabError

    start = Start(argv[1:] if argv[0] == "--" else argv, prompt.environment(lab, node))
    try:
        host.require_root()
        explained = live.Lab.attach(lab).explain()
        with explained, _aside(settings.json):
            status = labs.execute(lab, node, start, plain=settings.json)
    except LabError as error:
        say(f"lab: {error}")
        return labs.CANNOT_RUN
    if settings.json:
        envelope("drops", _data(explained, status))
    elif settings.verbosity >= 0:
        print("\n".join(explained.told(every=settings.verbosity > 0)) or "the kernel dropped nothing", flush=True)
    return status


@contextlib.contextmanager
def _aside(wanted: bool) -> Iterator[None]:
    """In the block descriptor 1 is stderr's."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _data(explained: Explainer, status: int) -> dict[str, object]:
    tracing = {"traced": not explained.untraced, "untraced": explained.untraced, "lost": explained.lost}
    return {"status": status, **tracing, "drops": explained.drops, "filters": explained.set_now}


COMMANDS: tuple[Any, ...] = (explain,)
