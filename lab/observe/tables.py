"""Addresses, routes, neighbours and anycast groups of the calling thread's namespace, each entry as the few values that a
condition asks for.

Read by plain structs and not by pyroute2's classes, which take a hundred times as long for a table of which one entry counts.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.substrate.netlink import batch

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

# include/uapi/linux/netlink.h, rtnetlink.h, if_addr.h, neighbour.h
_HEADER = struct.Struct("IHHII")
_ERROR, _DONE, _REQUEST, _DUMP = 2, 3, 1, 0x300
_GET_ADDRESS, _GET_ROUTE, _GET_NEIGHBOUR, _GET_ANYCAST = 22, 26, 30, 62
_IFADDRMSG, _RTMSG, _NDMSG = struct.Struct("BBBBI"), struct.Struct("BBBBBBBBI"), struct.Struct("BxxxiHBB")
_IFA_ADDRESS, _IFA_LOCAL, _IFA_ANYCAST, _IFA_FLAGS = 1, 2, 5, 8
_RTA_DST, _RTA_TABLE, _NDA_DST, _NDA_LLADDR = 1, 15, 1, 2
_ATTRIBUTE = struct.Struct("HH")
_KIND = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
"""Family -> bytes of its addresses."""
_RECEIVE = 1 << 17


@dataclass(frozen=True, slots=True)
class Held:
    """An address on a device; `flags` are IFA_F_…"""

    address: Address
    device: str
    flags: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """A neighbour on a device; `state` is one NUD_…, `mac` is empty where it is not known."""

    address: Address
    device: str
    state: int
    mac: str = ""

    def __str__(self) -> str:
        return f"{self.address} on {self.device} is {STATES.get(self.state, 'none')}"


@dataclass(frozen=True, slots=True)
class Group:
    """An anycast group that the node answers for on a device; `users` are the sockets and subsystems that hold it."""

    address: ipaddress.IPv6Address
    device: str
    users: int


STATES = {1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 16: "probe", 32: "failed", 64: "noarp", 128: "permanent"}
"""NUD_… -> its name in ip-neighbour(8)."""


def addresses() -> Iterator[Held]:
    """Every address of both families."""
    for family, message in _dumped(_GET_ADDRESS, _IFADDRMSG):
        _, _, flags, _, index = _IFADDRMSG.unpack_from(message, _HEADER.size)
        found = _attributes(message, _IFADDRMSG)
        own = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if own and len(own) == _FAMILIES[family]:
            wide = found.get(_IFA_FLAGS)
            yield Held(ipaddress.ip_address(own), _name(index), struct.unpack("I", wide)[0] if wide else flags)


def routes(table: int) -> Iterator[Prefix]:
    """Where the routes of one table lead to, of both families."""
    for family, message in _dumped(_GET_ROUTE, _RTMSG):
        _, length, _, _, short, *_ = _RTMSG.unpack_from(message, _HEADER.size)
        found = _attributes(message, _RTMSG)
        long = found.get(_RTA_TABLE)
        if (struct.unpack("I", long)[0] if long else short) == table:
            to = found.get(_RTA_DST) or bytes(_FAMILIES[family])
            yield ipaddress.ip_network((to, length), strict=False)


def neighbours() -> Iterator[Resolved]:
    """Every entry of both neighbour tables, in whatever state."""
    for _, message in _dumped(_GET_NEIGHBOUR, _NDMSG):
        _, index, state, _, _ = _NDMSG.unpack_from(message, _HEADER.size)
        found = _attributes(message, _NDMSG)
        if far := found.get(_NDA_DST):
            yield Resolved(ipaddress.ip_address(far), _name(index), state, found.get(_NDA_LLADDR, b"").hex(":"))


def neighbour(address: str) -> Resolved | None:
    """The entry of one neighbour, where there is any; with one on several devices the first."""
    wanted = ipaddress.ip_address(address)
    return next((each for each in neighbours() if each.address == wanted), None)


def groups() -> Iterator[Group]:
    """Every anycast group with its count, by /proc/net/anycast6: index, device, address (hexadecimal), users."""
    for line in Path("/proc/thread-self/net/anycast6").read_text().splitlines():
        _, device, address, users = line.split()
        yield Group(ipaddress.IPv6Address(bytes.fromhex(address)), device, int(users))


def dumped_groups() -> Iterator[tuple[ipaddress.IPv6Address, str]]:
    """(address, device) of every anycast group, by RTM_GETANYCAST, which does not tell the count."""
    for family, message in _dumped(_GET_ANYCAST, _IFADDRMSG):
        found = _attributes(message, _IFADDRMSG).get(_IFA_ANYCAST)
        if family == socket.AF_INET6 and found:
            yield ipaddress.IPv6Address(found), _name(_IFADDRMSG.unpack_from(message, _HEADER.size)[4])


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # it went away meanwhile
        return f"#{index}"


def _dumped(kind: int, shape: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """(family, message) of every entry; a kernel without IPv6 answers with those of IPv4 again, which are left out."""
    for family in _FAMILIES:
        with batch.open_socket() as sock:
            body = bytes([family]).ljust(shape.size, b"\0")
            sock.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _DUMP, 0, 0) + body)
            yield from ((family, message) for message in _answers(sock) if message[_HEADER.size] == family)


def _answers(sock: socket.socket) -> Iterator[bytes]:
    while True:
        for kind, message in batch.split(sock.recv(_RECEIVE)):
            if kind in (_DONE, _ERROR):
                return
            yield message


def _attributes(message: bytes, shape: struct.Struct) -> dict[int, bytes]:
    found, at = {}, _HEADER.size + shape.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _KIND] = message[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found
