"""Questions to the kernel of the calling thread's namespace, which should be a scratch one: some answers need a device made."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from pyroute2.netlink.rtnl import RTM_NEWLINK, RTM_NEWQDISC, RTM_SETLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from lab.model.file import Netem, PortVlan
from lab.substrate.netlink import batch, kinds
from lab.substrate.netlink.messages import CREATE, EXCL, REQUEST, encoded

_LO = 1
_NEW = REQUEST | CREATE | EXCL
_NETLINK_NETFILTER, _NETLINK_GENERIC = 12, 16  # include/uapi/linux/netlink.h
_NFNL_SUBSYS_NFTABLES, _NFT_MSG_GETGEN = 10, 16  # include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME = 16, 3, 2  # include/uapi/linux/genetlink.h


def _ask(message: bytes) -> int:
    """0 or the kernel's errno."""
    with batch.open_socket() as sock:
        refusals = batch.send(sock, [message])
    return refusals[0].code if refusals else 0


def link_kind(kind: str) -> int:
    """EOPNOTSUPP: no such kind; anything else, as a rule EINVAL: it is there. Makes nothing."""
    attributes = [("IFLA_IFNAME", "probe"), ("IFLA_NUM_TX_QUEUES", 0), ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind)]})]
    return _ask(encoded(RTM_NEWLINK, _NEW, ifinfmsg(), {}, attributes))


def bridge_vlan_filtering() -> bool:
    """Whether a bridge's port takes a VLAN: without CONFIG_BRIDGE_VLAN_FILTERING the kernel ignores the bridge's attribute."""
    info: dict[str, Any] = {"attrs": [("IFLA_INFO_KIND", "bridge")]}
    made = _ask(encoded(RTM_NEWLINK, _NEW, ifinfmsg(), {"index": 2}, [("IFLA_IFNAME", "probebr"), ("IFLA_LINKINFO", info)]))
    vlans = kinds.port_vlans(PortVlan(access=7))
    vlans["attrs"].insert(0, ("IFLA_BRIDGE_FLAGS", 2))  # BRIDGE_FLAGS_SELF: of the bridge device itself
    fields = {"family": socket.AF_BRIDGE, "index": 2}
    return made == 0 and _ask(encoded(RTM_SETLINK, REQUEST, ifinfmsg(), fields, [("IFLA_AF_SPEC", vlans)])) == 0


def qdisc(kind: str) -> bool:
    """Whether lo takes it; ENOENT says that the kernel does not know it (net/sched/sch_api.c, qdisc_create)."""
    name, options = kinds.impairment(Netem(rate="1mbit"), kind == "tbf")  # type: ignore[arg-type] # parsed by the model
    fields = {"family": socket.AF_UNSPEC, "index": _LO, "handle": 1 << 16, "parent": 0xFFFFFFFF}
    attributes = [("TCA_KIND", name), ("TCA_OPTIONS", options)]
    return _ask(encoded(RTM_NEWQDISC, REQUEST | CREATE, tcmsg(), fields, attributes)) not in (errno.ENOENT, errno.EOPNOTSUPP)


def nf_tables() -> bool:
    """Asks nftables for the number of its rule set; a kernel without it refuses the subsystem (net/netfilter/nfnetlink.c)."""
    kind, header = (_NFNL_SUBSYS_NFTABLES << 8) | _NFT_MSG_GETGEN, struct.pack("BBH", socket.AF_UNSPEC, 0, 0)
    try:
        return _answers(_NETLINK_NETFILTER, kind, header)
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return False
        raise


def generic_family(name: str) -> bool:
    """Whether generic netlink has a family of that name; asking makes the kernel load it (net/netlink/genetlink.c)."""
    attribute = name.encode() + b"\0"
    length = 4 + len(attribute)
    asked = struct.pack("BBHHH", _CTRL_CMD_GETFAMILY, 1, 0, length, _CTRL_ATTR_FAMILY_NAME) + attribute
    return _answers(_NETLINK_GENERIC, _GENL_ID_CTRL, asked.ljust((len(asked) + 3) & ~3, b"\0"))


def _answers(protocol: int, kind: int, payload: bytes) -> bool:
    """Whether the kernel answers with anything but an error; raises OSError where it says that the caller may not ask."""
    with batch.open_socket(protocol) as sock:
        sock.send(struct.pack("IHHII", 16 + len(payload), kind, REQUEST, 1, 0) + payload)
        _, first = next(batch.split(sock.recv(1 << 16)))
    refusal = batch.refusal(first)
    if refusal and refusal.code in (errno.EPERM, errno.EACCES):
        raise OSError(refusal.code, str(refusal))
    return refusal is None
