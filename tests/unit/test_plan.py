"""The steps that build a lab: which, in what order, in which words."""

from __future__ import annotations

from typing import Any

import pytest

from lab.model import parse
from lab.plan import Plan, device_sysctl_parts, make_plan
from lab.steps import Impair, MakeDevice, SetSysctl, Step
from lab.sysctls import sysctl_parts

Data = dict[str, Any]


def planned(nodes: Data, links: list[Data] | None = None, without_netem: bool = False) -> Plan:
    return make_plan(parse({"name": "x", "nodes": nodes, "links": links or []}), without_netem=without_netem)


def words(plan: Plan) -> list[str]:
    return [step.describe() for step in plan.steps]


def position(plan: Plan, said: str) -> int:
    """Where the one step stands that is described so."""
    assert words(plan).count(said) == 1, f"{said!r} is none of {words(plan)}"
    return words(plan).index(said)


def in_order(plan: Plan, *said: str) -> bool:
    positions = [position(plan, each) for each in said]
    return positions == sorted(positions)


SWITCH: Data = {"kind": "switch"}


def test_the_whole_plan_of_two_hosts_and_a_switch() -> None:
    plan = planned(
        {"a": {}, "lan": SWITCH, "r": {"kind": "router"}},
        [
            {"endpoints": ["a", "lan"], "addresses": {"a": "10.0.0.1/24"}, "mtu": 1400},
            {"endpoints": ["r", "lan"], "addresses": {"r": ["10.0.0.2/24", "2001:db8::2/64"]}},
            {"endpoints": ["a:x", "r:x"]},
        ],
    )
    assert words(plan) == [
        "make the network namespace of a, with lab's baseline of sysctls",
        "make the network namespace of lan, with lab's baseline of sysctls",
        "make the network namespace of r, with lab's baseline of sysctls",
        "set net.ipv4.ip_forward = 1 on r",
        "set net.ipv6.conf.all.forwarding = 1 on r",
        "make the bridge lan:br0",
        "join a:eth0 to the switch lan by a veth pair (mtu 1400), its port a-eth0",
        "join r:eth0 to the switch lan by a veth pair, its port r-eth0",
        "join a:x and r:x by a veth pair",
        "raise a:lo",
        "raise a:eth0",
        "add 10.0.0.1/24 to a:eth0",
        "raise a:x",
        "raise lan:lo",
        "raise lan:br0",
        "raise r:lo",
        "raise r:eth0",
        "add 10.0.0.2/24 to r:eth0",
        "add 2001:db8::2/64 to r:eth0",
        "raise r:x",
    ]


def test_a_step_names_its_node() -> None:
    plan = planned({"a": {}, "b": {}}, [{"endpoints": ["a", "b"], "addresses": {"b": "10.0.0.1/24"}}])
    assert [step.node for step in plan.steps] == ["a", "b", "a", "a", "a", "b", "b", "b"]


def test_a_router_forwards_before_its_first_link_and_address() -> None:
    plan = planned({"r": {"kind": "router"}, "b": {}}, [{"endpoints": ["b", "r"], "addresses": {"r": "10.0.0.1/24"}}])
    assert in_order(
        plan,
        "set net.ipv4.ip_forward = 1 on r",
        "set net.ipv6.conf.all.forwarding = 1 on r",
        "join b:eth0 and r:eth0 by a veth pair",
        "add 10.0.0.1/24 to r:eth0",
    )


def test_what_a_router_says_itself_comes_after_what_its_kind_says() -> None:
    plan = planned({"r": {"kind": "router", "sysctls": {"net.ipv4.ip_forward": 0}}})
    assert in_order(plan, "set net.ipv4.ip_forward = 1 on r", "set net.ipv4.ip_forward = 0 on r")


