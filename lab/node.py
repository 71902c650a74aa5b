"""One host of a living lab: commands, sockets, sysctls, counters and conditions of its namespace.

How it came to be is not known here; how processes are started is the substrate's.
"""

from __future__ import annotations

import fcntl
import os
import socket as _socket
import struct
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lab.observe import journal
from lab.substrate import baseline, namespaces
from lab.sysctls import sysctl_parts

if TYPE_CHECKING:
    from pyroute2 import IPRoute

    from lab.observe.conditions import Condition, Seen
    from lab.services.container import Container
    from lab.services.living import Service
    from lab.substrate.inits import Init
    from lab.substrate.processes import Argv, Process, Result

T = TypeVar("T")
_NO_SUCH = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_SIOCGIFHWADDR = 0x8927  # include/uapi/linux/sockios.h


class Sysctls(MutableMapping[str, str]):
    """The sysctls of one namespace by their names, `net.ipv4.conf.eth0.rp_filter`; values are text, one line.

    Raises KeyError where this kernel or namespace has no such one; OSError (EINVAL …) where it refuses a value."""

    def __init__(self, ns: Path, node: str = "") -> None:
        self._ns, self._node = ns, node

    def _path(self, name: str) -> Path:
        parts = sysctl_parts(name)
        if parts[0] != "net" or ".." in parts:
            raise KeyError(f"{name}: only net.* belongs to a node; anything else would be the host's")
        return baseline.SYSCTL.joinpath(*parts)

    def __getitem__(self, name: str) -> str:
        path = self._path(name)
        try:
            return namespaces.inside(self._ns, path.read_text).strip()
        except _NO_SUCH:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: object) -> None:
        path = self._path(name)
        text = str(int(value)) if isinstance(value, bool) else str(value)
        try:
            with journal.step(self._node, "set", f"{name} = {text}"):
                namespaces.inside(self._ns, baseline.write, path, text)
        except _NO_SUCH:
            raise KeyError(name) from None

    def __delitem__(self, name: str) -> None:
        raise TypeError("a sysctl cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        def names() -> list[str]:
            found = sorted(path for path in (baseline.SYSCTL / "net").rglob("*") if path.is_file())
            return ["/".join(path.relative_to(baseline.SYSCTL).parts) for path in found]

        return iter(namespaces.inside(self._ns, names))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Node:
    """A network namespace of a living lab, by its name in the topology."""

    def __init__(
        self,
        name: str,
        lab: str,
        ns: Path,
        init: Callable[[], Init],
        services: Callable[[], Mapping[str, Service]] = dict,
        container: Container | None = None,
    ) -> None:
        self.name, self.ns = name, ns
        self.container = container
        """What the node is made of, where it is one of Docker's; commands then run in it."""
        self.netns = f"{lab}.{name}"
        """Its name for `ip netns`."""
        self._init, self._services = init, services
        self._spawned: list[Process] = []
        self.sysctl = Sysctls(ns, name)

    def __repr__(self) -> str:
        return f"<Node {self.netns}>"

    def run(
        self,
        argv: Argv,
        *,
        check: bool = True,
        timeout: float | None = 30.0,
        input: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> Result:
        """Runs a command to its end. Raises CommandError (status other than 0, with `check`), CommandTimeout after
        `timeout` seconds, FileNotFoundError where there is no such command."""
        from lab.substrate import processes

        with journal.step(self.name, "run", argv) as step:
            result = processes.run(self._init(), argv, check=check, timeout=timeout, input=input, env=env, cwd=cwd)
            if step and result.status:
                step.outcome = processes.in_words(result.status)
        return result

    def spawn(self, argv: Argv, **options: Any) -> Process:
        """Starts a command that goes on, whether or not the result is kept; it ends with the lab at the latest. Options as
        `lab.substrate.processes.popen`."""
        from lab.substrate import processes

        with journal.step(self.name, "spawn", argv):
            process = processes.popen(self._init(), argv, **options)
        self._spawned = [*(each for each in self._spawned if each.poll() is None), process]
        return process

    @cached_property
    def services(self) -> Mapping[str, Service]:
        """The daemons of this node by their names: `lab["r1"].services["radvd"].restart()`."""
        return self._services()

    def init(self) -> Init:
        """The node's own PID 1, or its like in a container; made where it had none."""
        return self._init()

    def socket(self, family: int = _socket.AF_INET, type: int = _socket.SOCK_STREAM, proto: int = 0) -> _socket.socket:
        """A real socket of this node's namespace, for the calling process to use and close. Raises OSError as socket(2)."""
        return self.inside(_socket.socket, family, type, proto)

    def send(self, device: str, frame: bytes) -> None:
        """Sends one Ethernet frame out of `device` as it is, from the destination's MAC address on: `bytes(Ether() / …)` of
        scapy. Nothing of this node's network stack sees it. Raises OSError as packet(7): ENODEV, ENETDOWN, EMSGSIZE."""
        with self.socket(_socket.AF_PACKET, _socket.SOCK_RAW) as sock:
            sock.bind((device, 0))
            sock.send(frame)

    def inside(self, do: Callable[..., T], *args: Any) -> T:
        """`do(*args)` in a helper thread inside this node's namespace; what it opens stays bound to it."""
        return namespaces.inside(self.ns, do, *args)

    @property
    def netlink(self) -> IPRoute:
        """A new pyroute2 IPRoute on a socket of this node's namespace; close it, or use it in a `with` block."""
        from lab.substrate.netlink.dump import open_iproute

        return open_iproute(self.ns)

    def counters(self) -> Mapping[str, int]:
        """SNMP counters since the node was made, named as nstat(8) does: TcpExtIPReversePathFilter, Ip6InReceives."""
        from lab.observe import counters

        return counters.read(self.ns)

    def mac(self, device: str) -> str:
        """The MAC address of a device. Raises OSError (ENODEV) where there is none."""
        with self.socket(_socket.AF_INET, _socket.SOCK_DGRAM) as sock:
            answer = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("16sH14x", device.encode(), 0))
        return answer[18:24].hex(":")

    def who_has(self, device: str, address: str, sender: str | None = None) -> tuple[str, ...]:
        """Asks by ARP out of `device`; the MAC addresses that answered, empty where who has `address` kept silent.

        Raises NoAnswerError where nobody there has it. See `lab.observe.arp`."""
        from lab.observe import arp

        with journal.step(self.name, "ask", f"who has {address} at {device}") as step:
            found = arp.who_has(self.ns, device, address, sender)
            if step:
                step.outcome = ", ".join(found) or "silence"
        return found

    def wait(self, condition: Condition | Callable[[], object], timeout: float = 10.0, what: str = "") -> Seen:
        """Waits until a condition of `lab.observe.conditions`, or any predicate, holds. Raises ConditionTimeout, which says
        what was last seen. A predicate runs inside the namespace, in a thread of its own; `what` names it."""
        from lab.observe import conditions

        if callable(condition):
            condition = conditions.Holds(condition, what or getattr(condition, "__doc__", "") or "the condition")
        with journal.step(self.name, "wait", f"until {condition}"):
            return conditions.wait(self.ns, self.name, condition, timeout)
