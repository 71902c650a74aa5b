"""Socket options that Python's `socket` has no name or no structure for, typed, with the layout that the kernel reads.

Each function takes a socket, as `Node.socket` gives it, and raises OSError as setsockopt(2) and getsockopt(2) do. Addresses
are texts, interfaces are indexes (`if_nameindex` of the socket's own namespace), 0 where the kernel shall choose.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

# include/uapi/linux/in.h, in6.h, tcp.h, udp.h, asm-generic/socket.h
IP_FREEBIND, IP_TRANSPARENT, IP_MTU_DISCOVER, IP_MTU, IP_RECVORIGDSTADDR = 15, 19, 10, 14, 20
IPV6_JOIN_ANYCAST, IPV6_LEAVE_ANYCAST = 27, 28
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_DONTFRAG = 23, 24, 62
IPV6_TRANSPARENT, IPV6_FREEBIND, IPV6_RECVORIGDSTADDR = 75, 78, 74
TCP_MD5SIG, TCP_MD5SIG_EXT = 14, 32
UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX = 101, 102
SO_NO_CHECK = 11

PMTUDISC_DONT, PMTUDISC_WANT, PMTUDISC_DO, PMTUDISC_PROBE = 0, 1, 2, 3
"""What to do about the path MTU (ip(7), IP_MTU_DISCOVER): fragment, fragment to the known one, refuse, ignore it."""

MD5_KEY_MOST = 80  # TCP_MD5SIG_MAXKEYLEN
_MD5_PREFIX, _MD5_IFINDEX = 1, 2  # TCP_MD5SIG_FLAG_PREFIX, TCP_MD5SIG_FLAG_IFINDEX
# struct tcp_md5sig: sockaddr_storage, flags, prefix length, key length, interface index, key
_MD5SIG = struct.Struct(f"=128s B B H i {MD5_KEY_MOST}s")
_MREQ6 = struct.Struct("=16si")  # struct ipv6_mreq


def join_anycast(sock: socket.socket, group: str, index: int = 0) -> None:
    """Makes the host answer for `group` on an interface, for as long as some socket of it does (net/ipv6/anycast.c).

    EPERM without CAP_NET_ADMIN; EINVAL for multicast and for the host's own unicast addresses; EADDRNOTAVAIL on a host for an
    address that is on no link; ENODEV for an interface that does not exist."""
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_JOIN_ANYCAST, _mreq6(group, index))


def leave_anycast(sock: socket.socket, group: str, index: int = 0) -> None:
    """Takes back one `join_anycast` of this very socket; ENOENT where there is none."""
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_LEAVE_ANYCAST, _mreq6(group, index))


def _mreq6(group: str, index: int) -> bytes:
    return _MREQ6.pack(socket.inet_pton(socket.AF_INET6, group), index)


def allow_foreign(sock: socket.socket, on: bool = True) -> None:
    """bind(2) to an address that the host does not have, or not yet (IP_FREEBIND, IPV6_FREEBIND; ip(7))."""
    level, option = (socket.IPPROTO_IPV6, IPV6_FREEBIND) if _is_v6(sock) else (socket.IPPROTO_IP, IP_FREEBIND)
    sock.setsockopt(level, option, int(on))


def transparent(sock: socket.socket, on: bool = True) -> None:
    """Accept what TPROXY hands over, and send with addresses of others (IP_TRANSPARENT, IPV6_TRANSPARENT). EPERM without
    CAP_NET_ADMIN or CAP_NET_RAW. See Documentation/networking/tproxy.rst."""
    level, option = (socket.IPPROTO_IPV6, IPV6_TRANSPARENT) if _is_v6(sock) else (socket.IPPROTO_IP, IP_TRANSPARENT)
    sock.setsockopt(level, option, int(on))


def discover_path_mtu(sock: socket.socket, how: int) -> None:
    """`how` is one of the PMTUDISC numbers above."""
    level, option = (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if _is_v6(sock) else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
    sock.setsockopt(level, option, how)


def path_mtu(sock: socket.socket) -> int:
    """The path MTU, in bytes, that the kernel knows for a connected socket; ENOTCONN for another one."""
    level, option = (socket.IPPROTO_IPV6, IPV6_MTU) if _is_v6(sock) else (socket.IPPROTO_IP, IP_MTU)
    return sock.getsockopt(level, option)


def without_udp_checksum(sock: socket.socket, send: bool = True, receive: bool = True) -> None:
    """Sends UDP with the checksum 0, and takes it. Over IPv4 everybody takes it (RFC 768); over IPv6 only who says so (RFC
    6935)."""
    if _is_v6(sock):
        sock.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, int(send))
        sock.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, int(receive))
    else:
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, int(send))


@dataclass(frozen=True, slots=True)
class Md5Key:
    """A key of TCP's MD5 signatures (RFC 2385) for one peer, or with `prefix` bits for all in it, on one interface only if
    `index` names it (both by TCP_MD5SIG_EXT). An empty key takes one away."""

    peer: str
    key: bytes
    prefix: int | None = None
    index: int = 0
    port: int = 0
    """The kernel does not look at it: a key is the peer's on all of its ports."""

    def packed(self) -> bytes:
        """struct tcp_md5sig of include/uapi/linux/tcp.h. Raises ValueError for a key of more than 80 bytes."""
        if len(self.key) > MD5_KEY_MOST:
            raise ValueError(f"a key has {MD5_KEY_MOST} bytes at most, not {len(self.key)}")
        flags = (_MD5_PREFIX if self.prefix is not None else 0) | (_MD5_IFINDEX if self.index else 0)
        return _MD5SIG.pack(_sockaddr(self.peer, self.port), flags, self.prefix or 0, len(self.key), self.index, self.key)


def sign(sock: socket.socket, key: Md5Key) -> None:
    """Signs and demands signatures of what goes to and comes from the peer; of several keys that of the longest prefix.

    Needs no privilege. On a listening socket it is that of connections to come, which keep their own. EINVAL where the families
    of socket and peer differ (of an IPv6 socket's IPv4 peers the address is ::ffff:10.0.0.1), a prefix is longer than its
    address, or `index` is that of no VRF; ENOENT where there is no key to take away."""
    option = TCP_MD5SIG if key.prefix is None and not key.index else TCP_MD5SIG_EXT
    sock.setsockopt(socket.IPPROTO_TCP, option, key.packed())


def _sockaddr(address: str, port: int) -> bytes:
    """struct sockaddr_in or sockaddr_in6, padded to sockaddr_storage by who packs it."""
    number = socket.htons(port)
    if ":" in address:
        return struct.pack("=HHI16sI", socket.AF_INET6, number, 0, socket.inet_pton(socket.AF_INET6, address), 0)
    return struct.pack("=HH4s8x", socket.AF_INET, number, socket.inet_aton(address))


def _is_v6(sock: socket.socket) -> bool:
    return sock.family == socket.AF_INET6