def test_sysctls_of_a_namespace_are_set_before_its_devices_and_those_of_a_device_after_it() -> None:
    sysctls = {
        "net.ipv4.conf.default.rp_filter": 1,
        "net.ipv4.conf.all.rp_filter": 2,
        "net.ipv4.conf.lo.rp_filter": 3,
        "net.ipv4.conf.d.7.rp_filter": 4,
        "net/ipv6/neigh/d.7/gc_stale_time": 5,
    }
    device = {"kind": "dummy", "sysctls": {"ipv4.arp_ignore": 6, "ipv6.neigh.retrans_time_ms": 7}, "addresses": "10.0.0.1/24"}
    plan = planned({"a": {"sysctls": sysctls, "interfaces": {"d.7": device}}})
    assert words(plan) == [
        "make the network namespace of a, with lab's baseline of sysctls",
        "set net.ipv4.conf.default.rp_filter = 1 on a",
        "set net.ipv4.conf.all.rp_filter = 2 on a",
        "set net.ipv4.conf.lo.rp_filter = 3 on a",
        "make the dummy a:d.7",
        "set net/ipv4/conf/d.7/rp_filter = 4 on a",
        "set net/ipv6/neigh/d.7/gc_stale_time = 5 on a",
        "set net/ipv4/conf/d.7/arp_ignore = 6 on a",
        "set net/ipv6/neigh/d.7/retrans_time_ms = 7 on a",
        "raise a:lo",
        "raise a:d.7",
        "add 10.0.0.1/24 to a:d.7",
    ]
    paths = [step.parts for step in plan.steps if isinstance(step, SetSysctl)]
    assert paths[3:5] == [("net", "ipv4", "conf", "d.7", "rp_filter"), ("net", "ipv6", "neigh", "d.7", "gc_stale_time")]


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("net.ipv4.ip_forward", ("net", "ipv4", "ip_forward")),
        ("net.ipv4.conf.eth0.rp_filter", ("net", "ipv4", "conf", "eth0", "rp_filter")),
        ("net.ipv4.conf.eth0.7.rp_filter", ("net", "ipv4", "conf", "eth0.7", "rp_filter")),
        ("net.ipv6.neigh.a.b.c.gc_stale_time", ("net", "ipv6", "neigh", "a.b.c", "gc_stale_time")),
        ("net/ipv4/conf/eth0.7/rp_filter", ("net", "ipv4", "conf", "eth0.7", "rp_filter")),
        ("net.ipv4.tcp.a.b.c", ("net", "ipv4", "tcp", "a", "b", "c")),
    ],
)
def test_the_dots_of_a_devices_name_do_not_part_a_sysctls_name(key: str, parts: tuple[str, ...]) -> None:
    assert sysctl_parts(key) == parts


def test_a_sysctl_of_a_device_is_written_without_naming_it() -> None:
    assert device_sysctl_parts("ipv4.rp_filter", "e.7") == ("net", "ipv4", "conf", "e.7", "rp_filter")
    assert device_sysctl_parts("ipv6.neigh.delay_first_probe_time", "e") == (
        "net",
        "ipv6",
        "neigh",
        "e",
        "delay_first_probe_time",
    )


def test_every_namespace_and_every_switch_is_there_before_the_first_link() -> None:
    plan = planned({"a": {}, "s": SWITCH, "t": SWITCH}, [{"endpoints": ["a", "s"]}, {"endpoints": ["a", "t"]}])
    kinds = [type(step).__name__ for step in plan.steps]
    assert kinds[:7] == ["MakeNamespace"] * 3 + ["MakeDevice"] * 2 + ["MakeVeth"] * 2


def test_a_port_is_born_into_its_switch_and_raised() -> None:
    plan = planned({"a": {}, "s": SWITCH}, [{"endpoints": ["a", "s"]}])
    assert "raise s:a-eth0" not in words(plan)
    assert not [said for said in words(plan) if said.startswith("make s:a-eth0")]


def test_a_port_that_is_down_is_not_raised_either() -> None:
    plan = planned({"a": {}, "s": SWITCH}, [{"endpoints": ["a", {"node": "s", "up": False}]}])
    assert "raise s:a-eth0" not in words(plan)
    assert "raise a:eth0" in words(plan)


