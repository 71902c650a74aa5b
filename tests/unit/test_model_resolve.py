"""From the file to the topology: names, numbers, order, and what an interface gets from its link, its node and the defaults."""

from __future__ import annotations

import pytest

from lab.model import Interface, Topology, parse
from lab.model.file import Bridge

Data = dict[str, object]


def built(nodes: Data, links: list[Data] | None = None, **more: object) -> Topology:
    return parse({"name": "x", "nodes": nodes, "links": links or [], **more})


def names(topology: Topology, node: str) -> list[str]:
    return [each.name for each in topology.nodes[node].interfaces]


def end(topology: Topology, node: str, name: str = "eth0") -> Interface:
    return topology.nodes[node].interface(name)


SWITCH: Data = {"kind": "switch"}


def test_every_node_has_a_loopback_first_with_index_1() -> None:
    topology = built({"a": {}, "b": None}, [{"endpoints": ["a", "b"]}])
    for node in topology.nodes.values():
        assert (node.interfaces[0].name, node.interfaces[0].kind, node.interfaces[0].index) == ("lo", "lo", 1)


def test_the_ends_at_a_host_are_called_eth0_eth1_in_the_order_of_the_links() -> None:
    topology = built({"a": {}, "b": {}, "c": {}}, [{"endpoints": ["a", "b"]}, {"endpoints": ["c", "a"]}])
    assert (names(topology, "a"), names(topology, "b"), names(topology, "c")) == (
        ["lo", "eth0", "eth1"],
        ["lo", "eth0"],
        ["lo", "eth0"],
    )
    assert end(topology, "a", "eth1").peer == ("c", "eth0")
    assert end(topology, "c").peer == ("a", "eth1")


def test_a_name_that_an_earlier_link_has_taken_is_passed_over() -> None:
    topology = built({"a": {}, "b": {}}, [{"endpoints": ["a:eth0", "b"]}, {"endpoints": ["a", "b"]}])
    assert names(topology, "a") == ["lo", "eth0", "eth1"]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [(["a", "a"], ["eth0", "eth1"]), (["a", "a:eth0"], ["eth1", "eth0"]), (["a:eth0", "a"], ["eth0", "eth1"])],
)
def test_both_ends_of_a_link_may_be_on_one_node(ends: list[str], expected: list[str]) -> None:
    topology = built({"a": {}}, [{"endpoints": ends}])
    (link,) = topology.links
    assert [link.near.name, link.far.name] == expected


@pytest.mark.parametrize(
    ("host", "interface", "port"),
    [
        ("a", None, "a-eth0"),
        ("a", "wan", "a-wan"),
        ("node-of10", None, "node-of10-eth0"),
        ("node-of-10", None, "node-of-10-eth0"),
        ("node-of--11", None, "p1"),
        ("a", "eth0123456789", "a-eth0123456789"),
        ("a", "eth01234567890", "p1"),
    ],
)
def test_a_port_is_called_after_what_it_leads_to_or_p1_where_that_is_over_15_characters(
    host: str, interface: str | None, port: str
) -> None:
    ends = [{"node": host, "interface": interface}, "s"]
    topology = built({host: {}, "s": SWITCH}, [{"endpoints": ends}])
    (link,) = topology.links
    assert link.near.name == port
    assert len(port) <= 15


def test_ports_that_fall_back_are_numbered_per_switch() -> None:
    long = "a-very-long-name-of-a-host"
    nodes: Data = {f"{long}-{number}": {} for number in range(3)} | {"s": SWITCH, "t": SWITCH}
    links: list[Data] = [{"endpoints": [f"{long}-{number}", "s"]} for number in range(3)]
    topology = built(nodes, [*links, {"endpoints": ["t", f"{long}-0"]}])
    assert [link.near.name for link in topology.links] == ["p1", "p2", "p3", "p1"]


