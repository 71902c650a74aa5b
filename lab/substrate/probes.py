"""Questions to the kernel that are not asked by netlink: options of sockets, devices, file systems, what /proc and /sys show.

Each is asked in the calling thread's network namespace, which should be a scratch one, and makes nothing that lasts longer
than the question. A probe raises OSError (EPERM, EACCES) where the caller may not ask.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

_TCP_MD5SIG, _TCP_AO_INFO = 14, 40  # include/uapi/linux/tcp.h
_IPPROTO_MPTCP, _IPV6_JOIN_ANYCAST, _IP_TRANSPARENT = 262, 27, 19  # include/uapi/linux/in.h, in6.h
_TUNGETFEATURES = 0x800454CF  # include/uapi/linux/if_tun.h
_LO = 1
# include/uapi/asm-generic/unistd.h: numbers above 424 are the same on every architecture but alpha
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
_TRACE_EVENTS = ("skb", "kfree_skb")
_libc = ctypes.CDLL(None, use_errno=True)


def _refused(family: int, kind: int, level: int, option: int, value: bytes, protocol: int = 0) -> int:
    """The errno with which a new socket refuses an option; 0 where it takes it."""
    try:
        with socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol) as sock:
            sock.setsockopt(level, option, value)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise
        return error.errno or errno.EIO
    return 0


_UNKNOWN = (errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


def tcp_md5() -> bool:
    """A key of no length for an address is well formed: it would remove what is not there (net/ipv4/tcp_ipv4.c)."""
    sockaddr = struct.pack("=H2x4s", socket.AF_INET, socket.inet_aton("192.0.2.1")).ljust(128, b"\0")
    key = sockaddr + struct.pack("=BBHi", 0, 0, 0, 0) + bytes(80)  # struct tcp_md5sig
    return _refused(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, _TCP_MD5SIG, key) not in _UNKNOWN


def tcp_ao() -> bool:
    """An option too short is refused by a kernel that has the option, as invalid (net/ipv4/tcp_ao.c)."""
    return _refused(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, _TCP_AO_INFO, bytes(4)) not in _UNKNOWN


def ipv6() -> bool:
    """Not there where the kernel has none, or was booted with ipv6.disable=1."""
    return _opens(socket.AF_INET6, socket.SOCK_DGRAM, 0)


def anycast() -> bool:
    """A socket asks for an address on lo, which is refused for the address, or as an option that nobody knows."""
    wish = socket.inet_pton(socket.AF_INET6, "2001:db8::") + struct.pack("i", _LO)
    return _refused(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_IPV6, _IPV6_JOIN_ANYCAST, wish) not in _UNKNOWN


def transparent() -> bool:
    """IP_TRANSPARENT, by which a socket takes what TPROXY hands it."""
    one = struct.pack("i", 1)
    return _refused(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_IP, _IP_TRANSPARENT, one) not in _UNKNOWN


def mptcp() -> bool:
    return _opens(socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_MPTCP)


def _opens(family: int, kind: int, protocol: int) -> bool:
    try:
        socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol).close()
    except OSError as error:
        if error.errno in _UNKNOWN:
            return False
        raise
    return True


def tun(device: Path = Path("/dev/net/tun")) -> bool:
    """Asks the device for its features: opening it makes the kernel load its module, and makes no interface."""
    try:
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            return False
        raise
    with contextlib.closing(os.fdopen(fd, "rb", buffering=0)):
        return bool(struct.unpack("I", fcntl.ioctl(fd, _TUNGETFEATURES, bytes(4)))[0])


def _syscall(number: int, *arguments: ctypes.c_long | ctypes.c_char_p | None) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _open_file_system(kind: str) -> int:
    return _syscall(_FSOPEN, ctypes.c_char_p(kind.encode()), ctypes.c_long(_FSOPEN_CLOEXEC))


def file_system(kind: str) -> bool:
    """Opens a context for one, which is never mounted (fsopen(2)); ENODEV: the kernel does not know it."""
    try:
        os.close(_open_file_system(kind))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise
    return True


def drop_reasons() -> bool:
    """Whether the event skb:kfree_skb tells the reason of a drop: read in a tracefs that is mounted nowhere."""
    if not file_system("tracefs"):
        return False
    context = _open_file_system("tracefs")
    try:
        none = ctypes.c_char_p(None)
        zero = ctypes.c_long(0)
        _syscall(_FSCONFIG, ctypes.c_long(context), ctypes.c_long(_FSCONFIG_CMD_CREATE), none, none, zero)
        tree = _syscall(_FSMOUNT, ctypes.c_long(context), ctypes.c_long(_FSMOUNT_CLOEXEC), zero)
    finally:
        os.close(context)
    try:
        return _has_reason(tree)
    finally:
        os.close(tree)


def _has_reason(tree: int) -> bool:
    path = "/".join(("events", *_TRACE_EVENTS, "format"))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=tree)
    except FileNotFoundError:
        return False
    with os.fdopen(fd) as file:
        return "reason" in file.read()


def shown(path: str) -> bool:
    """Whether /proc or /sys has it, as this namespace sees them."""
    return Path(path).exists()
