"""Commands about the services and containers of living labs: logs."""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lab.cli.options import Settings, common_but_f, settings
from lab.cli.show import envelope

if TYPE_CHECKING:
    from lab.node import Node
    from lab.services.container import Container
    from lab.services.living import Service

_LOOK_AGAIN = 0.1  # seconds
OWN = "container"
"""What the command of a container is called among the services of its node."""


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
    """Print what the services of a node said, and its container.

    That is their standard output and error since the lab came up, of every time they were started. With several of them each
    line begins with its service's name, or with `container` for a container's own command. What a daemon writes into files
    of its own is below /run, /var/log or where its configuration says, on the node: lab exec LAB NODE -- cat FILE.

    \b
    Example:
      lab logs monday r1
      lab logs monday r1 radvd -n 20 -f

    See also: lab inspect, lab wait
    """
    from lab import host, live

    host.require_root()
    chosen = _chosen(live.Lab.attach(lab)[node], service)
    if settings.json and not follow:
        envelope("logs", {name: _last(each.log.splitlines(), lines) for name, each in chosen.items()})
        return
    tails = [_tail(each, f"{name}: " if len(chosen) > 1 else "", lines, follow) for name, each in chosen.items()]
    while True:
        going_on = [tail.goes_on() for tail in tails]  # asked before, so that what came last is printed
        for tail in tails:
            tail.print()
        if not follow or not all(going_on):
            return
        select.select([], [], [], _LOOK_AGAIN)  # a file tells nobody when it grows


def _chosen(node: Node, name: str | None) -> dict[str, Service | Container]:
    from lab.errors import TopologyError

    found: dict[str, Service | Container] = {**({OWN: node.container} if node.container else {}), **node.services}
    if name is None:
        return found
    if name not in found:
        known = f"its services are {', '.join(found)}" if found else "it has none"
        raise TopologyError(f"node {node.name} has no service {name!r}", known)
    return {name: found[name]}


def _tail(of: Service | Container, prefix: str, lines: int | None, follow: bool) -> _Tail:
    from lab.services.container import Container

    return _Said(of, prefix, lines, follow) if isinstance(of, Container) else _Written(of, prefix, lines)


def _last(lines: list[str], number: int | None) -> list[str]:
    return lines if number is None else lines[len(lines) - number :] if number < len(lines) else lines


class _Tail:
    """One log, from its beginning or its last lines on."""

    def __init__(self, prefix: str, lines: int | None) -> None:
        self._prefix, self._lines = prefix, lines

    def goes_on(self) -> bool:
        raise NotImplementedError

    def _new(self) -> bytes:
        """What has come since it was asked last, up to the end of a line."""
        raise NotImplementedError

    def print(self) -> None:
        """What is new, in whole lines."""
        text = self._new()
        new = text.decode(errors="replace").removesuffix("\n").split("\n") if text else []
        new, self._lines = _last(new, self._lines), None
        sys.stdout.writelines(f"{self._prefix}{line}\n" for line in new)
        sys.stdout.flush()


class _Written(_Tail):
    """Of a service, whose log is a file."""

    def __init__(self, service: Service, prefix: str, lines: int | None) -> None:
        super().__init__(prefix, lines)
        self._service, self._at = service, 0

    def goes_on(self) -> bool:
        return self._service.log_path.exists()

    def _new(self) -> bytes:
        try:
            with self._service.log_path.open("rb") as log:
                log.seek(self._at)
                text, end, _ = log.read().rpartition(b"\n")
        except FileNotFoundError:
            return b""
        self._at += len(text) + len(end)
        return text + end


class _Said(_Tail):
    """Of a container, whose log is Docker's; a thread listens where it is followed."""

    def __init__(self, container: Container, prefix: str, lines: int | None, follow: bool) -> None:
        super().__init__(prefix, lines)
        self._container, self._come = container, bytearray()
        self._lock = threading.Lock()
        self._listener: threading.Thread | None = None
        first = container.log.encode()
        if follow:
            self._listener = threading.Thread(target=self._listen, args=(container.follow(), len(first)), daemon=True)
            self._listener.start()
        self._come += first if first.endswith(b"\n") or not first else first + b"\n"

    def _listen(self, chunks: Iterator[bytes], known: int) -> None:
        """What was there at the beginning comes once more."""
        for chunk in chunks:
            skipped, known = chunk[:known], known - len(chunk[:known])
            with self._lock:
                self._come += chunk[len(skipped) :]

    def goes_on(self) -> bool:
        """Not with what somebody starts anew in it, which waits for links that never come."""
        return self._listener is not None and self._listener.is_alive() and self._container.contained.lives()

    def _new(self) -> bytes:
        with self._lock:
            text, end, rest = bytes(self._come).rpartition(b"\n")
            self._come = bytearray(rest)
        return text + end


COMMANDS: tuple[Any, ...] = (logs,)
