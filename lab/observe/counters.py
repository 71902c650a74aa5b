"""SNMP counters of one namespace, under the names that nstat(8) prints: TcpExtIPReversePathFilter, Ip6InReceives …"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lab.substrate import namespaces

# Reading /proc/net needs no tool: nstat would keep its history per user, not per namespace.
_PAIRED = ("snmp", "netstat")
_PLAIN = ("snmp6",)
_NET = Path("/proc/thread-self/net")


def read(ns: Path) -> Mapping[str, int]:
    """All counters of the namespace at `ns` since it was made."""
    return namespaces.inside(ns, here)


def here() -> dict[str, int]:
    """The same of the namespace that the calling thread is in."""
    return dict(_all())


def delta(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What moved between two readings."""
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def _all() -> Iterator[tuple[str, int]]:
    for name in _PAIRED:
        lines = (_NET / name).read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            prefix, *fields = names.split()
            yield from zip((prefix[:-1] + each for each in fields), map(int, values.split()[1:]), strict=True)
    for name in _PLAIN:
        for line in (_NET / name).read_text().splitlines():
            field, value = line.split()
            yield field, int(value)
