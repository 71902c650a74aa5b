"""Where a namespace sends to an address, as the kernel itself decides it (RTM_GETROUTE)."""

from __future__ import annotations

import socket
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError

from lab.substrate import namespaces
from lab.substrate.netlink.dump import open_iproute


def way(ns: Path, address: str) -> str | None:
    """The device; None where no route leads there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with open_iproute(ns) as ipr:
        try:
            answer, *_ = ipr.route("get", dst=address, family=family)
        except NetlinkError:
            return None
    index = answer.get_attr("RTA_OIF")
    return namespaces.inside(ns, socket.if_indextoname, index) if index else None