def test_a_port_whose_name_is_taken_falls_back_too() -> None:
    topology = built({"a": {}, "b": {}, "s": SWITCH}, [{"endpoints": ["b", "s:a-eth0"]}, {"endpoints": ["a", "s"]}])
    assert [link.near.name for link in topology.links] == ["a-eth0", "p1"]


def test_the_ports_of_a_cable_between_switches_are_called_after_the_other_switch() -> None:
    (link,) = built({"s": SWITCH, "t": SWITCH}, [{"endpoints": ["s", "t"]}]).links
    assert (str(link.near), str(link.far)) == ("t:s-t", "s:t")


@pytest.mark.parametrize("ends", [["a", "s"], ["s", "a"]])
def test_a_switch_is_at_the_near_end_of_its_links(ends: list[str]) -> None:
    (link,) = built({"a": {}, "s": SWITCH}, [{"endpoints": ends}]).links
    assert (str(link.near), str(link.far)) == ("s:a-eth0", "a:eth0")


def test_no_two_interfaces_of_a_lab_have_the_same_index_but_loopbacks() -> None:
    devices: Data = {"d": {"kind": "dummy"}, "v": {"kind": "vlan", "parent": "d", "id": 7}}
    nodes: Data = {f"n{number}": {"interfaces": devices} for number in range(4)} | {"s": SWITCH}
    topology = built(nodes, [{"endpoints": [f"n{number}", "s"]} for number in range(4)])
    indexes = [each.index for each in topology.interfaces() if each.name != "lo"]
    assert sorted(indexes) == list(range(2, 2 + len(indexes)))


def test_interfaces_stand_in_the_order_of_the_file_and_link_ends_that_it_does_not_list_come_last() -> None:
    topology = built(
        {"a": {"interfaces": {"eth1": None, "d": {"kind": "dummy"}}}, "b": {}},
        [{"endpoints": ["a", "b"]}, {"endpoints": ["a", "b"]}],
    )
    assert names(topology, "a") == ["lo", "eth1", "d", "eth0"]


def test_what_is_stood_on_comes_before_what_stands_on_it() -> None:
    devices: Data = {
        "br7": {"kind": "bridge", "members": ["bond0.7"]},
        "bond0.7": {"kind": "vlan", "parent": "bond0", "id": 7},
        "bond0": {"kind": "bond", "members": ["eth1", "eth0"]},
    }
    topology = built({"a": {"interfaces": devices}, "b": {}}, [{"endpoints": ["a", "b"]}, {"endpoints": ["a", "b"]}])
    assert names(topology, "a") == ["lo", "eth1", "eth0", "bond0", "bond0.7", "br7"]
    assert [each.index for each in topology.nodes["a"].interfaces] == [1, 2, 3, 4, 5, 6]


def test_members_know_their_master_and_uppers_their_parent() -> None:
    devices: Data = {
        "bond0": {"kind": "bond", "members": "eth0"},
        "red": {"kind": "vrf", "table": 7, "members": ["v"]},
        "v": {"kind": "vlan", "parent": "bond0", "id": 7},
    }
    topology = built({"a": {"interfaces": devices}, "b": {}}, [{"endpoints": ["a", "b"]}])
    assert {each.name: (each.parent, each.master) for each in topology.nodes["a"].interfaces} == {
        "lo": (None, None),
        "eth0": (None, "bond0"),
        "bond0": (None, None),
        "v": ("bond0", "red"),
        "red": (None, None),
    }


def bridge_of(topology: Topology, node: str = "s") -> Bridge:
    spec = end(topology, node, "br0").spec
    assert isinstance(spec, Bridge)
    return spec


def test_a_switch_has_a_bridge_that_all_its_ports_belong_to() -> None:
    topology = built({"a": {}, "s": SWITCH}, [{"endpoints": ["a", "s"]}, {"endpoints": ["s:uplink", "a"]}])
    assert {each.name: each.master for each in topology.nodes["s"].interfaces} == {
        "lo": None,
        "br0": None,
        "a-eth0": "br0",
        "uplink": "br0",
    }
    assert not bridge_of(topology).vlan_filtering


