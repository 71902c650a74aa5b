"""A preferred source address for the sockets of one network namespace, by BPF.

    with preferred.sources(preferred.netns_cookie(node.socket()), v4="10.0.0.1", v6="2001:db8::1"):
        ...     # sockets of that node that were bound to nothing get these addresses when they connect or send

The programs hang at the root of the control groups, where every socket of the machine passes by. They tell those of one
namespace by its cookie, and let all others go on as they are. They are gone with the block, or with the process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path

from lab.substrate import bpf
from lab.substrate.bpf import R0, R1, R2, R3, R6, R10, add, call, copy, instruction, loaded, set_to

_MOUNTS = Path("/proc/self/mounts")
_BIND, _GET_NETNS_COOKIE = 64, 122  # helpers (include/uapi/linux/bpf.h)
SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h


class Hook(IntEnum):
    """Where a program is asked: enum bpf_attach_type."""

    CONNECT4 = 10
    CONNECT6 = 11
    UDP4_SENDMSG = 14
    UDP6_SENDMSG = 15


def _store_value(to: int, offset: int, four: bytes) -> bytes:
    return instruction(0x62, to, offset=offset, value=struct.unpack("=i", four)[0])


def _big(to: int, value: int) -> list[bytes]:
    """64 bits, in two instructions."""
    low, high = struct.unpack("=ii", struct.pack("=Q", value))
    return [instruction(0x18, to, value=low), instruction(0, value=high)]


class _Jump:
    """To the end, where the program is left, if the register's lower half has this value, or all of it that of another;
    or has not (`equal` false)."""

    def __init__(self, register: int, value: int = 0, *, other: int | None = None, equal: bool) -> None:
        self._register, self._value, self._other, self._equal = register, value, other, equal

    def over(self, instructions: int) -> bytes:
        if self._other is not None:
            return instruction(0x1D if self._equal else 0x5D, self._register, self._other, instructions)
        return instruction(0x16 if self._equal else 0x56, self._register, offset=instructions, value=self._value)


def _assembled(parts: Sequence[bytes | _Jump]) -> list[bytes]:
    """With the end, which lets the call go on (1)."""
    whole = [each if isinstance(each, bytes) else each.over(len(parts) - at - 1) for at, each in enumerate(parts)]
    return [*whole, set_to(R0, 1), bpf.EXIT]


# -- a preferred source address

# struct bpf_sock_addr: what a program is called with
_USER_IP6, _SOURCE4, _SOURCE6, _SOCKET = 8, 40, 44, 64
# struct bpf_sock: what the socket is bound to
_BOUND4, _BOUND6 = 24, 28
_MAPPED = struct.unpack("=i", bytes.fromhex("0000ffff"))[0]
"""The third word of an IPv4-mapped address, after two of zeros."""


def _of_namespace(cookie: int) -> list[bytes | _Jump]:
    """Leaves where the socket is of another network namespace; R6 keeps what the program is called with."""
    return [
        copy(R6, R1),
        call(_GET_NETNS_COOKIE),
        *_big(R1, cookie),
        _Jump(R0, other=R1, equal=False),
    ]


def _unbound(base: int, offsets: Sequence[int]) -> list[bytes | _Jump]:
    """Leaves where an address stands already in the words at `base`."""
    return [part for offset in offsets for part in (loaded(R1, base, offset, 4), _Jump(R1, equal=False))]


def _genuine() -> list[bytes | _Jump]:
    """Leaves where the destination is an IPv4-mapped one."""
    return [loaded(R1, R6, _USER_IP6 + 8, 4), _Jump(R1, _MAPPED, equal=True)]


def _words(address: bytes) -> list[bytes]:
    return [address[at : at + 4] for at in range(0, len(address), 4)]


def _binding(name: bytes) -> list[bytes]:
    """bpf_bind(context, sockaddr, length), the sockaddr put together on the stack."""
    size = (len(name) + 7) // 8 * 8
    stores = [_store_value(R10, at * 4 - size, word) for at, word in enumerate(_words(name.ljust(size, b"\0")))]
    return [*stores, copy(R1, R6), copy(R2, R10), add(R2, -size), set_to(R3, len(name)), call(_BIND)]


def connecting(cookie: int, address: str) -> list[bytes]:
    """For CONNECT4 or CONNECT6: who connects unbound is bound to `address`, whatever the device."""
    if ":" in address:
        name = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, address), 0)
        words = [_BOUND6 + at for at in range(0, 16, 4)]
        checks = [*_genuine(), loaded(R2, R6, _SOCKET, 8), *_unbound(R2, words)]
    else:
        name = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
        checks = [loaded(R2, R6, _SOCKET, 8), *_unbound(R2, [_BOUND4])]
    return _assembled([*_of_namespace(cookie), *checks, *_binding(name)])


def sending(cookie: int, address: str) -> list[bytes]:
    """For UDP4_SENDMSG or UDP6_SENDMSG: a datagram of a socket that is neither bound nor connected comes from `address`."""
    version6 = ":" in address
    packed = socket.inet_pton(socket.AF_INET6 if version6 else socket.AF_INET, address)
    words = [_SOURCE6 + at for at in range(0, 16, 4)] if version6 else [_SOURCE4]
    stores = [
        part
        for offset, word in zip(words, _words(packed), strict=True)
        for part in (instruction(0xB4, R1, value=struct.unpack("=i", word)[0]), bpf.stored(R6, offset, R1, 4))
    ]
    return _assembled([*_of_namespace(cookie), *(_genuine() if version6 else []), *_unbound(R6, words), *stores])


def netns_cookie(sock: socket.socket) -> int:
    """Of the network namespace that the socket belongs to: never 0, and no other's while the machine runs. Raises OSError
    (ENOPROTOOPT before Linux 5.14)."""
    cookie: int = struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]
    return cookie


def control_groups() -> Path:
    """The root of those of version 2, which may stand beside others of version 1. Raises FileNotFoundError."""
    for line in _MOUNTS.read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise FileNotFoundError(errno.ENOENT, "no control groups of version 2 are mounted", str(_MOUNTS))


@contextlib.contextmanager
def sources(cookie: int, v4: str = "", v6: str = "") -> Iterator[None]:
    """In the block the sockets of the namespace with this cookie that are bound to nothing get these addresses. Raises OSError
    where the kernel or the caller's privileges do not allow it, or control groups of version 2 are mounted nowhere."""
    with contextlib.ExitStack() as undo:
        root = _kept(undo, os.open(control_groups(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for hook, code in _programs(cookie, v4, v6).items():
            program = _kept(undo, bpf.load(code, bpf.CGROUP_SOCK_ADDR, hook))
            _kept(undo, bpf.attach_to_cgroup(root, program, hook))
        yield


def _programs(cookie: int, v4: str, v6: str) -> Mapping[Hook, list[bytes]]:
    found: dict[Hook, list[bytes]] = {}
    if v4:
        found |= {Hook.CONNECT4: connecting(cookie, v4), Hook.UDP4_SENDMSG: sending(cookie, v4)}
    if v6:
        found |= {Hook.CONNECT6: connecting(cookie, v6), Hook.UDP6_SENDMSG: sending(cookie, v6)}
    return found


def _kept(undo: contextlib.ExitStack, fd: int) -> int:
    undo.callback(os.close, fd)
    return fd
