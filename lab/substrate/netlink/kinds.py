"""What differs from one kind of device to the next: the attributes below IFLA_INFO_DATA, a port's VLANs, a qdisc's options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyroute2.netlink.rtnl.tcmsg import sched_netem, sched_tbf

from lab.model.file import Bond, Bridge, InterfaceBody, Macvlan, Netem, PortVlan, Vlan, Vrf, Vxlan

Data = dict[str, Any]
_PROTOCOLS = {"802.1Q": 0x8100, "802.1ad": 0x88A8}
_BOND_MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
USER_HZ = 100  # bridge times are in clock_t (net/bridge/br_netlink.c)
BRIDGE_VLAN_PVID, BRIDGE_VLAN_UNTAGGED = 2, 4  # include/uapi/linux/if_bridge.h


def data_of(spec: InterfaceBody, parent: int | None) -> Data | None:
    """The kind's own attributes; `parent` is the ifindex of what the device stands on. None where the kind has none."""
    make = _MAKERS.get(type(spec))
    return {"attrs": make(spec, parent)} if make else None


def _vlan(spec: Vlan, parent: int | None) -> list[Any]:
    attributes: list[Any] = [("IFLA_VLAN_ID", spec.id), ("IFLA_VLAN_PROTOCOL", _PROTOCOLS[spec.protocol])]
    for name, given in (("EGRESS", spec.egress_qos), ("INGRESS", spec.ingress_qos)):
        mappings = [("IFLA_VLAN_QOS_MAPPING", {"from": int(one), "to": to}) for one, to in given.items()]
        attributes += [(f"IFLA_VLAN_{name}_QOS", {"attrs": mappings})] if mappings else []
    return attributes


def _bridge(spec: Bridge, parent: int | None) -> list[Any]:
    return [
        ("IFLA_BR_FORWARD_DELAY", round(spec.forward_delay * USER_HZ)),
        ("IFLA_BR_STP_STATE", int(spec.stp)),
        ("IFLA_BR_AGEING_TIME", round(spec.ageing * USER_HZ)),
        ("IFLA_BR_MCAST_SNOOPING", int(spec.mcast_snooping)),
        *([("IFLA_BR_VLAN_FILTERING", 1)] if spec.vlan_filtering else []),
        *([("IFLA_BR_VLAN_PROTOCOL", _PROTOCOLS[spec.vlan_protocol])] if spec.vlan_protocol != "802.1Q" else []),
    ]


def _bond(spec: Bond, parent: int | None) -> list[Any]:
    attributes: list[Any] = [("IFLA_BOND_MODE", _BOND_MODES.index(spec.mode)), ("IFLA_BOND_MIIMON", spec.miimon)]
    return attributes + ([] if spec.num_grat_arp is None else [("IFLA_BOND_NUM_PEER_NOTIF", spec.num_grat_arp)])


def _vxlan(spec: Vxlan, parent: int | None) -> list[Any]:
    attributes: list[Any] = [("IFLA_VXLAN_ID", spec.id), ("IFLA_VXLAN_PORT", spec.port)]
    attributes += [("IFLA_VXLAN_LEARNING", int(spec.learning))]
    attributes += [("IFLA_VXLAN_LINK", parent)] if parent else []
    for name, address in (("LOCAL", spec.local), ("GROUP", spec.remote)):
        if address is not None:
            attributes.append((f"IFLA_VXLAN_{name}{'6' if address.version == 6 else ''}", str(address)))
    return attributes


def _macvlan(spec: Macvlan, parent: int | None) -> list[Any]:
    return [("IFLA_MACVLAN_MODE", spec.mode)]


def _vrf(spec: Vrf, parent: int | None) -> list[Any]:
    return [("IFLA_VRF_TABLE", spec.table)]


_MAKERS: dict[type[InterfaceBody], Callable[[Any, int | None], list[Any]]] = {
    Vlan: _vlan,
    Bridge: _bridge,
    Bond: _bond,
    Vxlan: _vxlan,
    Macvlan: _macvlan,
    Vrf: _vrf,
}


def port_vlans(vlan: PortVlan) -> Data:
    """IFLA_AF_SPEC of a bridge port: what is access or native leaves untagged, and takes in what comes untagged."""
    untagged = vlan.access or vlan.native
    infos = [{"vid": untagged, "flags": BRIDGE_VLAN_PVID | BRIDGE_VLAN_UNTAGGED}] if untagged else []
    infos += [{"vid": vid, "flags": 0} for vid in vlan.trunk if vid != untagged]
    return {"attrs": [("IFLA_BRIDGE_VLAN_INFO", info) for info in infos]}


_BURST_SECONDS = 0.01  # what tbf may send at once: 10 ms of its rate, and never less than the largest packet
_LARGEST = 65536
_LATENCY = "50ms"


def impairment(netem: Netem, with_tbf: bool) -> tuple[str, Data]:
    """The qdisc's kind and its TCA_OPTIONS: netem, or tbf where the kernel has no netem and a rate is all that is asked."""
    if with_tbf:
        rate = (netem.rate or 0) // 8
        burst = max(int(rate * _BURST_SECONDS), _LARGEST)
        return "tbf", sched_tbf.get_parameters({"rate": rate, "burst": burst, "latency": _LATENCY})
    options = {
        "delay": netem.delay or 0,
        "jitter": netem.jitter or 0,
        "loss": netem.loss or 0,
        "duplicate": netem.duplicate or 0,
        "prob_reorder": netem.reorder or 0,
        "rate": None if netem.rate is None else netem.rate // 8,
    }
    return "netem", sched_netem.get_parameters(options)
