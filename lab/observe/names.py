"""Asking a name server for addresses (RFC 1035, RFC 3596) by a socket of a node: neither the host's resolver nor its files know
the names of a lab."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator

A, AAAA = 1, 28
_PORT, _IN = 53, 1
_RECURSION, _RESPONSE, _TRUNCATED, _CODE = 0x0100, 0x8000, 0x0200, 0x000F
_HEADER = struct.Struct("!HHHHHH")  # id, flags, questions, answers, authorities, additional
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")  # type, class, time to live, length
_POINTER = 0xC0
_FAMILY = {A: socket.AF_INET, AAAA: socket.AF_INET6}
_MOST = 4096
_NO_ERROR, _NO_SUCH_NAME = 0, 3


class NameServerError(OSError):
    """The server answered with an error, or with what is no answer."""


def resolve(
    make: Callable[[int, int], socket.socket], server: str, name: str, kinds: tuple[int, ...] = (AAAA, A), within: float = 5.0
) -> list[str]:
    """The addresses of `name` in full, by default those of IPv6 first; none where there is no such name.

    `make` is such as `Node.socket`. Raises TimeoutError, OSError where the server cannot be reached, NameServerError."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with make(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(within)
        sock.connect((server, _PORT))
        return [address for kind in kinds for address in _ask(sock, name, kind)]


def _ask(sock: socket.socket, name: str, kind: int) -> list[str]:
    number = int.from_bytes(os.urandom(2), "big")
    sock.send(query(number, name, kind))
    while (answer := sock.recv(_MOST))[:2] != number.to_bytes(2, "big"):
        pass  # of a question that was given up
    return list(addresses(answer, kind))


def query(number: int, name: str, kind: int) -> bytes:
    """One question of class IN. Raises ValueError for what cannot be a name."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"{name!r} cannot be a name: each label has 1 to 63 letters")
    words = b"".join(bytes([len(label)]) + label for label in labels)
    return _HEADER.pack(number, _RECURSION, 1, 0, 0, 0) + words + b"\0" + _QUESTION.pack(kind, _IN)


def addresses(message: bytes, kind: int) -> Iterator[str]:
    """Those of one kind in an answer, in its order. Raises NameServerError."""
    try:
        _, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
        if not flags & _RESPONSE or flags & _TRUNCATED or flags & _CODE not in (_NO_ERROR, _NO_SUCH_NAME):
            raise NameServerError(f"the name server answered with flags {flags:#06x}")
        at = _HEADER.size
        for _ in range(questions):
            at = _after_name(message, at) + _QUESTION.size
        for _ in range(answers):
            at = _after_name(message, at)
            found, _, _, length = _RECORD.unpack_from(message, at)
            at += _RECORD.size + length
            if found == kind:
                yield socket.inet_ntop(_FAMILY[kind], message[at - length : at])
    except (struct.error, IndexError, ValueError) as error:
        raise NameServerError("the name server's answer is cut off or malformed") from error


def _after_name(message: bytes, at: int) -> int:
    """A name is labels up to an empty one, or up to a pointer to the rest of it (RFC 1035, 4.1.4)."""
    while (length := message[at]) and length < _POINTER:
        at += length + 1
    return at + (2 if length else 1)
