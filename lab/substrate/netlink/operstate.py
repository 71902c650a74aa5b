"""The operational state of a namespace's devices (RFC 2863), and nothing else of them: a whole link costs ten times as much.

IFF_RUNNING will not do: it is set while the state is still unknown, when a new device drops what it should send because its
queueing discipline waits for the news of its carrier (net/core/link_watch.c, linkwatch_do_dev)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, nlmsg
from pyroute2.netlink.rtnl import RTM_GETLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from lab.substrate.netlink import batch
from lab.substrate.netlink.messages import encoded

# include/uapi/linux/if.h
NAMES = ("unknown", "not present", "down", "down at a lower layer", "under test", "dormant", "up")
UP = NAMES.index("up")
_SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_RECEIVE = 1 << 17


class _State(nlmsg):  # type: ignore[misc] # pyroute2 has no types
    """ifinfmsg with two of its attributes."""

    prefix = "IFLA_"
    fields = ifinfmsg.fields
    nla_map = ((3, "IFLA_IFNAME", "asciiz"), (16, "IFLA_OPERSTATE", "uint8"))


def read() -> dict[str, int]:
    """Name -> IF_OPER_… of every device of the calling thread's namespace."""
    with batch.open_socket() as sock:
        sock.send(encoded(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, ifinfmsg(), {}, [("IFLA_EXT_MASK", _SKIP_STATS)]))
        return {state.get_attr("IFLA_IFNAME"): state.get_attr("IFLA_OPERSTATE") for state in _dumped(sock)}


def _dumped(sock: socket.socket) -> Iterator[nlmsg]:
    while True:
        for kind, message in batch.split(sock.recv(_RECEIVE)):
            if kind == NLMSG_DONE:
                return
            state = _State(message)
            state.decode()
            yield state
