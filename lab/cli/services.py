"""Commands about the services of living labs: logs."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Any

import click

from lab.cli.options import Settings, common_but_f, settings
from lab.cli.show import envelope

if TYPE_CHECKING:
    from lab.services.living import Service

_LOOK_AGAIN = 0.1  # seconds


@click.command()
@click.argument("lab")
@click.argument("node")
@click.argument("service", required=False)
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of each.")
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C or the end of the lab."
)
@common_but_f
@settings
def logs(settings: Settings, lab: str, node: str, service: str | None, lines: int | None, follow: bool) -> None:
    """Print what the services of a node said.

    That is their standard output and error since the lab came up, of every time they were started. With several services each
    line begins with its service's name. What a daemon writes into files of its own is below /run, /var/log or where its
    configuration says, on the node: lab exec LAB NODE -- cat FILE.

    \b
    Example:
      lab logs monday r1
      lab logs monday r1 radvd -n 20 -f

    See also: lab inspect, lab wait
    """
    from lab import live

    live.require_root()
    services = _chosen(live.Lab.attach(lab)[node].services, node, service)
    if settings.json and not follow:
        envelope("logs", {each.name: _last(each.log.splitlines(), lines) for each in services})
        return
    tails = [_Tail(each, f"{each.name}: " if len(services) > 1 else "", lines) for each in services]
    while True:
        for tail in tails:
            tail.print()
        if not follow or not all(each.log_path.exists() for each in services):
            return
        select.select([], [], [], _LOOK_AGAIN)  # a file tells nobody when it grows


def _chosen(services: Any, node: str, name: str | None) -> list[Service]:
    from lab.errors import TopologyError

    if name is None:
        return list(services.values())
    if name not in services:
        known = f"its services are {', '.join(services)}" if services else "it has none"
        raise TopologyError(f"node {node} has no service {name!r}", known)
    return [services[name]]


def _last(lines: list[str], number: int | None) -> list[str]:
    return lines if number is None else lines[len(lines) - number :] if number < len(lines) else lines


class _Tail:
    """One service's log, from its beginning or its last lines on."""

    def __init__(self, service: Service, prefix: str, lines: int | None) -> None:
        self._service, self._prefix, self._lines, self._at = service, prefix, lines, 0

    def print(self) -> None:
        """What is new, in whole lines."""
        try:
            with self._service.log_path.open("rb") as log:
                log.seek(self._at)
                whole = log.read().rpartition(b"\n")
        except FileNotFoundError:
            return
        self._at += len(whole[0]) + len(whole[1])
        new = whole[0].decode(errors="replace").split("\n") if whole[1] else []
        new, self._lines = _last(new, self._lines), None
        sys.stdout.writelines(f"{self._prefix}{line}\n" for line in new)
        sys.stdout.flush()


COMMANDS: tuple[Any, ...] = (logs,)
