"""Sockets of the calling thread's namespace: where they listen, and for whom they have keys (TCP_MD5SIG).

Keys are told by sock_diag(7) alone, and only to who may configure the network there; their peers are, their bytes are not
passed on.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SOCK_DIAG, _BY_FAMILY, _DONE, _ERROR, _DUMP = 4, 20, 3, 2, 0x301  # include/uapi/linux/netlink.h, sock_diag.h
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2: family, protocol, extensions, states, any socket
_MESSAGE_BYTES, _MD5SIG = 72, 18  # of struct inet_diag_msg; INET_DIAG_MD5SIG
_KEY = struct.Struct("=BBH16s80s")  # struct tcp_diag_md5sig
_ALL_STATES, _INFO = 0xFFFFFFFF, 1 << 1  # 1 << (INET_DIAG_INFO - 1), without which keys are not told either
_LISTENING = {"TCP": "0A", "UDP": "07"}  # include/net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a socket with the local port `port`, for all in the prefix `peer`."""

    port: int
    peer: str

    def __str__(self) -> str:
        return f"a key for {self.peer} (port {self.port})"


def keys() -> list[Key]:
    """Each once, by port and peer. Raises OSError where the kernel has no sock_diag for TCP."""
    found = {key for family in (socket.AF_INET, socket.AF_INET6) for key in _keys(family)}
    return sorted(found, key=lambda key: (key.port, key.peer))


def _keys(family: int) -> Iterator[Key]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as sock:
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, _INFO, _ALL_STATES)
        sock.send(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _DUMP, 1, 0) + body)
        while True:
            data = sock.recv(1 << 17)
            for kind, message in _messages(data):
                if kind in (_DONE, _ERROR):
                    return
                yield from _of(message)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _of(message: bytes) -> Iterator[Key]:
    port = int.from_bytes(message[4:6])
    at = _MESSAGE_BYTES
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _MD5SIG:
            for begin in range(at + 4, at + length, _KEY.size):
                family, bits, _, address, _ = _KEY.unpack_from(message, begin)
                peer = ipaddress.ip_address(address if family == socket.AF_INET6 else address[:4])
                yield Key(port, f"{peer}/{bits}")
        at += max((length + 3) & ~3, 4)


def listening(protocol: str) -> list[str]:
    """Of TCP or UDP, as `10.0.0.1:80` and `[::]:80`."""
    found: dict[str, None] = {}
    for table in (protocol.lower(), f"{protocol.lower()}6"):
        for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == _LISTENING[protocol]:
                found[_told(local)] = None
    return list(found)


def _told(local: str) -> str:
    """`0100007F:0050`: words in the machine's own order."""
    address, _, port = local.partition(":")
    words = bytes.fromhex(address)
    packed = b"".join(struct.pack(">I", *struct.unpack_from("=I", words, at)) for at in range(0, len(words), 4))
    found = ipaddress.ip_address(packed)
    return f"[{found}]:{int(port, 16)}" if found.version == 6 else f"{found}:{int(port, 16)}"
