"""The kernel's notifications of one namespace, as a wake-up: what changed is read afresh, so a lost one costs nothing."""

from __future__ import annotations

import contextlib
import socket

from pyroute2.netlink.rtnl import (
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMGRP_NEIGH,
)

LINK = RTMGRP_LINK
ADDRESS = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
ROUTE = RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
NEIGHBOUR = RTMGRP_NEIGH


def subscribe(groups: int) -> socket.socket:
    """A socket of the calling thread's namespace that becomes readable when something in `groups` changes."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    sock.bind((0, groups))
    return sock


def drain(sock: socket.socket) -> None:
    """Forgets what has come so far. ENOBUFS says that some were lost: all the more reason to look again."""
    with contextlib.suppress(BlockingIOError):
        while True:
            with contextlib.suppress(OSError):
                sock.recv(1 << 16)
                continue
            sock.recv(1 << 16)
