"""The message of every step, decoded again by pyroute2's own classes or compared with the kernel's structs byte by byte.

These tests send nothing: whether the kernel does what the messages say is seen in tests/kernel.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from typing import Any

import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from lab.model import parse
from lab.plan import make_plan
from lab.steps import (
    AddAddress,
    AddNeighbour,
    AddRoute,
    AddRule,
    Enslave,
    Impair,
    LeaveDefaultVlan,
    MakeDevice,
    MakeNamespace,
    MakeVeth,
    Raise,
    SetPortVlan,
    Step,
)
from lab.substrate.netlink import batch, messages
from lab.substrate.netlink.batch import Refusal, refusal
from lab.substrate.netlink.messages import message_of
from lab.substrate.netlink.templates import Template, number

Data = dict[str, Any]
NEW, SET = 0x601, 0x001  # NLM_F_REQUEST with NLM_F_CREATE | NLM_F_EXCL, and alone
RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 19, 20, 24
RTM_NEWNEIGH, RTM_NEWRULE, RTM_NEWQDISC = 28, 32, 36
NETNS = 77
SWITCH: Data = {"kind": "switch"}


def steps(nodes: Data, links: list[Data] | None = None, without_netem: bool = False) -> tuple[Step, ...]:
    return make_plan(parse({"name": "x", "nodes": nodes, "links": links or []}), without_netem=without_netem).steps


def raw_of(kind: type[Step], nodes: Data, links: list[Data] | None = None, without_netem: bool = False, at: int = 0) -> bytes:
    """The message of step number `at` of its kind."""
    found = [step for step in steps(nodes, links, without_netem) if isinstance(step, kind)]
    return bytes(message_of(found[at], lambda node: NETNS))


def decoded(raw: bytes, message: type[Any]) -> Any:
    made = message(raw)
    made.decode()
    assert made["header"]["length"] == len(raw)
    return made


def plain(value: Any) -> Any:
    """Attributes as nested dicts and lists of pairs, in their order; structs as dicts."""
    if isinstance(value, dict) and "attrs" in value:
        attributes = [(each[0], plain(each[1])) for each in value["attrs"]]
        fields = {key: each for key, each in value.items() if key not in ("attrs", "header", "state", "__align") and each}
        return {**fields, "attrs": attributes} if fields else attributes
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def check(raw: bytes, message: type[Any], kind: int, flags: int, fields: Data, attributes: list[Any]) -> None:
    """All of the message: fields that are not named are 0."""
    made = decoded(raw, message)
    assert (made["header"]["type"], made["header"]["flags"]) == (kind, flags)
    found = plain(made)
    found = found if isinstance(found, dict) else {"attrs": found}
    assert found == {**fields, "attrs": attributes}


def device(**body: object) -> Data:
    return {"a": {"interfaces": {"d": {"kind": "dummy"}, "x": body}}}


D, X = 2, 3  # the indexes of the devices d and x, in the order in which they are made
LINK_KINDS: list[tuple[Data, list[Any], list[Any] | None]] = [
    ({"kind": "dummy"}, [], None),
    ({"kind": "ifb"}, [], None),
    (
        {"kind": "vlan", "parent": "d", "id": 7},
        [("IFLA_LINK", D)],
        [("IFLA_VLAN_ID", 7), ("IFLA_VLAN_PROTOCOL", 0x8100)],
    ),
    (
        {"kind": "vlan", "parent": "d", "id": 4094, "protocol": "802.1ad"},
        [("IFLA_LINK", D)],
        [("IFLA_VLAN_ID", 4094), ("IFLA_VLAN_PROTOCOL", 0x88A8)],
    ),
    (
        {"kind": "vlan", "parent": "d", "id": 7, "egress_qos": {"3": 6, "0": 1}, "ingress_qos": {"7": 4294967295}},
        [("IFLA_LINK", D)],
        [
            ("IFLA_VLAN_ID", 7),
            ("IFLA_VLAN_PROTOCOL", 0x8100),
            (
                "IFLA_VLAN_EGRESS_QOS",
                [("IFLA_VLAN_QOS_MAPPING", {"from": 3, "to": 6}), ("IFLA_VLAN_QOS_MAPPING", {"from": 0, "to": 1})],
            ),
            ("IFLA_VLAN_INGRESS_QOS", [("IFLA_VLAN_QOS_MAPPING", {"from": 7, "to": 4294967295})]),
        ],
    ),
    (
        {"kind": "bridge"},
        [],
        [
            ("IFLA_BR_FORWARD_DELAY", 0),
            ("IFLA_BR_STP_STATE", 0),
            ("IFLA_BR_AGEING_TIME", 30000),
            ("IFLA_BR_MCAST_SNOOPING", 0),
        ],
    ),
    (
        {
            "kind": "bridge",
            "vlan_filtering": True,
            "vlan_protocol": "802.1ad",
            "stp": True,
            "forward_delay": 2.5,
            "ageing": 0.01,
            "mcast_snooping": True,
        },
        [],
        [
            ("IFLA_BR_FORWARD_DELAY", 250),
            ("IFLA_BR_STP_STATE", 1),
            ("IFLA_BR_AGEING_TIME", 1),
            ("IFLA_BR_MCAST_SNOOPING", 1),
            ("IFLA_BR_VLAN_FILTERING", 1),
            ("IFLA_BR_VLAN_PROTOCOL", 0x88A8),
        ],
    ),
    *(
        ({"kind": "bond", "mode": mode, "miimon": 20}, [], [("IFLA_BOND_MODE", value), ("IFLA_BOND_MIIMON", 20)])
        for value, mode in enumerate(
            ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"]
        )
    ),
    (
        {"kind": "bond", "num_grat_arp": 0},
        [],
        [("IFLA_BOND_MODE", 1), ("IFLA_BOND_MIIMON", 100), ("IFLA_BOND_NUM_PEER_NOTIF", 0)],
    ),
    (
        {"kind": "vxlan", "id": 16777215},
        [],
        [("IFLA_VXLAN_ID", 16777215), ("IFLA_VXLAN_PORT", 4789), ("IFLA_VXLAN_LEARNING", 1)],
    ),
    (
        {"kind": "vxlan", "id": 7, "parent": "d", "local": "10.0.0.1", "remote": "239.0.0.1", "port": 8472, "learning": False},
        [("IFLA_LINK", D)],
        [
            ("IFLA_VXLAN_ID", 7),
            ("IFLA_VXLAN_PORT", 8472),
            ("IFLA_VXLAN_LEARNING", 0),
            ("IFLA_VXLAN_LINK", D),
            ("IFLA_VXLAN_LOCAL", "10.0.0.1"),
            ("IFLA_VXLAN_GROUP", "239.0.0.1"),
        ],
    ),
    (
        {"kind": "vxlan", "id": 7, "local": "2001:db8::1", "remote": "2001:db8::2"},
        [],
        [
            ("IFLA_VXLAN_ID", 7),
            ("IFLA_VXLAN_PORT", 4789),
            ("IFLA_VXLAN_LEARNING", 1),
            ("IFLA_VXLAN_LOCAL6", "2001:db8::1"),
            ("IFLA_VXLAN_GROUP6", "2001:db8::2"),
        ],
    ),
    *(
        ({"kind": "macvlan", "parent": "d", "mode": mode}, [("IFLA_LINK", D)], [("IFLA_MACVLAN_MODE", mode)])
        for mode in ("private", "vepa", "bridge", "passthru")
    ),
    ({"kind": "vrf", "table": 4294967295}, [], [("IFLA_VRF_TABLE", 4294967295)]),
]


@pytest.mark.parametrize(
    ("body", "link", "data"), LINK_KINDS, ids=lambda value: value.get("kind") if isinstance(value, dict) else ""
)
def test_a_device_is_made_as_its_kind_says(body: Data, link: list[Any], data: list[Any] | None) -> None:
    info = [("IFLA_INFO_KIND", body["kind"]), *([("IFLA_INFO_DATA", data)] if data else [])]
    raw = raw_of(MakeDevice, device(**body), at=1)
    check(raw, ifinfmsg, RTM_NEWLINK, NEW, {"index": X}, [("IFLA_IFNAME", "x"), *link, ("IFLA_LINKINFO", info)])


def test_a_device_is_made_with_its_mtu_and_mac() -> None:
    raw = raw_of(MakeDevice, device(kind="dummy", mtu=1400, mac="02-00-00-00-00-0A"), at=1)
    info = [("IFLA_INFO_KIND", "dummy")]
    attributes = [("IFLA_IFNAME", "x"), ("IFLA_MTU", 1400), ("IFLA_ADDRESS", "02:00:00:00:00:0a"), ("IFLA_LINKINFO", info)]
    check(raw, ifinfmsg, RTM_NEWLINK, NEW, {"index": X}, attributes)


@pytest.mark.parametrize(
    ("body", "attribute", "value"),
    [
        ({"kind": "vlan", "parent": "d", "id": 7}, 5, b"\x81\x00"),
        ({"kind": "vlan", "parent": "d", "id": 7, "protocol": "802.1ad"}, 5, b"\x88\xa8"),
        ({"kind": "vxlan", "id": 7, "port": 8472}, 15, b"\x21\x18"),
        ({"kind": "bridge", "vlan_protocol": "802.1ad"}, 8, b"\x88\xa8"),
        ({"kind": "macvlan", "parent": "d", "mode": "passthru"}, 1, struct.pack("I", 8)),
    ],
)
def test_protocols_and_ports_are_in_network_order_and_modes_are_the_kernels_numbers(
    body: Data, attribute: int, value: bytes
) -> None:
    padded = value + bytes(-len(value) % 4)
    assert struct.pack("HH", 4 + len(value), attribute) + padded in raw_of(MakeDevice, device(**body), at=1)


QUEUES = [("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1)]


def veth(near: list[Any], far: list[Any], far_index: int, after: list[Any]) -> list[Any]:
    peer = {"index": far_index, "attrs": far}
    return [
        *near,
        *QUEUES,
        ("IFLA_LINKINFO", [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", [("VETH_INFO_PEER", peer)])]),
        *after,
    ]


def test_a_veth_between_hosts_has_its_far_end_born_in_the_other_namespace_and_both_down() -> None:
    ends = [{"node": "a", "interface": "wan", "mtu": 1400}, {"node": "b", "mac": "02:00:00:00:00:0b"}]
    attributes = veth(
        [("IFLA_IFNAME", "wan"), ("IFLA_MTU", 1400)],
        [("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", "02:00:00:00:00:0b"), *QUEUES, ("IFLA_NET_NS_FD", NETNS)],
        3,
        [],
    )
    check(raw_of(MakeVeth, {"a": {}, "b": {}}, [{"endpoints": ends}]), ifinfmsg, RTM_NEWLINK, NEW, {"index": 2}, attributes)


def test_a_veth_within_one_node_names_no_namespace() -> None:
    attributes = veth([("IFLA_IFNAME", "eth0")], [("IFLA_IFNAME", "eth1"), *QUEUES], 3, [])
    check(raw_of(MakeVeth, {"a": {}}, [{"endpoints": ["a", "a"]}]), ifinfmsg, RTM_NEWLINK, NEW, {"index": 2}, attributes)


@pytest.mark.parametrize("up", [True, False])
def test_a_port_of_a_switch_is_born_into_its_bridge_and_raised_if_it_is_to_be_up(up: bool) -> None:
    raw = raw_of(MakeVeth, {"a": {}, "s": SWITCH}, [{"endpoints": ["a", {"node": "s", "up": up}]}])
    far = [("IFLA_IFNAME", "eth0"), *QUEUES, ("IFLA_NET_NS_FD", NETNS)]
    bridge = 4
    attributes = veth([("IFLA_IFNAME", "a-eth0")], far, 2, [("IFLA_MASTER", bridge)])
    check(raw, ifinfmsg, RTM_NEWLINK, NEW, {"index": 3, **({"flags": 1, "change": 1} if up else {})}, attributes)


@pytest.mark.parametrize("length", range(1, 16))
@pytest.mark.parametrize("switch", [False, True])
def test_a_filled_template_of_a_veth_is_what_pyroute2_encodes_for_names_of_every_length(length: int, switch: bool) -> None:
    def ends(letter: str, far: str) -> list[Data]:
        return [{"node": "b", "interface": letter * length}, {"node": "s", "interface": far * (16 - length)}]

    nodes: Data = {"b": {}, "s": SWITCH if switch else {}}
    for near, far in (("a", "b"), ("c", "c"), ("0", "1")):
        (step,) = (each for each in steps(nodes, [{"endpoints": ends(near, far)}]) if isinstance(each, MakeVeth))
        direct = messages._encoded_veth(step.near, step.far, step.master, NETNS)
        assert message_of(step, lambda node: NETNS) == direct


def test_a_filled_template_leaves_nothing_of_the_step_before() -> None:
    nodes: Data = {f"n{at}": {} for at in range(3)} | {"s": SWITCH}
    links: list[Data] = [{"endpoints": [f"n{at}", "s"], "mtu": 1400 + at % 2} for at in range(3)]
    fds = {f"n{at}": 70 + at for at in range(3)}
    for step in steps(nodes, links):
        if isinstance(step, MakeVeth):
            direct = messages._encoded_veth(step.near, step.far, step.master, fds[step.far.node])
            assert message_of(step, fds.__getitem__) == direct


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    "bodies",
    [[{}, {"mtu": 1400}, {"mtu": 1401}], [{}, {"mac": "02:00:00:00:00:01"}, {"mac": "02:00:00:00:00:02"}], [{}, {"up": False}]],
)
def test_ends_that_differ_in_more_than_their_names_do_not_share_a_template(side: int, bodies: list[Data]) -> None:
    nodes: Data = {"s": SWITCH} | {f"n{at}": {} for at in range(len(bodies))}
    ends = [[{"node": "s", "interface": f"p{at}"}, {"node": f"n{at}"}] for at in range(len(bodies))]
    for each, body in zip(ends, bodies, strict=True):
        each[side].update(body)
    for step in steps(nodes, [{"endpoints": each} for each in ends]):
        if isinstance(step, MakeVeth):
            direct = messages._encoded_veth(step.near, step.far, step.master, NETNS)
            assert message_of(step, lambda node: NETNS) == direct


def test_an_interface_is_given_a_master() -> None:
    nodes = device(kind="bond", members=["d"])
    check(raw_of(Enslave, nodes), ifinfmsg, RTM_SETLINK, SET, {"index": D}, [("IFLA_MASTER", X)])


def test_an_interface_is_raised() -> None:
    raw = raw_of(Raise, device(kind="ifb"), at=2)
    check(raw, ifinfmsg, RTM_SETLINK, SET, {"index": X, "flags": 1, "change": 1}, [])


def test_the_mtu_of_lo_comes_with_raising_it() -> None:
    nodes: Data = {"a": {"interfaces": {"lo": {"mtu": 9000}, "d": {"kind": "dummy", "mtu": 1400}}}}
    check(raw_of(Raise, nodes), ifinfmsg, RTM_SETLINK, SET, {"index": 1, "flags": 1, "change": 1}, [("IFLA_MTU", 9000)])
    check(raw_of(Raise, nodes, at=1), ifinfmsg, RTM_SETLINK, SET, {"index": 2, "flags": 1, "change": 1}, [])


PVID_UNTAGGED = 6  # BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED
PORTS: list[tuple[Data, list[tuple[int, int]]]] = [
    ({"access": 7}, [(7, PVID_UNTAGGED)]),
    ({"trunk": [7, 9]}, [(7, 0), (9, 0)]),
    ({"trunk": [7, 9], "native": 5}, [(5, PVID_UNTAGGED), (7, 0), (9, 0)]),
    ({"trunk": [7, 9], "native": 9}, [(9, PVID_UNTAGGED), (7, 0)]),
    ({"native": 4094}, [(4094, PVID_UNTAGGED)]),
]


@pytest.mark.parametrize(("vlan", "members"), PORTS)
def test_a_port_gets_its_vlans_and_what_is_access_or_native_is_untagged(vlan: Data, members: list[tuple[int, int]]) -> None:
    raw = raw_of(SetPortVlan, {"a": {}, "s": SWITCH}, [{"endpoints": ["a", {"node": "s", "vlan": vlan}]}])
    infos = [("IFLA_BRIDGE_VLAN_INFO", {"vid": vid, "flags": flags}) for vid, flags in members]
    check(raw, ifinfmsg, RTM_SETLINK, SET, {"family": socket.AF_BRIDGE, "index": 3}, [("IFLA_AF_SPEC", infos)])


def test_a_port_is_taken_out_of_the_default_vlan() -> None:
    raw = raw_of(LeaveDefaultVlan, {"a": {}, "s": SWITCH}, [{"endpoints": ["a", {"node": "s", "vlan": {"access": 7}}]}])
    infos = [("IFLA_BRIDGE_VLAN_INFO", {"vid": 1, "flags": 0})]
    check(raw, ifinfmsg, RTM_DELLINK, SET, {"family": socket.AF_BRIDGE, "index": 3}, [("IFLA_AF_SPEC", infos)])


@pytest.mark.parametrize("index", [2, 255, 256, 2**31 - 1])
def test_a_filled_template_of_raising_is_what_pyroute2_encodes(index: int) -> None:
    (step,) = (each for each in steps(device(kind="ifb")) if isinstance(each, Raise) and each.interface.name == "x")
    fields = {"index": index, "flags": 1, "change": 1}
    direct = messages.encoded(RTM_SETLINK, SET, ifinfmsg(), fields, [])
    assert message_of(replace(step, interface=replace(step.interface, index=index)), lambda node: NETNS) == direct


IN, IN6 = int(socket.AF_INET), int(socket.AF_INET6)
ADDRESSES: list[tuple[Data | str, Data, list[tuple[str, str]]]] = [
    (
        "10.0.0.1/24",
        {"family": IN, "prefixlen": 24},
        [("IFA_LOCAL", "10.0.0.1"), ("IFA_ADDRESS", "10.0.0.1"), ("IFA_BROADCAST", "10.0.0.255")],
    ),
    ("10.0.0.1/31", {"family": IN, "prefixlen": 31}, [("IFA_LOCAL", "10.0.0.1"), ("IFA_ADDRESS", "10.0.0.1")]),
    ("10.0.0.1/32", {"family": IN, "prefixlen": 32}, [("IFA_LOCAL", "10.0.0.1"), ("IFA_ADDRESS", "10.0.0.1")]),
    (
        {"address": "10.0.0.1/32", "peer": "10.0.0.2/30"},
        {"family": IN, "prefixlen": 30},
        [("IFA_LOCAL", "10.0.0.1"), ("IFA_ADDRESS", "10.0.0.2")],
    ),
    (
        {"address": "10.0.0.1/24", "peer": "10.0.0.2/32"},
        {"family": IN, "prefixlen": 32},
        [("IFA_LOCAL", "10.0.0.1"), ("IFA_ADDRESS", "10.0.0.2")],
    ),
    (
        "127.0.0.2/8",
        {"family": IN, "prefixlen": 8, "scope": 254},
        [("IFA_LOCAL", "127.0.0.2"), ("IFA_ADDRESS", "127.0.0.2"), ("IFA_BROADCAST", "127.255.255.255")],
    ),
    *(
        (
            {"address": "10.0.0.1/32", "scope": scope},
            {"family": IN, "prefixlen": 32, **({"scope": value} if value else {})},
            [("IFA_LOCAL", "10.0.0.1"), ("IFA_ADDRESS", "10.0.0.1")],
        )
        for scope, value in (("global", 0), ("site", 200), ("link", 253), ("host", 254))
    ),
    (
        "2001:db8::1/64",
        {"family": IN6, "prefixlen": 64},
        [("IFA_LOCAL", "2001:db8::1"), ("IFA_ADDRESS", "2001:db8::1")],
    ),
    (
        {"address": "2001:db8::1/128", "nodad": True},
        {"family": IN6, "prefixlen": 128, "flags": 0x02},
        [("IFA_LOCAL", "2001:db8::1"), ("IFA_ADDRESS", "2001:db8::1")],
    ),
    (
        {"address": "2001:db8::1/64", "optimistic": True},
        {"family": IN6, "prefixlen": 64, "flags": 0x04},
        [("IFA_LOCAL", "2001:db8::1"), ("IFA_ADDRESS", "2001:db8::1")],
    ),
    (
        {"address": "2001:db8::1/128", "peer": "2001:db8::2/64"},
        {"family": IN6, "prefixlen": 64},
        [("IFA_LOCAL", "2001:db8::1"), ("IFA_ADDRESS", "2001:db8::2")],
    ),
]


@pytest.mark.parametrize(("address", "fields", "attributes"), ADDRESSES)
def test_an_address_is_added(address: Data | str, fields: Data, attributes: list[tuple[str, str]]) -> None:
    raw = raw_of(AddAddress, device(kind="ifb", addresses=[address]))
    check(raw, ifaddrmsg, RTM_NEWADDR, NEW, {**fields, "index": X}, attributes)


@pytest.mark.parametrize(
    ("address", "broadcast"),
    [("10.0.0.1/24", "10.0.0.255"), ("10.0.0.200/25", "10.0.0.255"), ("0.0.0.1/0", "255.255.255.255"), ("10.0.0.1/31", None)],
)
@pytest.mark.parametrize("index", [X, 0x01020304])
def test_a_filled_template_of_an_address_is_what_pyroute2_encodes(address: str, broadcast: str | None, index: int) -> None:
    (step,) = (each for each in steps(device(kind="ifb", addresses=address)) if isinstance(each, AddAddress))
    ip, _, length = address.partition("/")
    attributes = [("IFA_LOCAL", ip), ("IFA_ADDRESS", ip), *([("IFA_BROADCAST", broadcast)] if broadcast else [])]
    fields = {"family": IN, "prefixlen": int(length), "index": index}
    direct = messages.encoded(RTM_NEWADDR, NEW, ifaddrmsg(), fields, attributes)
    assert message_of(replace(step, interface=replace(step.interface, index=index)), lambda node: NETNS) == direct


def routed(raw: bytes, fields: Data, attributes: list[Any]) -> None:
    known = {"proto": 4, "table": 254, "type": 1}  # RTPROT_STATIC, RT_TABLE_MAIN, RTN_UNICAST
    fields = {key: value for key, value in {**known, **fields}.items() if value}
    check(raw, rtmsg, RTM_NEWROUTE, NEW, fields, attributes)


MAIN = ("RTA_TABLE", 254)
ETH0 = 2
ROUTES: list[tuple[Data, Data, list[Any]]] = [
    ({"to": "default", "via": "10.0.0.2"}, {"family": IN}, [MAIN, ("RTA_GATEWAY", "10.0.0.2")]),
    (
        {"to": "::/0", "via": "fe80::2", "dev": "eth0"},
        {"family": IN6},
        [MAIN, ("RTA_GATEWAY", "fe80::2"), ("RTA_OIF", ETH0)],
    ),
    (
        {"to": "10.9.0.0/16", "dev": "eth0"},
        {"family": IN, "dst_len": 16, "scope": 253},
        [MAIN, ("RTA_DST", "10.9.0.0"), ("RTA_OIF", ETH0)],
    ),
    (
        {"to": "2001:db8:9::/48", "dev": "eth0"},
        {"family": IN6, "dst_len": 48},
        [MAIN, ("RTA_DST", "2001:db8:9::"), ("RTA_OIF", ETH0)],
    ),
    (
        {"to": "10.9.0.0/16", "via": "10.0.0.2", "src": "10.0.0.1", "metric": 0, "mtu": 1400, "onlink": True},
        {"family": IN, "dst_len": 16, "flags": 4},
        [
            MAIN,
            ("RTA_DST", "10.9.0.0"),
            ("RTA_GATEWAY", "10.0.0.2"),
            ("RTA_PREFSRC", "10.0.0.1"),
            ("RTA_PRIORITY", 0),
            ("RTA_METRICS", [("RTAX_MTU", 1400)]),
        ],
    ),
    *(
        (
            {"to": "10.9.0.0/16", "type": kind},
            {"family": IN, "dst_len": 16, "type": value},
            [MAIN, ("RTA_DST", "10.9.0.0")],
        )
        for kind, value in (("blackhole", 6), ("unreachable", 7), ("prohibit", 8), ("throw", 9))
    ),
    (
        {"to": "10.9.0.9/32", "type": "local", "dev": "lo", "table": "local"},
        {"family": IN, "dst_len": 32, "type": 2, "scope": 254, "table": 255},
        [("RTA_TABLE", 255), ("RTA_DST", "10.9.0.9"), ("RTA_OIF", 1)],
    ),
    *(
        (
            {"to": "10.9.0.0/16", "type": "throw", "table": table},
            {"family": IN, "dst_len": 16, "type": 9, "table": field},
            [("RTA_TABLE", value), ("RTA_DST", "10.9.0.0")],
        )
        for table, value, field in (
            ("default", 253, 253),
            (7, 7, 7),
            (255, 255, 255),
            (1000, 1000, 0),
            (4294967295, 4294967295, 0),
        )
    ),
    (
        {"to": "10.9.0.0/16", "nexthops": [{"via": "10.0.0.2", "weight": 256}, {"dev": "eth0"}]},
        {"family": IN, "dst_len": 16},
        [
            MAIN,
            ("RTA_DST", "10.9.0.0"),
            ("RTA_MULTIPATH", [{"hops": 255, "attrs": [("RTA_GATEWAY", "10.0.0.2")]}, {"oif": ETH0, "attrs": []}]),
        ],
    ),
    (
        {"to": "::/0", "nexthops": [{"via": "fe80::2", "dev": "eth0"}, {"via": "2001:db8::2", "weight": 3}], "onlink": True},
        {"family": IN6, "flags": 4},
        [
            MAIN,
            (
                "RTA_MULTIPATH",
                [
                    {"flags": 4, "oif": ETH0, "attrs": [("RTA_GATEWAY", "fe80::2")]},
                    {"flags": 4, "hops": 2, "attrs": [("RTA_GATEWAY", "2001:db8::2")]},
                ],
            ),
        ],
    ),
    (
        {"to": "10.9.0.0/16", "nexthops": [{"dev": "eth0"}]},
        {"family": IN, "dst_len": 16, "scope": 253},
        [MAIN, ("RTA_DST", "10.9.0.0"), ("RTA_MULTIPATH", [{"oif": ETH0, "attrs": []}])],
    ),
]


@pytest.mark.parametrize(("route", "fields", "attributes"), ROUTES)
def test_a_route_is_added(route: Data, fields: Data, attributes: list[Any]) -> None:
    link = {"endpoints": ["a", "b"], "addresses": {"a": ["10.0.0.1/24", "2001:db8::1/64"]}}
    raw = raw_of(AddRoute, {"a": {"routes": [route]}, "b": {}}, [link])
    routed(raw, fields, [each if each[0] != "RTA_MULTIPATH" else (each[0], hops(each[1])) for each in attributes])


def hops(expected: list[Data]) -> list[Any]:
    """As `plain` gives them: a hop with no field set is its attributes alone."""
    return [hop if len(hop) > 1 else hop["attrs"] for hop in expected]


RULES: list[tuple[Data, Data, list[Any]]] = [
    (
        {"from": "10.0.0.0/8", "table": 7},
        {"family": IN, "src_len": 8, "table": 7, "action": 1},
        [("FRA_TABLE", 7), ("FRA_SRC", "10.0.0.0")],
    ),
    (
        {
            "from": "2001:db8::/32",
            "to": "2001:db8:9::/48",
            "table": 1000,
            "priority": 0,
            "fwmark": 4294967295,
            "iif": "eth0",
            "oif": "lo",
        },
        {"family": IN6, "src_len": 32, "dst_len": 48, "action": 1},
        [
            ("FRA_TABLE", 1000),
            ("FRA_SRC", "2001:db8::"),
            ("FRA_DST", "2001:db8:9::"),
            ("FRA_PRIORITY", 0),
            ("FRA_FWMARK", 4294967295),
            ("FRA_IIFNAME", "eth0"),
            ("FRA_OIFNAME", "lo"),
        ],
    ),
    ({"family": "ipv6", "table": "main"}, {"family": IN6, "table": 254, "action": 1}, [("FRA_TABLE", 254)]),
    *(
        ({"family": "ipv4", "type": kind}, {"family": IN, "action": value}, [("FRA_TABLE", 0)])
        for kind, value in (("blackhole", 6), ("unreachable", 7), ("prohibit", 8))
    ),
]


@pytest.mark.parametrize(("rule", "fields", "attributes"), RULES)
def test_a_rule_is_added(rule: Data, fields: Data, attributes: list[Any]) -> None:
    raw = raw_of(AddRule, {"a": {"rules": [rule]}})
    check(raw, fibmsg, RTM_NEWRULE, NEW, fields, attributes)


MAC = "02:00:00:00:00:02"
NEIGHBOURS: list[tuple[Data, Data, list[Any]]] = [
    *(
        (
            {"address": "10.0.0.2", "mac": MAC, "state": state},
            {"family": IN, "state": value},
            [("NDA_DST", "10.0.0.2"), ("NDA_LLADDR", MAC)],
        )
        for state, value in (("permanent", 0x80), ("noarp", 0x40), ("reachable", 0x02), ("stale", 0x04))
    ),
    (
        {"address": "2001:db8::2", "mac": MAC},
        {"family": IN6, "state": 0x80},
        [("NDA_DST", "2001:db8::2"), ("NDA_LLADDR", MAC)],
    ),
    ({"address": "2001:db8::2", "proxy": True}, {"family": IN6, "flags": 8}, [("NDA_DST", "2001:db8::2")]),
]


@pytest.mark.parametrize(("neighbour", "fields", "attributes"), NEIGHBOURS)
def test_a_neighbour_is_added_or_replaced(neighbour: Data, fields: Data, attributes: list[Any]) -> None:
    raw = raw_of(AddNeighbour, {"a": {"neighbours": {**neighbour, "dev": "d"}, "interfaces": {"d": {"kind": "dummy"}}}})
    made = decoded(raw, ndmsg)
    assert (made["header"]["type"], made["header"]["flags"]) == (RTM_NEWNEIGH, 0x501)
    found = {key: made[key] for key in ("family", "ifindex", "state", "flags", "ndm_type")}
    assert found == {"family": 0, "ifindex": D, "state": 0, "flags": 0, "ndm_type": 0, **fields}
    assert plain({"attrs": made["attrs"]}) == attributes


def impaired(netem: Data, without_netem: bool = False) -> bytes:
    return raw_of(Impair, device(kind="ifb", netem=netem), without_netem=without_netem)


def qdisc(raw: bytes) -> tuple[str, Data, Data]:
    """Kind, struct and attributes of a qdisc that is to be the root of the device x."""
    made = decoded(raw, tcmsg)
    assert (made["header"]["type"], made["header"]["flags"]) == (RTM_NEWQDISC, 0x501)
    root = {"family": 0, "index": X, "handle": 0x10000, "parent": 0xFFFFFFFF, "info": 0}
    assert {key: made[key] for key in root} == root
    options = made.get_attr("TCA_OPTIONS")
    return (
        made.get_attr("TCA_KIND"),
        {key: options[key] for key in options if key != "attrs"},
        dict(map(tuple, options["attrs"])),
    )


MILLISECOND = 15625  # ticks of 64 ns: PSCHED_SHIFT 6 (include/net/pkt_sched.h)
ALL = 2**32 - 1
NETEMS: list[tuple[Data, Data, Data]] = [
    ({"delay": "10ms"}, {"delay": 10 * MILLISECOND}, {}),
    ({"delay": "3us"}, {"delay": 46}, {}),
    ({"delay": "274s"}, {"delay": 274_000 * MILLISECOND}, {}),
    ({"delay": "1s", "jitter": "2.5ms"}, {"delay": 1000 * MILLISECOND, "jitter": 39062}, {}),
    ({"loss": 100}, {"loss": ALL}, {}),
    ({"loss": "0.1%"}, {"loss": ALL // 1000}, {}),
    ({"duplicate": "50%"}, {"duplicate": ALL // 2}, {}),
    (
        {"delay": "1ms", "reorder": "25%"},
        {"delay": MILLISECOND, "gap": 1},
        {"TCA_NETEM_REORDER": {"prob_reorder": ALL // 4, "corr_reorder": 0}},
    ),
    (
        {"rate": "34gbit"},
        {},
        {"TCA_NETEM_RATE": {"rate": 4_250_000_000, "packet_overhead": 0, "cell_size": 0, "cell_overhead": 0}},
    ),
    (
        {"delay": "1ms", "jitter": "1ms", "loss": 1, "duplicate": 2, "reorder": 3, "rate": "8kbit"},
        {"delay": MILLISECOND, "jitter": MILLISECOND, "loss": ALL // 100, "duplicate": ALL // 50, "gap": 1},
        {
            "TCA_NETEM_REORDER": {"prob_reorder": ALL * 3 // 100, "corr_reorder": 0},
            "TCA_NETEM_RATE": {"rate": 1000, "packet_overhead": 0, "cell_size": 0, "cell_overhead": 0},
        },
    ),
]


@pytest.mark.parametrize(("netem", "options", "attributes"), NETEMS)
def test_netem_is_told_ticks_shares_of_32_bits_and_octets_a_second(netem: Data, options: Data, attributes: Data) -> None:
    nothing = {"delay": 0, "limit": 1000, "loss": 0, "gap": 0, "duplicate": 0, "jitter": 0}
    assert qdisc(impaired(netem)) == ("netem", {**nothing, **options}, attributes)


@pytest.mark.parametrize(
    ("rate", "octets", "burst"), [("2kbit", 250, 65536), ("1mbit", 125_000, 65536), ("10gbit", 1_250_000_000, 12_500_000)]
)
def test_tbf_sends_10_ms_of_its_rate_at_once_or_the_largest_packet_and_holds_50_ms_more(
    rate: str, octets: int, burst: int
) -> None:
    raw = impaired({"rate": rate}, without_netem=True)
    made = tcmsg(raw)
    made.decode()
    assert made.get_attr("TCA_KIND") == "tbf"
    parms = made.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
    assert parms["rate"] == octets
    assert parms["buffer"] == pytest.approx(burst / octets * 1000 * MILLISECOND, abs=20)
    assert parms["limit"] == int(octets * 0.05 + burst)
    assert (parms["peak"], parms["mtu"]) == (0, 0)


def test_a_step_that_no_message_does_is_refused() -> None:
    with pytest.raises(TypeError, match="no message for MakeNamespace"):
        message_of(MakeNamespace("a"), lambda node: NETNS)


def test_every_message_says_its_own_length() -> None:
    nodes: Data = {"a": {"interfaces": {"d": {"kind": "dummy", "addresses": ["10.0.0.1/24", "2001:db8::1/64"]}}}, "s": SWITCH}
    for step in steps(nodes, [{"endpoints": ["a", "s"], "mtu": 1400}]):
        if not isinstance(step, MakeNamespace):
            raw = message_of(step, lambda node: NETNS)
            assert struct.unpack_from("I", raw)[0] == len(raw)


def test_a_sample_that_stands_in_a_message_twice_cannot_mark_a_hole() -> None:
    with pytest.raises(ValueError, match="the sample for index must stand in the message once, not 2 times"):
        Template(number(7) + number(7), {"index": number(7)})
    with pytest.raises(ValueError, match="not 0 times"):
        Template(number(7), {"index": number(8)})


# -- what the kernel answers

HEADER = struct.Struct("IHHII")
NLMSG_ERROR, NLMSG_DONE = 2, 3
CAPPED, TLVS = 0x100, 0x200
REQUEST = HEADER.pack(24, RTM_NEWLINK, NEW, 5, 0) + b"payload!"


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def answer(code: int, flags: int = 0, said: bytes = b"", at: int = 5, echo: bytes = REQUEST) -> bytes:
    body = struct.pack("i", code) + (echo[:16] if flags & CAPPED else echo) + said
    return HEADER.pack(16 + len(body), NLMSG_ERROR, flags, at, 0) + body


OFFSET, SAID = attribute(2, struct.pack("I", 36)), attribute(1, b"Device is up\0")


def test_an_acknowledgement_is_no_refusal() -> None:
    assert refusal(answer(0)) is None
    assert refusal(answer(0, CAPPED | TLVS, SAID)) is None
    assert refusal(HEADER.pack(20, NLMSG_DONE, 0, 5, 0) + bytes(4)) is None


@pytest.mark.parametrize(
    ("flags", "said", "extack"),
    [
        (CAPPED, b"", None),
        (0, b"", None),
        (CAPPED | TLVS, SAID, "Device is up"),
        (TLVS, SAID, "Device is up"),
        (CAPPED | TLVS, OFFSET + SAID, "Device is up"),
        (TLVS, SAID + OFFSET, "Device is up"),
        (CAPPED | TLVS, OFFSET, None),
        (CAPPED, SAID, None),
    ],
    ids=["bare", "bare with echo", "said", "said behind the echo", "offset first", "offset last", "offset only", "no flag"],
)
def test_a_refusal_has_its_number_its_errno_and_what_the_kernel_said(flags: int, said: bytes, extack: str | None) -> None:
    assert refusal(answer(-16, flags, said)) == Refusal(5, 16, extack)


def test_the_attributes_are_found_behind_an_echo_that_is_padded() -> None:
    odd = HEADER.pack(21, RTM_NEWLINK, NEW, 5, 0) + b"12345" + bytes(3)
    assert refusal(answer(-22, TLVS, SAID, echo=odd)) == Refusal(5, 22, "Device is up")


def test_a_refusal_in_words() -> None:
    assert str(Refusal(0, 16, None)) == "Device or resource busy"
    assert str(Refusal(0, 16, "Device is up")) == "Device or resource busy: Device is up"


def test_several_answers_in_one_datagram_are_all_read_until_the_last_message_is_answered() -> None:
    refusals: list[Refusal] = []
    data = answer(-17, CAPPED, at=0) + answer(-22, CAPPED | TLVS, SAID, at=1)
    assert not batch._read(data, 2, refusals)
    assert batch._read(answer(0, CAPPED, at=2), 2, refusals)
    assert refusals == [Refusal(0, 17, None), Refusal(1, 22, "Device is up")]


def test_a_batch_is_numbered_and_only_its_last_message_asks_for_an_acknowledgement() -> None:
    joined = batch._joined([HEADER.pack(16, 16, SET | 4, 9, 0), HEADER.pack(16, 19, SET, 9, 0)], first=7)
    assert [HEADER.unpack_from(joined, at) for at in (0, 16)] == [(16, 16, SET, 7, 0), (16, 19, SET | 4, 8, 0)]


@pytest.mark.parametrize(
    ("sizes", "ends"),
    [([10], [1]), ([30_000, 30_000, 30_000], [2, 3]), ([70_000], [1]), ([10, 70_000, 10], [1, 2, 3]), ([65_536, 16], [1, 2])],
)
def test_a_batch_is_parted_where_a_send_would_not_fit_the_sockets_buffer(sizes: list[int], ends: list[int]) -> None:
    assert list(batch._ends([bytes(size) for size in sizes])) == ends
