"""Whether the kernel logs martians: log_martians is there in every kernel, and does nothing without CONFIG_IP_ROUTE_VERBOSE.

Found by sending one over lo of the calling thread's namespace, which should be a scratch one: a packet from a multicast
address, which no setting lets pass (net/ipv4/route.c, ip_route_input_slow). It leaves a line in the kernel's log.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import time
from pathlib import Path

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # include/uapi/linux/sockios.h, if.h
_ETH_P_IP, _UDP = 0x0800, 17
_LOG_MARTIANS = Path("/proc/sys/net/ipv4/conf/lo/log_martians")
_WITHIN, _AGAIN = (
    5.5,
    0.25,
)  # seconds: the kernel writes ten such lines in five seconds, whosever they are (net.core.message_cost)
_RECORD = 8192  # bytes
_known: list[bool] = []
"""What was found of this kernel, which does not change in that: that they are not logged takes seconds to find."""


def logged() -> bool:
    """Takes a fraction of a second where they are. Who cannot read the log cannot know: true, and reading it says why not."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # not permitted; or a container, which has no such device
        return True
    try:
        os.lseek(log, 0, os.SEEK_END)
        if not _known:
            _known.append(_found(log))
        return _known[0]
    finally:
        os.close(log)


def _found(log: int) -> bool:
    source, deadline = bytes([239, *os.urandom(3)]), time.monotonic() + _WITHIN
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
        _LOG_MARTIANS.write_text("1")
        while time.monotonic() < deadline:
            sock.sendto(_packet(source), ("lo", _ETH_P_IP, 0, 0, bytes(6)))
            if _says(log, f"from {socket.inet_ntoa(source)}, on dev lo".encode(), time.monotonic() + _AGAIN):
                return True
    return False


def _says(log: int, words: bytes, until: float) -> bool:
    while (left := until - time.monotonic()) > 0:
        select.select([log], [], [], left)
        try:
            if words in os.read(log, _RECORD):
                return True
        except (BlockingIOError, BrokenPipeError):  # nothing new, or what was next has been overwritten
            continue
    return False


def _packet(source: bytes) -> bytes:
    """An IPv4 header and no more (RFC 791)."""
    fields = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20, 0, 0, 64, _UDP, 0, source, socket.inet_aton("127.0.0.1"))
    total = sum(struct.unpack("!10H", fields))
    total = (total & 0xFFFF) + (total >> 16)
    return fields[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + fields[12:]
