"""TCP's MD5 signature (RFC 2385) of a frame as it passed, computed by the RFC's own layout and without the kernel. Pure.

The option is kind 19, length 18, and 16 bytes: the MD5 of, in this order (RFC 2385, 2.0),

    the pseudo-header      source, destination, zero and protocol, length of the segment with its header; IPv6: RFC 8200, 8.1
    the TCP header         its 20 bytes without options, with a checksum of zero
    the data, if any
    the key
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from functools import cached_property

KIND = 19
"""Of the option."""
END, NO_OPERATION, MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS = 0, 1, 2, 3, 4, 8
"""Kinds of other options (RFC 9293, 7323, 2018)."""
SYN, RST, ACK = 0x02, 0x04, 0x10
_ETHERNET, _IPV4, _IPV6, _TCP = 14, 0x0800, 0x86DD, 6
_IPV6_HEADER, _TCP_HEADER = 40, 20


@dataclass(frozen=True)
class Segment:
    """A TCP segment. `source` and `target` are the addresses, 4 or 16 bytes each; `header` its first 20 bytes; `options` the
    kind and the data of each; `payload` its data."""

    source: bytes
    target: bytes
    header: bytes
    options: tuple[tuple[int, bytes], ...]
    payload: bytes
    length: int
    """In bytes, with header, options and payload."""

    @classmethod
    def of(cls, frame: bytes) -> Segment:
        """Of an Ethernet frame. Raises ValueError where there is no TCP right behind the IP header, or it is cut."""
        source, target, segment = _unwrapped(frame)
        begin = segment[12] >> 4 << 2 if len(segment) >= _TCP_HEADER else 0
        if not _TCP_HEADER <= begin <= len(segment):
            raise ValueError("a TCP header that is cut")
        options = _options(segment[_TCP_HEADER:begin])
        return cls(source, target, segment[:_TCP_HEADER], options, segment[begin:], len(segment))

    @cached_property
    def ports(self) -> tuple[int, int]:
        """Source and destination."""
        source, target = struct.unpack_from("!HH", self.header)
        return source, target

    @property
    def flags(self) -> int:
        return self.header[13]

    @property
    def after(self) -> int:
        """The sequence number of what follows it in the stream."""
        (sequence,) = struct.unpack_from("!I", self.header, 4)
        taken: int = sequence + len(self.payload) + bool(self.flags & SYN)
        return taken & 0xFFFFFFFF

    @property
    def kinds(self) -> tuple[int, ...]:
        """Of its options, in order, without padding."""
        return tuple(kind for kind, _ in self.options if kind != NO_OPERATION)

    def option(self, kind: int) -> bytes | None:
        """The data of the first option of that kind."""
        return next((data for found, data in self.options if found == kind), None)

    def digest(self, key: bytes) -> bytes:
        """The 16 bytes that sign it with the key."""
        header = self.header[:16] + bytes(2) + self.header[18:]
        return hashlib.md5(self._pseudo_header() + header + self.payload + key, usedforsecurity=False).digest()

    def is_signed_with(self, key: bytes) -> bool:
        found = self.option(KIND)
        return found is not None and hmac.compare_digest(found, self.digest(key))

    def _pseudo_header(self) -> bytes:
        addresses = self.source + self.target
        if len(self.source) == 4:
            return addresses + struct.pack("!BBH", 0, _TCP, self.length)
        return addresses + struct.pack("!IxxxB", self.length, _TCP)


def _unwrapped(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """Source, destination, and what the IP packet carries, without what Ethernet filled it up with."""
    kind = int.from_bytes(frame[12:14])
    packet = frame[_ETHERNET:]
    if kind == _IPV4 and len(packet) >= 20 and packet[9] == _TCP:
        total = int.from_bytes(packet[2:4])
        return packet[12:16], packet[16:20], packet[(packet[0] & 0xF) * 4 : total]
    if kind == _IPV6 and len(packet) >= _IPV6_HEADER and packet[6] == _TCP:
        end = _IPV6_HEADER + int.from_bytes(packet[4:6])
        return packet[8:24], packet[24:40], packet[_IPV6_HEADER:end]
    raise ValueError("no TCP segment in IPv4 or IPv6")


def _options(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """RFC 9293, 3.1: a kind alone, or a kind, a length that counts both, and data."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data) and data[at] != END:
        length = 1 if data[at] == NO_OPERATION else data[at + 1] if at + 1 < len(data) else 0
        if length == 0 or (length == 1 and data[at] != NO_OPERATION) or at + length > len(data):
            raise ValueError("a TCP option that is cut")
        found.append((data[at], data[at + 2 : at + length]))
        at += length
    return tuple(found)
