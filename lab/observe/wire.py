"""What is seen on the wire, and what is expected there: frames dissected by scapy, and sentences about them.

    with lab.capture("client:eth0", filter="icmp6") as wire:
        client.run(["ping", "-c1", "2001:db8::9"])
        answer = wire.expect(lambda p: ICMPv6ND_NA in p, "an advertisement")
        wire.never(lambda p: ARP in p, "an ARP request", until=lambda p: ICMPv6EchoReply in p)

That something never came is proven by order: some later frame, which travels the same way, has come.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lab.errors import HostError, TopologyError
from lab.observe.capture import Capture, Filter, Frame, Interface

Match = Callable[[Any], object]
"""Says of a scapy packet whether it is meant."""
_SHOWN = 40  # packets that a failed expectation lists
_WITHIN = 5.0


@dataclass(frozen=True)
class Packet:
    """One frame and what scapy makes of it; layers by `packet[IPv6]` and `IPv6 in packet`, and scapy's own by `whole`."""

    frame: Frame

    @cached_property
    def whole(self) -> Any:
        from scapy.layers import inet, inet6, l2  # noqa: F401 - registers what is below Ethernet

        return l2.Ether(self.frame.data)

    def __contains__(self, layer: Any) -> bool:
        return layer in self.whole

    def __getitem__(self, layer: Any) -> Any:
        return self.whole[layer]

    @property
    def summary(self) -> str:
        """One line, as scapy tells it."""
        return _said(self, lambda whole: whole.summary())

    @property
    def dissection(self) -> str:
        """Every field of every layer, in lines."""
        return _said(self, lambda whole: whole.show(dump=True)).rstrip()

    def __str__(self) -> str:
        direction = "sends" if self.frame.sent else "receives"
        return f"{self.frame.interface} {direction} {self.summary}"


class WireError(AssertionError):
    """An expectation did not hold; the message lists what was seen instead."""


class Wire:
    """A capture with expectations, a context manager; everything is kept until it is dropped."""

    def __init__(self, interfaces: Sequence[Interface], expression: str = "") -> None:
        self.interfaces, self.expression = tuple(interfaces), expression
        self._capture = Capture(interfaces, compiled(expression) if expression else ())
        self._packets: dict[Frame, Packet] = {}

    def __enter__(self) -> Wire:
        self._capture.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._capture.__exit__(*exception)

    @property
    def frames(self) -> tuple[Frame, ...]:
        return self._capture.frames

    @property
    def lost(self) -> Mapping[str, int]:
        """Frames that the kernel had no room to keep, by interface; known once the block has ended."""
        return self._capture.lost

    @property
    def packets(self) -> list[Packet]:
        """What has come until now, in the order of time."""
        return [self._packets.setdefault(frame, Packet(frame)) for frame in self.frames]

    def expect(self, match: Match, what: str = "the packet", within: float = _WITHIN) -> Packet:
        """The first packet that matches, waited for `within` seconds. Raises WireError."""
        return self.expect_in_order((match, what), within=within)[0]

    def expect_in_order(self, *wishes: tuple[Match, str], within: float = _WITHIN) -> list[Packet]:
        """A packet for each wish, each later than the one before. Raises WireError with the first that did not come."""
        deadline = time.monotonic() + within
        while True:
            number = len(self.frames)
            found = _in_order(self.packets, [match for match, _ in wishes])
            if len(found) == len(wishes):
                return found
            if not self._capture.wait_for_more(number, deadline):
                before = f" after {wishes[len(found) - 1][1]}" if found else ""
                raise WireError(f"within {within:g} s {wishes[len(found)][1]} was not seen{before}; seen were:\n{self}")

    def never(self, match: Match, what: str, until: Match, within: float = _WITHIN) -> None:
        """Nothing that matches comes before the first packet that `until` matches. Raises WireError, also where that one
        does not come: then nothing is proven."""
        last = self.expect(until, f"what proves that {what} never came", within)
        packets = self.packets
        if any(match(packet) for packet in packets[: packets.index(last)]):
            raise WireError(f"{what} was seen; seen were:\n{self}")

    def all(self, match: Match) -> list[Packet]:
        """Those that have come until now."""
        return [packet for packet in self.packets if match(packet)]

    def __str__(self) -> str:
        lines = list(_lines(self.packets))
        more = [f"    … and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        lost = [f"    the kernel lost {number} at {where}" for where, number in self.lost.items()]
        return "\n".join([*lines[:_SHOWN], *more, *lost]) or "    nothing"


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    """What the calling thread sends in the block stays in order (net/core/dev.c, the backlog of a processor): what comes later
    can prove that something else never comes."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _said(packet: Packet, tell: Callable[[Any], object]) -> str:
    """scapy's dissectors raise whatever a frame that is cut or wrong makes them raise."""
    try:
        return str(tell(packet.whole))
    except Exception as error:
        return f"cannot be dissected: {type(error).__name__}: {error}"


def _in_order(packets: Sequence[Packet], wishes: Sequence[Match]) -> list[Packet]:
    """As many as there are, from the first wish on."""
    found: list[Packet] = []
    rest = iter(packets)
    for match in wishes:
        packet = next((packet for packet in rest if match(packet)), None)
        if packet is None:
            break
        found.append(packet)
    return found


def _lines(packets: Sequence[Packet]) -> Iterator[str]:
    for packet in packets:
        since = (packet.frame.time - packets[0].frame.time) / 1e6
        yield f"    {since:9.3f} ms  {packet}"


def compiled(expression: str) -> Filter:
    """A filter in the language of pcap-filter(7) as a BPF program for Ethernet. Raises TopologyError where it is wrong, and
    HostError where libpcap is missing."""
    try:
        from scapy.arch.common import compile_filter
        from scapy.error import Scapy_Exception
    except ImportError as error:
        raise HostError("filters need scapy and libpcap", "apt-get install libpcap0.8") from error
    try:
        program = compile_filter(expression, linktype=1)
    except (ImportError, OSError) as error:
        raise HostError(f"filters need libpcap: {error}", "apt-get install libpcap0.8") from error
    except Scapy_Exception:
        raise TopologyError(f"{expression!r} is no filter of pcap-filter(7)", "write such as 'icmp6 or arp'") from None
    instructions = [program.bf_insns[at] for at in range(program.bf_len)]
    return [(each.code, each.jt, each.jf, each.k) for each in instructions]
