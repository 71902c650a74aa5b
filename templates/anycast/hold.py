"""Holds an anycast group: hold.py GROUP INTERFACE [PIDFILE]. With a pidfile it joins when its process lives, and leaves when
that ends, which it is told at once (pidfd_open(2))."""

import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

IPV6_JOIN_ANYCAST = 27  # include/uapi/linux/in6.h
LOOK_AGAIN = 0.05  # seconds, for a server to come back


def joined(group: str, interface: str) -> socket.socket:
    """A socket that is a member; closing it leaves."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    mreq = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, group), socket.if_nametoindex(interface))
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_JOIN_ANYCAST, mreq)
    print(f"joined {group} on {interface}")
    return sock


def pidfd(file: Path) -> int:
    """Of the living process that the file names; looks until there is one."""
    while True:
        with suppress(OSError, ValueError):
            return os.pidfd_open(int(file.read_text()))
        time.sleep(LOOK_AGAIN)


def main(group: str, interface: str, pidfile: str = "") -> None:
    while pidfile:
        alive = pidfd(Path(pidfile))
        with joined(group, interface):
            select.select([alive], [], [])
        print(f"left {group} on {interface}")
        os.close(alive)
    with joined(group, interface):
        signal.pause()


main(*sys.argv[1:])