def test_the_bridge_of_a_switch_is_vlan_aware_once_a_port_has_vlans() -> None:
    port = {"node": "s", "vlan": {"access": 7}}
    assert bridge_of(built({"a": {}, "s": SWITCH}, [{"endpoints": ["a", port]}])).vlan_filtering
    own: Data = {"kind": "switch", "interfaces": {"a-eth0": {"vlan": {"trunk": [7]}}}}
    assert bridge_of(built({"a": {}, "s": own}, [{"endpoints": ["a", "s"]}])).vlan_filtering


def test_a_switch_may_say_itself_what_its_bridge_is() -> None:
    own: Data = {"kind": "switch", "interfaces": {"br0": {"kind": "bridge", "stp": True, "mtu": 1400}}}
    topology = built({"a": {}, "s": own}, [{"endpoints": ["a", "s"]}])
    assert bridge_of(topology).stp
    assert end(topology, "s", "br0").mtu == 1400
    assert end(topology, "s", "a-eth0").master == "br0"


def test_an_end_gathers_what_its_link_its_endpoint_and_its_node_say() -> None:
    topology = built(
        {"a": {"interfaces": {"eth0": {"addresses": "10.0.0.2/24", "mac": "02:00:00:00:00:0A"}}}, "b": {}},
        [
            {
                "endpoints": [{"node": "a", "addresses": ["10.0.0.1/24"], "sysctls": {"ipv4.rp_filter": True}}, "b"],
                "addresses": {"a:eth0": "10.0.0.3/24"},
                "mtu": "1400",
                "offloads": {"tso": False},
            }
        ],
    )
    eth0 = end(topology, "a")
    assert [str(each.address) for each in eth0.addresses] == ["10.0.0.1/24", "10.0.0.3/24", "10.0.0.2/24"]
    assert (eth0.mtu, eth0.mac, eth0.sysctls, eth0.offloads) == (
        1400,
        "02:00:00:00:00:0a",
        {"ipv4.rp_filter": "1"},
        {"tso": False},
    )
    assert (end(topology, "b").mtu, end(topology, "b").mac) == (1400, None)


def test_an_endpoint_prevails_over_its_link_and_a_link_over_the_defaults() -> None:
    topology = built(
        {"a": {}, "b": {}, "c": {}},
        [
            {"endpoints": [{"node": "a", "mtu": 1300, "netem": {"loss": 1}}, "b"], "mtu": 1400, "netem": {"loss": 2}},
            {"endpoints": ["b", "c"], "offloads": {"tso": True}},
        ],
        defaults={"links": {"mtu": 1450, "netem": {"loss": 3}, "offloads": {"tso": False, "gso": False}}},
    )
    a, b, c = end(topology, "a"), end(topology, "b"), end(topology, "c")
    assert (a.mtu, b.mtu, c.mtu) == (1300, 1400, 1450)
    assert [each.netem and each.netem.loss for each in (a, b, c)] == [1, 2, 3]
    assert a.offloads == {"tso": False, "gso": False}
    assert c.offloads == {"tso": True, "gso": False}
    assert (a.where("mtu"), b.where("mtu"), c.where("mtu")) == (
        ("links", 0, "endpoints", 0, "mtu"),
        ("links", 0, "mtu"),
        ("defaults", "links", "mtu"),
    )


@pytest.mark.parametrize("where", ["defaults", "link", "endpoint", "node"])
def test_what_is_down_in_one_place_is_down(where: str) -> None:
    down = {"up": False}
    topology = built(
        {"a": {"interfaces": {"eth0": down if where == "node" else {}}}, "b": {}},
        [{"endpoints": [{"node": "a", **(down if where == "endpoint" else {})}, "b"], **(down if where == "link" else {})}],
        defaults={"links": down if where == "defaults" else {}},
    )
    assert not end(topology, "a").up
    assert end(topology, "b").up == (where in ("endpoint", "node"))


