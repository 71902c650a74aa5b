"""The command `capture`: what passes interfaces of a living lab, as one pcapng."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from lab.cli.options import Settings, common, settings
from lab.cli.show import envelope, say

if TYPE_CHECKING:
    from lab.observe.capture import Frame

_LOOK_AGAIN = 0.1  # seconds: whether the lab is still there, and enough has come


@click.command()
@click.argument("lab")
@click.argument("where", nargs=-1, required=True, metavar="NODE:INTERFACE...")
@click.option("-w", "--write", type=click.Path(path_type=Path), metavar="FILE", help="Where to; `-` is stdout.")
@click.option("-c", "--count", type=click.IntRange(min=1), metavar="N", help="End after N frames.")
@click.option("--filter", "expression", default="", metavar="EXPRESSION", help="Only what matches, as in pcap-filter(7).")
@common
@settings
def capture(
    settings: Settings, lab: str, where: tuple[str, ...], write: Path | None, count: int | None, expression: str
) -> None:
    """Capture frames of a living lab.

    What passes the interfaces goes into one pcapng, each interface under its name, until Ctrl-C. Without --write the file is
    LAB.pcapng here, or stdout where that is no terminal. A frame that crosses several of the interfaces is there once for
    each, with the kernel's time stamp of each. Frames that the kernel had no room for are counted at the end.

    \b
    Example:
      lab capture monday client:eth0 r1:eth1 -w both.pcapng
      lab capture monday client:eth0 --filter 'icmp6 or arp' -c 20
      lab capture monday client:eth0 > client.pcapng
    """
    from lab import host, live
    from lab.observe import pcapng, wire
    from lab.observe.capture import Capture

    host.require_root()
    found = live.Lab.attach(lab)
    interfaces = found.interfaces(*where)
    program = wire.compiled(expression) if expression else ()
    path = write or (Path("-") if not sys.stdout.isatty() else Path(f"{lab}.pcapng"))
    with _opened(path) as file:
        seen = _First(count, pcapng.Writer(file, interfaces).write)
        capturing = Capture(interfaces, program, told=seen.take, keep=False)
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError), capturing:
            say(f"capturing at {', '.join(map(str, interfaces))}: end it with Ctrl-C")
            while not seen.enough and found.directory.exists():
                select.select([], [], [], _LOOK_AGAIN)
    settings.decided()
    for interface, lost in capturing.lost.items():
        say(f"lab: the kernel lost {lost} frames at {interface}: it had no room for them")
    if str(path) != "-" and settings.json:
        envelope("capture", {"file": str(path), "frames": seen.number, "lost": dict(capturing.lost)})
    elif settings.verbosity >= 0:
        say(f"{seen.number} frames{'' if str(path) == '-' else f' in {path}'}")


class _First:
    """Hands the first `most` frames on, all where that is None, and counts them."""

    def __init__(self, most: int | None, on: Callable[[Frame], None]) -> None:
        self.number, self._most, self._on = 0, most, on

    @property
    def enough(self) -> bool:
        return self._most is not None and self.number >= self._most

    def take(self, frame: Frame) -> None:
        if not self.enough:
            self.number += 1
            self._on(frame)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    with path.open("wb") as file:
        yield file


COMMANDS: tuple[Any, ...] = (capture,)
