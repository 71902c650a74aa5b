"""BPF programs for the sockets of one network namespace, made of instructions and loaded by bpf(2); no compiler, no library.

    with bpf.preferred_sources(bpf.netns_cookie(node.socket()), v4="10.0.0.1", v6="2001:db8::1"):
        ...     # sockets of that node that were bound to nothing get these addresses when they connect or send

The programs hang at the root of the control groups, where every socket of the machine passes by. They tell those of one
namespace by its cookie, and let all others go on as they are. They are gone with the block, or with the process.

A program is a list of instructions, 8 bytes each (`struct bpf_insn` of include/uapi/linux/bpf.h): what is there beside the
few that are needed here is in Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
_LOG_SIZE = 1 << 16
_LICENSE = b"Dual MIT/GPL\0"

# include/uapi/linux/bpf.h
_PROG_LOAD, _LINK_CREATE = 5, 28
_TYPE_CGROUP_SOCK_ADDR = 18
_BIND, _GET_NETNS_COOKIE = 64, 122  # helpers
SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h
_NUMBERS = {"x86_64": 321, "i686": 357, "armv7l": 386, "ppc64le": 361, "s390x": 351}
_NUMBER = _NUMBERS.get(platform.machine(), 280)
"""Of bpf(2); architectures that came later share one table (include/uapi/asm-generic/unistd.h)."""

_libc = ctypes.CDLL(None, use_errno=True)


class Hook(IntEnum):
    """Where a program is asked: enum bpf_attach_type."""

    CONNECT4 = 10
    CONNECT6 = 11
    UDP4_SENDMSG = 14
    UDP6_SENDMSG = 15


# -- the two calls


def load(instructions: Sequence[bytes], hook: Hook) -> int:
    """A descriptor of the program. Raises OSError: EPERM without CAP_BPF and CAP_NET_ADMIN; EINVAL or EACCES with what the
    kernel's verifier says of the program."""
    code, log = b"".join(instructions), ctypes.create_string_buffer(_LOG_SIZE)
    held = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(_LICENSE)
    code_at, license_at = (ctypes.addressof(each) for each in held)
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        _TYPE_CGROUP_SOCK_ADDR,
        len(instructions),
        code_at,
        license_at,
        1,  # how much the verifier says
        _LOG_SIZE,
        ctypes.addressof(log),
        0,
        0,
        b"lab",
        0,
        hook,
    )
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError as error:
        said = log.value.decode(errors="replace").strip()
        raise OSError(error.errno, f"{error.strerror}{said and ': '}{said}") from None


def attach(program: int, hook: Hook, cgroup: int) -> int:
    """A descriptor of the link: the program is asked until this is closed. Raises OSError."""
    return _bpf(_LINK_CREATE, struct.pack("=IIII", program, cgroup, hook, 0))


def _bpf(command: int, attributes: bytes) -> int:
    held = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = _libc.syscall(ctypes.c_long(_NUMBER), ctypes.c_long(command), held, ctypes.c_ulong(len(attributes)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


# -- instructions

R0, R1, R2, R3, R6, R10 = 0, 1, 2, 3, 6, 10
"""R1 is what a program is called with, R0 what it returns, R6 outlives the call of a helper, R10 is the end of its stack."""


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | to, offset, value)


def _put(to: int, value: int) -> bytes:
    return _instruction(0xB7, to, value=value)


def _copy(to: int, source: int) -> bytes:
    return _instruction(0xBF, to, source)


def _add(to: int, value: int) -> bytes:
    return _instruction(0x07, to, value=value)


def _load32(to: int, source: int, offset: int) -> bytes:
    return _instruction(0x61, to, source, offset)


def _load64(to: int, source: int, offset: int) -> bytes:
    return _instruction(0x79, to, source, offset)


def _store32(to: int, offset: int, source: int) -> bytes:
    return _instruction(0x63, to, source, offset)


def _store_value(to: int, offset: int, four: bytes) -> bytes:
    return _instruction(0x62, to, offset=offset, value=struct.unpack("=i", four)[0])


def _call(helper: int) -> bytes:
    return _instruction(0x85, value=helper)


_EXIT = _instruction(0x95)


def _big(to: int, value: int) -> list[bytes]:
    """64 bits, in two instructions."""
    low, high = struct.unpack("=ii", struct.pack("=Q", value))
    return [_instruction(0x18, to, value=low), _instruction(0, value=high)]


class _Jump:
    """To the end, where the program is left, if the register's lower half has this value, or all of it that of another;
    or has not (`equal` false)."""

    def __init__(self, register: int, value: int = 0, *, other: int | None = None, equal: bool) -> None:
        self._register, self._value, self._other, self._equal = register, value, other, equal

    def over(self, instructions: int) -> bytes:
        if self._other is not None:
            return _instruction(0x1D if self._equal else 0x5D, self._register, self._other, instructions)
        return _instruction(0x16 if self._equal else 0x56, self._register, offset=instructions, value=self._value)


def _assembled(parts: Sequence[bytes | _Jump]) -> list[bytes]:
    """With the end, which lets the call go on (1)."""
    whole = [each if isinstance(each, bytes) else each.over(len(parts) - at - 1) for at, each in enumerate(parts)]
    return [*whole, _put(R0, 1), _EXIT]


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
        _copy(R6, R1),
        _call(_GET_NETNS_COOKIE),
        *_big(R1, cookie),
        _Jump(R0, other=R1, equal=False),
    ]