def test_defaults_reach_every_node_that_does_not_speak_for_itself() -> None:
    topology = built(
        {"a": {}, "b": {"kind": "host", "sysctls": {"net.ipv4.ip_forward": 0}, "rules": []}, "s": None},
        defaults={
            "nodes": {
                "kind": "router",
                "sysctls": {"net.ipv4.ip_forward": 1, "net.ipv4.ip_default_ttl": 33},
                "rules": {"from": "10.0.0.0/8", "table": 7},
            }
        },
    )
    a, b = topology.nodes["a"], topology.nodes["b"]
    assert (a.kind, b.kind, topology.nodes["s"].kind) == ("router", "host", "router")
    assert a.sysctls == {"net.ipv4.ip_forward": "1", "net.ipv4.ip_default_ttl": "33"}
    assert b.sysctls == {"net.ipv4.ip_forward": "0", "net.ipv4.ip_default_ttl": "33"}
    assert (len(a.rules), len(b.rules)) == (1, 0)


@pytest.mark.parametrize(
    ("own", "link", "default", "expected"),
    [
        (None, None, None, None),
        (None, None, True, True),
        (None, False, True, False),
        (None, True, None, True),
        (False, True, True, False),
        (True, False, None, True),
    ],
)
def test_an_ipv6_address_skips_detection_as_itself_its_link_or_the_defaults_say(
    own: bool | None, link: bool | None, default: bool | None, expected: bool | None
) -> None:
    topology = built(
        {"a": {}, "b": {}},
        [
            {
                "endpoints": ["a", "b"],
                "nodad": link,
                "addresses": {"a": [{"address": "2001:db8::1/64", "nodad": own}, "10.0.0.1/24"]},
            }
        ],
        defaults={"links": {"nodad": default}},
    )
    v6, v4 = end(topology, "a").addresses
    assert (v6.nodad, v4.nodad) == (expected, None)


def test_nodad_of_a_link_is_not_that_of_other_devices() -> None:
    devices: Data = {"d": {"kind": "dummy", "addresses": "2001:db8:1::1/64"}}
    topology = built({"a": {"interfaces": devices}, "b": {}}, [{"endpoints": ["a", "b"], "nodad": True}])
    assert end(topology, "a", "d").addresses[0].nodad is None


def test_a_topology_names_the_features_that_it_needs_and_the_places_that_ask() -> None:
    devices: Data = {"d": {"kind": "dummy", "netem": {"delay": "3ms"}}, "v": {"kind": "vlan", "parent": "d", "id": 7}}
    topology = built(
        {"a": {"interfaces": devices}, "s": SWITCH},
        [{"endpoints": ["a", {"node": "s", "vlan": {"access": 7}}], "netem": {"rate": "10mbit"}}],
    )
    assert sorted(topology.needs(), key=str) == sorted(
        [
            ("dummy", ("nodes", "a", "interfaces", "d")),
            ("netem", ("nodes", "a", "interfaces", "d", "netem")),
            ("vlan", ("nodes", "a", "interfaces", "v")),
            ("bridge", ("nodes", "s")),
            ("vlan_filtering", ("nodes", "s")),
            ("netem or tbf", ("links", 0, "netem")),
            ("netem or tbf", ("links", 0, "netem")),
        ],
        key=str,
    )


def test_a_dummy_may_be_otherwise_and_a_file_may_ask_for_features_itself() -> None:
    devices: Data = {"d": {"kind": "dummy", "otherwise": "ifb"}}
    topology = parse({"name": "x", "needs": ["nfsd", "bond"], "nodes": {"a": {"interfaces": devices}}})
    assert list(topology.needs()) == [
        ("nfsd", ("needs", 0)),
        ("bond", ("needs", 1)),
        ("dummy or ifb", ("nodes", "a", "interfaces", "d")),
    ]


def test_two_hosts_on_a_wire_need_nothing() -> None:
    assert not list(built({"a": {}, "b": {}}, [{"endpoints": ["a", "b"]}]).needs())
