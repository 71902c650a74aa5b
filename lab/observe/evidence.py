"""What a lab looked like when a check failed: sections of text, gathered while it is still up and changing nothing in it.

Takes namespaces by their paths and knows nothing of checks, reports or what was expected. A part that cannot be read says
so instead: evidence never takes the place of the failure that it stands beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from lab import __version__
from lab.errors import HostError
from lab.observe import counters, kmsg
from lab.substrate.netlink import dump
from lab.substrate.netlink.dump import NamespaceState

Namespaces = Mapping[str, Path]
"""Node -> the mount of its network namespace."""


# What /proc/net/snmp has beside its counters (RFC 1213): settings, here with the values that nobody changed.
_SETTINGS = {"IpForwarding": 2, "IpDefaultTTL": 64}
_SETTINGS |= {"TcpRtoAlgorithm": 1, "TcpRtoMin": 200, "TcpRtoMax": 120000, "TcpMaxConn": -1}
_LOOPBACK = ("127.0.0.1/8", "::1/128")


class Watch:
    """Remembers where the kernel's log stood when a lab began, so that its lines can be told later. A context manager."""

    def __init__(self) -> None:
        self._log: kmsg.Log | None = None
        self._refused = ""
        try:
            self._log = kmsg.Log()
        except HostError as error:
            self._refused = str(error)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            self._log.close()

    def collect(self, namespaces: Namespaces, facts: Mapping[str, object], rendered: Callable[[], str]) -> dict[str, str]:
        """Title -> text of every section that has one; `facts` go into the first, `rendered` gives the file as deployed."""
        states = cache(lambda: {node: dump.read(ns) for node, ns in namespaces.items()})
        sections = {
            "lab": lambda: _facts({**facts, "lab version": __version__, **_kernel()}),
            "addresses": lambda: _of_nodes(states(), _addresses),
            "routes": lambda: _of_nodes(states(), lambda state: state.routes),
            "neighbours": lambda: _of_nodes(states(), lambda state: state.neighbours),
            "counters that moved": lambda: _counters(namespaces),
            "kernel log": lambda: self._lines(states()),
            "topology as deployed": lambda: rendered().rstrip(),
        }
        return {title: text for title, make in sections.items() if (text := _said(make))}

    def _lines(self, states: Mapping[str, NamespaceState]) -> str:
        if self._log is None:
            return self._refused
        macs = {link.mac for state in states.values() for link in state.links} - {"", "00:00:00:00:00:00"}
        return "\n".join(map(str, kmsg.of_macs(self._log.entries(), macs)))


def _said(make: Callable[[], str]) -> str:
    try:
        return make()
    except Exception as error:
        return f"could not be read: {type(error).__name__}: {error}"


def _kernel() -> dict[str, str]:
    system = os.uname()
    return {"kernel release": system.release, "kernel version": system.version, "machine": system.machine}


def _facts(facts: Mapping[str, object]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def _of_nodes(states: Mapping[str, NamespaceState], lines: Callable[[NamespaceState], Iterable[str]]) -> str:
    return _indented({node: list(lines(state)) for node, state in states.items()})


def _indented(of_nodes: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f"{node}:" + "".join(f"\n  {line}" for line in lines) for node, lines in of_nodes.items() if lines)


def _addresses(state: NamespaceState) -> Iterable[str]:
    for link in state.links:
        if link.addresses == _LOOPBACK:
            continue
        master = f" in {link.master}" if link.master else ""
        words = [f"{link.name}: {link.kind}, {link.state}{master}, mtu {link.mtu}, {link.mac}", *link.addresses]
        yield "  ".join(words)


def _counters(namespaces: Namespaces) -> str:
    """Counters start at 0 with the namespace: what is not 0 has moved since the lab began."""
    moved = {node: counters.delta(_SETTINGS, counters.read(ns)) for node, ns in namespaces.items()}
    return _indented({node: [f"{name} {value}" for name, value in found.items()] for node, found in moved.items()})