def _unbound(base: int, offsets: Sequence[int]) -> list[bytes | _Jump]:
    """Leaves where an address stands already in the words at `base`."""
    return [part for offset in offsets for part in (_load32(R1, base, offset), _Jump(R1, equal=False))]


def _genuine() -> list[bytes | _Jump]:
    """Leaves where the destination is an IPv4-mapped one."""
    return [_load32(R1, R6, _USER_IP6 + 8), _Jump(R1, _MAPPED, equal=True)]


def _words(address: bytes) -> list[bytes]:
    return [address[at : at + 4] for at in range(0, len(address), 4)]


def _binding(name: bytes) -> list[bytes]:
    """bpf_bind(context, sockaddr, length), the sockaddr put together on the stack."""
    size = (len(name) + 7) // 8 * 8
    stores = [_store_value(R10, at * 4 - size, word) for at, word in enumerate(_words(name.ljust(size, b"\0")))]
    return [*stores, _copy(R1, R6), _copy(R2, R10), _add(R2, -size), _put(R3, len(name)), _call(_BIND)]


def connecting(cookie: int, address: str) -> list[bytes]:
    """For CONNECT4 or CONNECT6: who connects unbound is bound to `address`, whatever the device."""
    if ":" in address:
        name = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, address), 0)
        words = [_BOUND6 + at for at in range(0, 16, 4)]
        checks = [*_genuine(), _load64(R2, R6, _SOCKET), *_unbound(R2, words)]
    else:
        name = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
        checks = [_load64(R2, R6, _SOCKET), *_unbound(R2, [_BOUND4])]
    return _assembled([*_of_namespace(cookie), *checks, *_binding(name)])


def sending(cookie: int, address: str) -> list[bytes]:
    """For UDP4_SENDMSG or UDP6_SENDMSG: a datagram of a socket that is neither bound nor connected comes from `address`."""
    version6 = ":" in address
    packed = socket.inet_pton(socket.AF_INET6 if version6 else socket.AF_INET, address)
    words = [_SOURCE6 + at for at in range(0, 16, 4)] if version6 else [_SOURCE4]
    stores = [
        part
        for offset, word in zip(words, _words(packed), strict=True)
        for part in (_instruction(0xB4, R1, value=struct.unpack("=i", word)[0]), _store32(R6, offset, R1))
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
def preferred_sources(cookie: int, v4: str = "", v6: str = "") -> Iterator[None]:
    """In the block the sockets of the namespace with this cookie that are bound to nothing get these addresses. Raises OSError
    where the kernel or the caller's privileges do not allow it, or control groups of version 2 are mounted nowhere."""
    with contextlib.ExitStack() as undo:
        root = _kept(undo, os.open(control_groups(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for hook, code in _programs(cookie, v4, v6).items():
            program = _kept(undo, load(code, hook))
            _kept(undo, attach(program, hook, root))
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