def test_of_a_cable_between_switches_the_end_that_cannot_be_born_a_port_becomes_one() -> None:
    plan = planned({"s": SWITCH, "t": SWITCH}, [{"endpoints": ["s", "t"]}])
    assert in_order(
        plan,
        "make the bridge s:br0",
        "join s:t to the switch t by a veth pair, its port s-t",
        "make s:t a member of br0",
        "raise s:t",
    )
    assert "raise t:s-t" not in words(plan)


def test_both_ends_of_a_loop_at_one_switch_become_ports() -> None:
    plan = planned({"s": SWITCH}, [{"endpoints": ["s:p", "s:q"]}])
    assert in_order(plan, "join s:p to the switch s by a veth pair, its port q", "make s:p a member of br0", "raise s:p")
    assert "raise s:q" not in words(plan)


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ({"addresses": "10.0.0.1/24"}, False),
        ({"addresses": {"address": "2001:db8::1/64", "nodad": True}}, False),
        ({"addresses": "2001:db8::1/64"}, True),
        ({"addresses": {"address": "2001:db8::1/64", "optimistic": True}}, True),
        ({"mac": "02:00:00:00:00:01"}, True),
    ],
)
def test_a_switch_is_raised_after_the_quiet_hosts_and_before_the_watchful(body: Data, after: bool) -> None:
    plan = planned({"a": {}, "s": SWITCH}, [{"endpoints": [{"node": "a", **body}, "s"]}])
    assert in_order(plan, *(["raise s:br0", "raise a:eth0"] if after else ["raise a:eth0", "raise s:br0"]))


def test_hosts_of_one_turn_keep_the_order_of_the_file() -> None:
    plan = planned({"b": {}, "s": SWITCH, "a": {}, "c": {}})
    assert in_order(plan, "raise b:lo", "raise a:lo", "raise c:lo", "raise s:lo", "raise s:br0")


def test_addresses_come_interface_by_interface_in_the_order_of_the_file_each_after_its_interface_is_up() -> None:
    devices = {
        "z": {"kind": "dummy", "addresses": ["10.0.0.2/24", "10.0.0.1/24"]},
        "a": {"kind": "dummy", "addresses": "10.0.0.3/24", "up": False},
    }
    assert words(planned({"n": {"interfaces": devices}}))[3:] == [
        "raise n:lo",
        "raise n:z",
        "add 10.0.0.2/24 to n:z",
        "add 10.0.0.1/24 to n:z",
        "add 10.0.0.3/24 to n:a",
    ]


def test_devices_come_with_their_lowers_first_members_while_down_and_vlans_of_ports_after_the_bridge() -> None:
    devices = {
        "br": {"kind": "bridge", "vlan_filtering": True, "members": ["bond0"]},
        "bond0": {"kind": "bond", "members": ["eth0"], "vlan": {"trunk": [7, 9], "native": 5}},
        "v": {"kind": "vlan", "parent": "br", "id": 7},
        "m": {"kind": "macvlan", "parent": "v"},
        "red": {"kind": "vrf", "table": 7, "members": "m"},
        "vx": {"kind": "vxlan", "id": 0, "parent": "m", "remote": "239.0.0.1"},
    }
    plan = planned({"a": {"interfaces": devices}, "b": {}}, [{"endpoints": ["a", "b"]}])
    assert words(plan)[3:-2] == [
        "make the bond a:bond0",
        "make the bridge a:br",
        "make the vlan a:v id 7 on br",
        "make the macvlan a:m on v",
        "make the vrf a:red table 7",
        "make the vxlan a:vx id 0 on m",
        "make a:eth0 a member of bond0",
        "make a:bond0 a member of br",
        "make a:m a member of red",
        "make a:bond0 a trunk of VLANs 7, 9, native VLAN 5",
        "take a:bond0 out of VLAN 1, which every new port is in",
        *(f"raise a:{name}" for name in ("lo", "eth0", "bond0", "br", "v", "m", "red", "vx")),
    ]


