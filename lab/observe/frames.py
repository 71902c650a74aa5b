"""Frames made by scapy, as a user wishes them: ARP, echo requests, UDP or any octets, with VLAN tags of one's choice; and
whether a frame that was seen answers one of them. Nothing is sent here.

A tag is (VLAN id, priority), IEEE 802.1Q; of several, the outermost first, all but the last are service tags (802.1ad).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Tag = tuple[int, int]
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:00:00:00:00"
_SERVICE_TAG, _TAG = 0x88A8, 0x8100
_REQUEST = 1  # RFC 826
_PORT, _ID = 40000, 0x1AB  # what answers come back to
_HOPS = 64
_HEADER = 14


@dataclass(frozen=True, slots=True)
class Ends:
    """From where to where: MAC addresses, and the addresses of the layer above."""

    source: str
    destination: str
    address: Address | None = None
    to: Address | None = None


def without_routes() -> None:
    """Before scapy's layers are imported: they would read this host's routes then, message by message, which no lab needs, and
    which takes a third of the time of their import."""
    from scapy.config import conf

    conf.route_autoload = conf.route6_autoload = False


def arp(ends: Ends, tags: Sequence[Tag] = ()) -> Any:
    """A request for `ends.to` (IPv4); without an address of one's own a probe (RFC 5227)."""
    from scapy.layers.l2 import ARP

    own = str(ends.address or "0.0.0.0")
    return _framed(ends, tags) / ARP(op=_REQUEST, hwsrc=ends.source, psrc=own, hwdst=NOBODY, pdst=str(ends.to))


def echo(ends: Ends, tags: Sequence[Tag] = (), number: int = 1) -> Any:
    """An echo request of the family of `ends.to`; `number` is its sequence number."""
    from scapy.layers.inet import ICMP
    from scapy.layers.inet6 import ICMPv6EchoRequest

    if ends.to is not None and ends.to.version == 6:
        return _framed(ends, tags) / _packet(ends) / ICMPv6EchoRequest(id=_ID, seq=number)
    return _framed(ends, tags) / _packet(ends) / ICMP(type="echo-request", id=_ID, seq=number)


def udp(ends: Ends, port: int, tags: Sequence[Tag] = (), data: bytes = b"lab") -> Any:
    """A datagram to a port."""
    from scapy.layers.inet import UDP
    from scapy.packet import Raw

    return _framed(ends, tags) / _packet(ends) / UDP(sport=_PORT, dport=port) / Raw(data)


def raw(octets: bytes, source: str | None, destination: str | None, tags: Sequence[Tag] = ()) -> Any:
    """A whole frame, from its destination's MAC address on, with these MAC addresses instead of its own, and tags in front of
    what it has. Raises ValueError where it is too short to be one."""
    from scapy.layers.l2 import Ether

    if len(octets) < _HEADER:
        raise ValueError(f"a frame begins with two MAC addresses and a type: {_HEADER} octets, not {len(octets)}")
    frame = Ether(octets)
    rest, kind = frame.payload, frame.type
    frame = Ether(src=source or frame.src, dst=destination or frame.dst, type=kind)
    return frame / rest if not tags else _tagged(frame, tags, kind) / rest


def _framed(ends: Ends, tags: Sequence[Tag]) -> Any:
    from scapy.layers.l2 import Ether

    return _tagged(Ether(src=ends.source, dst=ends.destination), tags)


def _tagged(frame: Any, tags: Sequence[Tag], kind: int | None = None) -> Any:
    """`kind`: the type of what comes behind the last tag, where scapy cannot know it."""
    from scapy.layers.l2 import Dot1AD, Dot1Q

    if tags:
        frame.type = _SERVICE_TAG if len(tags) > 1 else _TAG
    for at, (vlan, priority) in enumerate(tags, 1):
        layer = (Dot1Q if at == len(tags) else Dot1AD)(vlan=vlan, prio=priority)
        if at < len(tags):
            layer.type = _SERVICE_TAG if at < len(tags) - 1 else _TAG
        elif kind is not None:
            layer.type = kind
        frame = frame / layer
    return frame


def _packet(ends: Ends) -> Any:
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    if ends.to is not None and ends.to.version == 6:
        return IPv6(src=str(ends.address), dst=str(ends.to), hlim=_HOPS)
    return IP(src=str(ends.address), dst=str(ends.to), ttl=_HOPS)


def answers(seen: Any, sent: Any) -> bool:
    """Whether a frame answers another, whatever VLANs they are in: a reply, or an error about it."""
    return bool(_inside(seen).answers(_inside(sent)))


def tags_of(frame: Any) -> tuple[Tag, ...]:
    """Its VLAN tags, the outermost first."""
    return tuple((layer.vlan, layer.prio) for layer in _layers(frame)[1:-1])


def in_words(frame: Any) -> str:
    """As scapy tells it in one line, and its tags, of which that line says nothing."""
    tags = "; ".join(f"VLAN {vlan}, priority {priority}" for vlan, priority in tags_of(frame))
    return f"{frame.summary()} ({tags})" if tags else str(frame.summary())


def _inside(frame: Any) -> Any:
    """What the frame carries behind its tags."""
    return _layers(frame)[-1]


def _layers(frame: Any) -> list[Any]:
    """The frame, each of its tags, and what is behind them."""
    from scapy.layers.l2 import Dot1Q

    found = [frame, frame.payload]
    while isinstance(found[-1], Dot1Q):  # of which a service tag is a kind
        found.append(found[-1].payload)
    return found
