"""Many messages in one send, and only the errors and one acknowledgement back.

The kernel works a send off message by message and answers a failed one at once, whether or not it asked for an
acknowledgement (net/netlink/af_netlink.c, netlink_rcv_skb); so only the last message of a batch asks for one.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyroute2.netlink import NLMSG_ERROR, nlmsgerr

NETLINK_CAP_ACK, NETLINK_EXT_ACK, SOL_NETLINK = 10, 11, 270  # include/uapi/linux/netlink.h
NLM_F_ACK_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLM_F_ACK = 4
_HEADER = struct.Struct("IHHII")
_ERROR = struct.Struct("i")
_RECEIVE = 1 << 16
_SEND = 1 << 16  # bytes, well below net.core.wmem_default: a larger datagram is refused (EMSGSIZE)
_LOST_AFTER = 10.0  # seconds; the kernel answers within the send itself


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the kernel said to message number `at` of a batch."""

    at: int
    code: int
    extack: str | None

    def __str__(self) -> str:
        said = f": {self.extack}" if self.extack else ""
        return f"{os.strerror(self.code)}{said}"


def open_socket(family: int = socket.NETLINK_ROUTE) -> socket.socket:
    """A netlink socket of the calling thread's network namespace, with extended acknowledgements."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
    sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    sock.settimeout(_LOST_AFTER)
    return sock


def send(sock: socket.socket, messages: Sequence[bytes | bytearray]) -> list[Refusal]:
    """Sends `messages` as one batch, numbered from 0, and waits until the kernel has dealt with the last."""
    refusals: list[Refusal] = []
    first = 0
    for end in _ends(messages):
        sock.send(_joined(messages[first:end], first))
        while not _read(sock.recv(_RECEIVE), end - 1, refusals):
            pass
        first = end
    return refusals


def _ends(messages: Sequence[bytes | bytearray]) -> Iterator[int]:
    """Where to part a batch, for a send must fit the socket's buffer; a message that alone is larger goes alone."""
    size = 0
    for at, message in enumerate(messages):
        if size and size + len(message) > _SEND:
            yield at
            size = 0
        size += len(message)
    yield len(messages)


def _joined(messages: Sequence[bytes | bytearray], first: int) -> bytearray:
    """One buffer of them, numbered from `first` on; only the last asks for an acknowledgement."""
    buffer = bytearray()
    for number, message in enumerate(messages, first):
        length, kind, flags, _, port = _HEADER.unpack_from(message)
        ask = flags | NLM_F_ACK if number == first + len(messages) - 1 else flags & ~NLM_F_ACK
        buffer += _HEADER.pack(length, kind, ask, number, port) + message[_HEADER.size :]
    return buffer


def _read(data: bytes, last: int, refusals: list[Refusal]) -> bool:
    """Adds the refusals in `data`; true when the answer to message `last` was among them."""
    done = False
    for kind, message in split(data):
        if found := refusal(message):
            refusals.append(found)
        done = done or (kind == NLMSG_ERROR and _HEADER.unpack_from(message)[3] == last)
    return done


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, message) of everything that one receive brought."""
    offset = 0
    while offset < len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset : offset + length]
        offset += (length + 3) & ~3


def refusal(message: bytes) -> Refusal | None:
    """What the kernel refused in its answer `message`, or None where it is no error."""
    _, kind, flags, number, _ = _HEADER.unpack_from(message)
    code = _ERROR.unpack_from(message, _HEADER.size)[0] if kind == NLMSG_ERROR else 0
    return Refusal(number, -code, _extack(message, flags)) if code else None


def _extack(message: bytes, flags: int) -> str | None:
    """NLMSGERR_ATTR_MSG. The attributes begin behind the echoed message: its header alone where the kernel capped it."""
    if not flags & NLM_F_ACK_TLVS:
        return None
    start = _HEADER.size + _ERROR.size
    echoed = _HEADER.size if flags & NLM_F_ACK_CAPPED else _HEADER.unpack_from(message, start)[0]
    attributes = message[start + ((echoed + 3) & ~3) :]
    plain = bytearray(message[:start] + attributes)
    plain[0:4] = struct.pack("I", len(plain))
    answer = nlmsgerr(plain)
    answer.decode()
    text = answer.get_attr("NLMSGERR_ATTR_MSG")
    return str(text) if text else None