@pytest.mark.parametrize(
    ("vlan", "said"),
    [
        ({"access": 7}, "make s:a-eth0 an access port of VLAN 7"),
        ({"trunk": 7}, "make s:a-eth0 a trunk of VLANs 7"),
        ({"native": 7}, "make s:a-eth0 a trunk of VLANs none, native VLAN 7"),
    ],
)
def test_the_vlans_of_a_port_in_words(vlan: Data, said: str) -> None:
    plan = planned({"a": {}, "s": SWITCH}, [{"endpoints": ["a", {"node": "s", "vlan": vlan}]}])
    assert in_order(plan, said, "raise s:br0")


@pytest.mark.parametrize(
    ("vlan", "leaves"),
    [
        ({"access": 7}, True),
        ({"trunk": [7, 9]}, True),
        ({"trunk": 9, "native": 7}, True),
        ({"access": 1}, False),
        ({"trunk": [1, 7]}, False),
        ({"trunk": [7], "native": 1}, False),
    ],
)
def test_a_port_leaves_the_vlan_that_every_new_port_is_in_unless_it_asks_for_it(vlan: Data, leaves: bool) -> None:
    plan = planned({"a": {}, "s": SWITCH}, [{"endpoints": ["a", {"node": "s", "vlan": vlan}]}])
    assert ("take s:a-eth0 out of VLAN 1, which every new port is in" in words(plan)) == leaves


def test_routes_rules_impairments_and_neighbours_come_last() -> None:
    node = {
        "routes": {"to": "default", "via": "10.0.0.2"},
        "rules": {"from": "10.0.0.0/8", "table": 7, "priority": 100},
        "neighbours": [
            {"address": "10.0.0.2", "dev": "eth0", "mac": "02:00:00:00:00:02"},
            {"address": "10.0.0.9", "dev": "eth0", "proxy": True},
        ],
    }
    plan = planned(
        {"a": node, "b": {}},
        [
            {
                "endpoints": [{"node": "a", "netem": {"loss": "0.5%"}}, "b"],
                "addresses": {"a": "10.0.0.1/24"},
                "offloads": {"tso": False},
            }
        ],
    )
    assert [step.describe() for step in plan.steps if step.node == "a"][2:] == [
        "set offloads of a:eth0: tso off",
        "raise a:lo",
        "raise a:eth0",
        "add 10.0.0.1/24 to a:eth0",
        "add the route default via 10.0.0.2 on a",
        "add the rule from 10.0.0.0/8 table 7 priority 100 on a",
        "impair what a:eth0 sends: loss 0.5 %",
        "add the neighbour 02:00:00:00:00:02 for 10.0.0.2 at a:eth0",
        "answer as proxy for 10.0.0.9 at a:eth0",
    ]
    last = plan.steps[-3:]
    assert [step.node for step in last] == ["b", "a", "a"], "neighbours wait for the other ends to be raised"


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"to": "0.0.0.0/0", "via": "10.0.0.2"}, "default via 10.0.0.2"),
        ({"to": "default", "via": "fe80::2", "dev": "eth0"}, "default (IPv6) via fe80::2 dev eth0"),
        ({"to": "::/0", "dev": "eth0"}, "default (IPv6) dev eth0"),
        (
            {"to": "10.9.0.0/16", "via": "10.0.0.2", "dev": "eth0", "src": "10.0.0.1", "metric": 0},
            "10.9.0.0/16 via 10.0.0.2 dev eth0 src 10.0.0.1 metric 0",
        ),
        (
            {"to": "10.9.0.0/16", "nexthops": [{"via": "10.0.0.2"}, {"dev": "eth0"}], "table": 7},
            "10.9.0.0/16 nexthop 10.0.0.2 nexthop eth0 table 7",
        ),
        ({"to": "10.9.0.0/16", "type": "blackhole", "table": "local"}, "blackhole 10.9.0.0/16 table local"),
        (
            {"to": "10.9.0.0/16", "via": "10.1.0.1", "dev": "eth0", "onlink": True, "mtu": 1400},
            "10.9.0.0/16 via 10.1.0.1 dev eth0 mtu 1400 onlink",
        ),
    ],
)
def test_a_route_in_words(route: Data, said: str) -> None:
    plan = planned({"a": {"routes": route}, "b": {}}, [{"endpoints": ["a", "b"], "addresses": {"a": "10.0.0.1/24"}}])
    assert f"add the route {said} on a" in words(plan)


