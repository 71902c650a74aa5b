"""The kernel's log from a position on, and which of its lines are this lab's.

The log is everybody's: it is never cleared, and its lines name a device but no namespace. What tells labs apart is a MAC
address: one in the line itself, or in the `ll header` line that the kernel writes behind a martian (net/ipv4/route.c,
ip_handle_martian_source). /dev/kmsg: Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import errno
import os
import re
import select
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from lab.errors import HostError, Problem
from lab.observe.conditions import ConditionTimeout
from lab.substrate import userns

T = TypeVar("T")
_LONGEST = 8192  # bytes of one record; a shorter buffer is refused with EINVAL
_ASK_AGAIN = 0.1  # seconds
_RATE_LIMIT = Path("/proc/sys/net/core/message_cost")
_MARTIAN = re.compile(r"martian source (?P<to>[\d.]+) from (?P<sender>[\d.]+), on dev (?P<device>\S+)")
_LL_HEADER = re.compile(r"ll header: 00000000: (?P<octets>(?:[0-9a-f]{2} ){12,15}[0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record. `seconds` since boot; `caller` is the task or processor that wrote it, where the kernel says so."""

    sequence: int
    level: int
    seconds: float
    caller: str
    text: str

    def __str__(self) -> str:
        return f"[{self.seconds:12.6f}] {self.text}"


@dataclass(frozen=True, slots=True)
class Martian:
    """A packet that the kernel refused for its source. `mac` is who sent the frame, from the line `header` behind it."""

    line: Entry
    header: Entry
    to: str
    sender: str
    device: str
    mac: str


class Log:
    """What the kernel writes from now on. A context manager; raises HostError where /dev/kmsg cannot be read."""

    def __init__(self) -> None:
        try:
            self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise HostError([_why_not(error, userns.is_initial())]) from error
        os.lseek(self._fd, 0, os.SEEK_END)
        self._entries: list[Entry] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def entries(self) -> Sequence[Entry]:
        """Everything so far. What others wrote over before it was read is missing."""
        while record := self._next():
            if entry := _entry(record):
                self._entries.append(entry)
        return tuple(self._entries)

    def _next(self) -> bytes | None:
        while True:
            try:
                return os.read(self._fd, _LONGEST)
            except OSError as error:
                if error.errno == errno.EPIPE:  # the ring has overtaken us; the next read begins at its oldest record
                    continue
                if error.errno == errno.EAGAIN:
                    return None
                raise

    def wait(
        self,
        find: Callable[[Sequence[Entry]], T],
        again: Callable[[], object],
        what: str,
        timeout: float | None = None,
    ) -> T:
        """Provokes a line by `again` until `find` finds something, which is returned; raises ConditionTimeout.

        Lines about packets are rate-limited for the whole host (10 in net.core.message_cost seconds), so what is missing is
        provoked again, as long as two such spans where no `timeout` is given."""
        patience = 2 * _rate_limit() + 1 if timeout is None else timeout
        deadline = time.monotonic() + patience
        while True:
            again()
            if found := find(self.entries()):
                return found
            if time.monotonic() >= deadline:
                raise ConditionTimeout(f"the kernel's log never had {what}, within {patience:g} s")
            select.select([self._fd], [], [], _ASK_AGAIN)


def _rate_limit() -> int:
    """Seconds. Not shown in a network namespace of its own, as a container has: then the kernel's default (net/core/utils.c,
    net_ratelimit_state)."""
    try:
        return int(_RATE_LIMIT.read_text())
    except FileNotFoundError:
        return 5


def _why_not(error: OSError, initial: bool) -> Problem:
    """The log is the initial user namespace's: from any other only what every user may read is read."""
    if not initial and error.errno in (errno.EPERM, errno.EACCES):
        hint = "run it as root; or let every user read it: sudo sysctl kernel.dmesg_restrict=0"
        if error.errno == errno.EACCES:  # the file's own mode, which stands before that setting
            hint += ", and sudo chmod a+r /dev/kmsg"
        return Problem("without root the kernel's log cannot be read here", hint)
    hint = "reading the kernel's log needs CAP_SYSLOG and, in a container, the device"
    return Problem(f"/dev/kmsg cannot be opened: {error.strerror}", hint)


def martians(entries: Sequence[Entry], macs: Collection[str]) -> tuple[Martian, ...]:
    """The martians among `entries` whose frames were sent by one of `macs`."""
    return tuple(each for each in _martians(entries) if each.mac in macs)


def of_macs(entries: Sequence[Entry], macs: Collection[str]) -> tuple[Entry, ...]:
    """The lines that belong to who owns `macs`: those that name one, and martians whose header does."""
    own = {line.sequence for each in martians(entries, macs) for line in (each.line, each.header)}
    return tuple(each for each in entries if each.sequence in own or any(mac in each.text for mac in macs))


def _martians(entries: Sequence[Entry]) -> Iterator[Martian]:
    """A header belongs to the martian before it: of its own caller, where the kernel tells (CONFIG_PRINTK_CALLER)."""
    open_lines: dict[str, tuple[Entry, re.Match[str]]] = {}
    for entry in entries:
        if said := _MARTIAN.search(entry.text):
            open_lines[entry.caller] = (entry, said)
        elif (header := _LL_HEADER.match(entry.text)) and entry.caller in open_lines:
            line, said = open_lines.pop(entry.caller)
            octets = header["octets"].split(" ")
            yield Martian(line, entry, said["to"], said["sender"], said["device"], ":".join(octets[6:12]))


def _entry(record: bytes) -> Entry | None:
    """`level,sequence,microseconds,flags[,caller=…];text`, then lines of properties that begin with a blank."""
    prefix, _, text = record.decode("utf-8", "replace").partition(";")
    fields = prefix.split(",")
    caller = next((each.removeprefix("caller=") for each in fields[4:] if each.startswith("caller=")), "")
    try:
        level, sequence, microseconds = map(int, fields[:3])
    except ValueError:
        return None
    return Entry(sequence, level & 7, microseconds / 1e6, caller, text.split("\n", 1)[0])
