"""Asking by ARP (RFC 826), and proof that nobody answered: silence is told by order, never by the clock.

A request travels between two probes (RFC 5227, sender address 0.0.0.0), which Linux answers before it looks at any route or
filter (net/ipv4/arp.c, arp_process). The three leave one processor one after another, and a veth, a bridge and a VLAN device
keep their order; so once both probes are answered, an answer to the request has come or never will.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.substrate import namespaces

_ETH_P_ARP, _ETH_P_IP, _ARPHRD_ETHER = 0x0806, 0x0800, 1
_REQUEST, _REPLY = 1, 2
_SIOCGIFADDR = 0x8915  # include/uapi/linux/sockios.h
_PACKET = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826, for Ethernet and IPv4
_BROADCAST, _UNKNOWN, _NOBODY = b"\xff" * 6, bytes(6), bytes(4)
_ROUNDS, _ROUND = 4, 0.5  # seconds; the kernel answers within microseconds, so what is lost was lost on a link not yet up


class NoAnswerError(TimeoutError):
    """Not even a probe was answered: nobody in that LAN has the address, or nothing gets through."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """`asker` is the address that the request came from, 0.0.0.0 for a probe."""

    mac: str
    address: bytes
    asker: bytes


def who_has(ns: Path, device: str, address: str, sender: str | None = None) -> tuple[str, ...]:
    """Asks for an IPv4 address by broadcast out of `device` in the namespace at `ns`; the MAC addresses that answered.

    `sender` is the address that asks, without it the first of `device`. Empty means that whoever has the address kept
    silent. Raises NoAnswerError, and OSError where `device` does not exist or has no address."""
    return namespaces.inside(ns, _ask, device, socket.inet_aton(address), sender)


def _ask(device: str, address: bytes, sender: str | None) -> tuple[str, ...]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # this helper thread only: what it sends stays in order
    asker = socket.inet_aton(sender) if sender else _own_address(device)
    for _ in range(_ROUNDS):
        found = _ask_once(device, address, asker)
        if found is not None:
            return found
    said = f"on {device} nobody answered an ARP probe for {ipaddress.IPv4Address(address)} within {_ROUNDS * _ROUND:g} s"
    raise NoAnswerError(said)


def _ask_once(device: str, address: bytes, asker: bytes) -> tuple[str, ...] | None:
    """None where the probes were not both answered, which says nothing about the request."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0) as sock:
        sock.bind((device, _ETH_P_ARP))
        for who in (_NOBODY, asker, _NOBODY):
            sock.sendto(_request(sock.getsockname()[4], who, address), (device, _ETH_P_ARP, 0, 0, _BROADCAST))
        return _answers(sock, address, asker)


def _own_address(device: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        return fcntl.ioctl(sock, _SIOCGIFADDR, struct.pack("16s16x", device.encode()))[20:24]


def _request(mac: bytes, asker: bytes, address: bytes) -> bytes:
    return _PACKET.pack(_ARPHRD_ETHER, _ETH_P_IP, 6, 4, _REQUEST, mac, asker, _UNKNOWN, address)


def _answers(sock: socket.socket, address: bytes, asker: bytes) -> tuple[str, ...] | None:
    """Until everybody who answered the first probe has answered the last."""
    probes: Counter[str] = Counter()
    found: list[str] = []
    for reply in _replies(sock, time.monotonic() + _ROUND):
        if reply.address == address and reply.asker == asker:
            found.append(reply.mac)
        elif reply.address == address and reply.asker == _NOBODY:
            probes[reply.mac] += 1
            if min(probes.values()) == 2:
                return tuple(found)
    return None


def _replies(sock: socket.socket, deadline: float) -> Iterator[_Reply]:
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            return
        packet = sock.recv(1 << 16)
        if len(packet) >= _PACKET.size:
            _, _, _, _, operation, mac, address, _, asker = _PACKET.unpack_from(packet)
            if operation == _REPLY:
                yield _Reply(mac.hex(":"), address, asker)