@pytest.mark.parametrize(
    ("netem", "said"),
    [
        ({"delay": "10ms", "jitter": "1500us"}, "delay 10 ms, jitter 1.5 ms"),
        (
            {"delay": "1s", "reorder": 25, "loss": "1.5%", "duplicate": 2},
            "delay 1000 ms, loss 1.5 %, duplicate 2 %, reorder 25 %",
        ),
        ({"rate": "2.5mbit"}, "rate 2.5 Mbit/s"),
    ],
)
def test_an_impairment_in_words(netem: Data, said: str) -> None:
    assert f"impair what a:eth0 sends: {said}" in words(
        planned({"a": {}, "b": {}}, [{"endpoints": ["a", "b"], "netem": netem}])
    )


@pytest.mark.parametrize(
    ("netem", "without_netem", "with_tbf"),
    [({"rate": "1mbit"}, True, True), ({"rate": "1mbit"}, False, False), ({"rate": "1mbit", "loss": 1}, True, False)],
)
def test_tbf_keeps_a_rate_where_there_is_no_netem_and_nothing_else_is_asked(
    netem: Data, without_netem: bool, with_tbf: bool
) -> None:
    plan = planned({"a": {}, "b": {}}, [{"endpoints": [{"node": "a", "netem": netem}, "b"]}], without_netem)
    assert [step.with_tbf for step in plan.steps if isinstance(step, Impair)] == [with_tbf]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"address": "2001:db8::1/64", "nodad": True}, "add 2001:db8::1/64 to a:d nodad"),
        ({"address": "2001:db8::1/64", "optimistic": True}, "add 2001:db8::1/64 to a:d optimistic"),
        ({"address": "10.0.0.1/32", "peer": "10.0.0.2/32"}, "add 10.0.0.1/32 peer 10.0.0.2/32 to a:d"),
    ],
)
def test_an_address_in_words(address: Data, said: str) -> None:
    assert said in words(planned({"a": {"interfaces": {"d": {"kind": "dummy", "addresses": address}}}}))


def test_mtu_and_mac_are_told_with_the_device() -> None:
    device = {"kind": "dummy", "mtu": 1400, "mac": "02:00:00:00:00:01"}
    assert "make the dummy a:d (mtu 1400, mac 02:00:00:00:00:01)" in words(planned({"a": {"interfaces": {"d": device}}}))


def test_a_step_without_words_of_its_own_has_none() -> None:
    with pytest.raises(NotImplementedError):
        Step("a").describe()


def test_where_the_kernel_has_no_dummy_what_stands_in_for_it_is_made_and_said() -> None:
    nodes: Data = {"a": {"interfaces": {"d": {"kind": "dummy", "otherwise": "ifb"}, "e": {"kind": "dummy"}}}}
    topology = parse({"name": "x", "nodes": nodes, "links": []})
    made = [step for step in make_plan(topology, without_dummy=True).steps if isinstance(step, MakeDevice)]
    assert [step.describe() for step in made] == ["make the ifb a:d, for this kernel has no dummy", "make the dummy a:e"]
    assert [step.interface.kind for step in make_plan(topology).steps if isinstance(step, MakeDevice)] == ["dummy", "dummy"]
