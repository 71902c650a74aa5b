"""Every kind of link: made as the file says where the kernel has it, refused with its place in the file where it has not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import lab as command
from support.world import look

from lab import HostError, Lab, TopologyError, host, live, recipe
from lab.substrate import features

pytestmark = pytest.mark.root

Write = Callable[[str], Path]

KINDS = """\
name: {name}
nodes:
  lan: {{kind: switch}}
  a:
    interfaces:
      eth0: {{}}
      i: {{kind: ifb, mtu: 1400, mac: "02:00:00:00:00:0b", addresses: 10.7.0.1/32}}
      mv0: {{kind: macvlan, parent: eth0, mode: private, addresses: 10.0.0.77/24}}
      vx: {{kind: vxlan, id: 7, port: 4790, local: 10.0.0.1, remote: 10.0.0.2, parent: eth0, learning: false,
            addresses: 10.3.0.1/24}}
      vx6: {{kind: vxlan, id: 8, local: "2001:db8::1", remote: "2001:db8::2"}}
      br7: {{kind: bridge, members: [eth1, i], stp: true, forward_delay: 2.5, ageing: 20, mcast_snooping: true}}
      off: {{kind: ifb, up: false}}
  b:
    interfaces:
      lo: {{addresses: 10.5.5.5/32, mtu: 9000}}
      vx: {{kind: vxlan, id: 7, port: 4790, local: 10.0.0.2, remote: 10.0.0.1, parent: eth0, learning: false,
            addresses: 10.3.0.2/24}}
      mv0: {{kind: macvlan, parent: eth0, addresses: 10.0.0.78/24}}
links:
  - endpoints: [{{node: a, interface: eth0, mac: "02:00:00:00:00:0a"}}, {{node: lan, interface: port1, mtu: 8000}}]
    addresses: {{a: [10.0.0.1/24, "2001:db8::1/64"]}}
    mtu: 9000
  - {{endpoints: ["b:eth0", lan], addresses: {{b: [10.0.0.2/24, "2001:db8::2/64"]}}, mtu: 9000}}
  - {{endpoints: ["a:eth1", "b:eth1"]}}
  - {{endpoints: ["b:left", "b:right"]}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    file = tmp_path_factory.mktemp("kinds") / "kinds.yaml"
    file.write_text(KINDS.format(name="kinds"))
    with Lab.up(file, name=live.unique_name("kinds")) as lab:
        for node in lab:
            node.init()
        yield lab


def link(lab: Lab, node: str, device: str) -> dict[str, Any]:
    """A device as ip(8) tells it."""
    found: dict[str, Any] = json.loads(lab[node].run(["ip", "-j", "-d", "link", "show", "dev", device]).stdout)[0]
    return found


def data(lab: Lab, node: str, device: str) -> dict[str, Any]:
    info: dict[str, Any] = link(lab, node, device)["linkinfo"]["info_data"]
    return info


def test_a_veth_has_its_name_mac_mtu_and_its_peer_in_the_other_namespace(lab: Lab) -> None:
    eth0, port = link(lab, "a", "eth0"), link(lab, "lan", "port1")
    assert (eth0["linkinfo"]["info_kind"], eth0["address"], eth0["mtu"]) == ("veth", "02:00:00:00:00:0a", 9000)
    assert (eth0["link_index"], port["link_index"]) == (port["ifindex"], eth0["ifindex"])
    assert eth0["operstate"] == port["operstate"] == "UP"


def test_each_end_of_a_link_can_have_an_mtu_of_its_own(lab: Lab) -> None:
    assert (link(lab, "a", "eth0")["mtu"], link(lab, "lan", "port1")["mtu"]) == (9000, 8000)


def test_a_veth_can_have_both_ends_on_one_node(lab: Lab) -> None:
    left, right = link(lab, "b", "left"), link(lab, "b", "right")
    assert (left["link"], right["link"]) == ("right", "left")


def test_a_switch_is_a_bridge_whose_ports_are_raised_and_named_after_what_they_lead_to(lab: Lab) -> None:
    assert link(lab, "lan", "br0")["linkinfo"]["info_kind"] == "bridge"
    for port in ("port1", "b-eth0"):
        found = link(lab, "lan", port)
        assert found["master"] == "br0"
        assert "UP" in found["flags"]
        assert found["linkinfo"]["info_slave_data"]["state"] == "forwarding"


def test_a_switch_forwards_at_once_and_speaks_neither_stp_nor_igmp(lab: Lab) -> None:
    told = data(lab, "lan", "br0")
    assert (told["forward_delay"], told["stp_state"], told["mcast_snooping"]) == (0, 0, 0)


def test_a_bridge_has_its_members_and_times(lab: Lab) -> None:
    told = data(lab, "a", "br7")
    assert (told["stp_state"], told["forward_delay"], told["ageing_time"], told["mcast_snooping"]) == (1, 250, 2000, 1)
    assert link(lab, "a", "eth1")["master"] == link(lab, "a", "i")["master"] == "br7"


def test_an_ifb_has_its_mac_and_mtu(lab: Lab) -> None:
    told = link(lab, "a", "i")
    assert (told["linkinfo"]["info_kind"], told["address"], told["mtu"]) == ("ifb", "02:00:00:00:00:0b", 1400)


def test_a_macvlan_stands_on_its_parent_in_its_mode(lab: Lab) -> None:
    assert (link(lab, "a", "mv0")["link"], data(lab, "a", "mv0")["mode"]) == ("eth0", "private")
    assert data(lab, "b", "mv0")["mode"] == "bridge"


def test_a_macvlan_answers_to_another_host(lab: Lab) -> None:
    lab["a"].run(["ping", "-c1", "-W5", "-I", "10.0.0.1", "10.0.0.78"])


def test_a_vxlan_has_its_number_port_and_ends(lab: Lab) -> None:
    told = data(lab, "a", "vx")
    assert (told["id"], told["port"], told["local"], told["remote"], told["learning"]) == (
        7,
        4790,
        "10.0.0.1",
        "10.0.0.2",
        False,
    )
    assert told["link"] == "eth0"
    told = data(lab, "a", "vx6")
    assert (told["id"], told["port"], told["local6"], told["remote6"], told["learning"]) == (
        8,
        4789,
        "2001:db8::1",
        "2001:db8::2",
        True,
    )


def test_a_vxlan_carries_a_ping(lab: Lab) -> None:
    lab["a"].run(["ping", "-c1", "-W5", "10.3.0.2"])


def test_lo_has_its_further_address_and_mtu(lab: Lab) -> None:
    told = json.loads(lab["b"].run(["ip", "-j", "addr", "show", "lo"]).stdout)[0]
    assert told["mtu"] == 9000
    assert {"127.0.0.1", "10.5.5.5", "::1"} <= {each["local"] for each in told["addr_info"]}


def test_what_is_told_to_stay_down_stays_down(lab: Lab) -> None:
    assert "UP" not in link(lab, "a", "off")["flags"]


def test_no_two_devices_of_a_lab_have_one_index_so_that_carriers_come_at_once(lab: Lab) -> None:
    told = [
        each["ifindex"] for node in lab for each in json.loads(node.run(["ip", "-j", "link"]).stdout) if each["ifname"] != "lo"
    ]
    assert len(told) == len(set(told)) == 17


def test_a_rate_is_kept_by_netem_or_where_there_is_none_by_tbf(topology: Write) -> None:
    text = "name: {name}\nnodes: {{a: {{}}, b: {{}}}}\nlinks: [{{endpoints: [a, {{node: b, netem: {{rate: 80mbit}}}}]}}]\n"
    with Lab.up(topology(text)) as lab:
        shaped, plain = (json.loads(lab[node].run(["tc", "-j", "qdisc", "show", "dev", "eth0"]).stdout) for node in "ba")
    assert [each["kind"] for each in plain] == ["noqueue"]
    rate = 10_000_000  # bytes a second
    if features.missing(["netem"]):
        assert (shaped[0]["kind"], shaped[0]["options"]["rate"]) == ("tbf", rate)
    else:
        assert (shaped[0]["kind"], shaped[0]["options"]["rate"]["rate"]) == ("netem", rate)


OTHERS: dict[str, tuple[str, dict[str, object]]] = {
    "vlan": ("x: {kind: vlan, parent: eth0, id: 7}", {"id": 7, "protocol": "802.1Q"}),
    "dummy": ("x: {kind: dummy}", {}),
    "bond": ("x: {kind: bond, members: [eth0], mode: 802.3ad, miimon: 50}", {"mode": "802.3ad", "miimon": 50}),
    "vrf": ("x: {kind: vrf, table: 7, members: [eth0]}", {"table": 7}),
    "vlan_filtering": ("x: {kind: bridge, vlan_filtering: true, members: [eth0]}", {"vlan_filtering": 1}),
    "netem": ("eth0: {netem: {delay: 10ms, loss: 1%}}", {}),
}
"""Kinds that a small kernel may lack: the feature, an interface that needs it, and what ip(8) then tells of x."""


@pytest.mark.parametrize("feature", OTHERS)
def test_what_this_kernel_lacks_is_refused_at_its_place_and_nothing_is_made(tmp_path: Path, name: str, feature: str) -> None:
    interface, told = OTHERS[feature]
    file = tmp_path / "topology.yaml"
    lines = [
        f"name: {name}",
        "nodes:",
        "  b: {}",
        "  a:",
        "    interfaces:",
        f"      {interface}",
        "links: [{endpoints: [a, b]}]",
    ]
    file.write_text("\n".join(lines))
    if not features.missing([feature]):
        with Lab.up(file) as lab:
            assert interface.startswith("eth0") or told.items() <= data(lab, "a", "x").items()
        return
    before, steps = look(), list[object]()
    with pytest.raises(HostError) as caught:
        Lab.up(file, on_step=steps.append)
    (problem,) = caught.value.problems
    assert (steps, look()) == ([], before)
    assert problem.message == f"this kernel has no {feature.replace('_', ' ')}"
    assert problem.place is not None
    assert (problem.place.file, problem.place.line) == (str(file), 6)
    said = command("up", file)
    assert (said.status, said.stdout) == (3, "")
    assert str(problem) in said.stderr
    assert look() == before


def test_everything_that_is_missing_is_told_at_once(topology: Write) -> None:
    text = "name: {name}\nnodes:\n  a:\n    interfaces:\n      d: {{kind: dummy}}\n      v: {{kind: vrf, table: 7}}\n"
    lines = {"dummy": 5, "vrf": 6}
    missing = features.missing(lines)
    problems = host.missing_features(recipe.read(topology(text)))
    assert [problem.place and problem.place.line for problem in problems] == [lines[each] for each in sorted(missing)]


@pytest.mark.parametrize(
    ("links", "place"),
    [
        ("links: [{{endpoints: [{{node: a, netem: {{loss: 1%}}}}, b]}}]", "endpoints"),
        ("links: [{{endpoints: [a, b], netem: {{loss: 1%}}}}]", "the link"),
        ("links: [{{endpoints: [a, b]}}]\ndefaults: {{links: {{netem: {{loss: 1%}}}}}}", "defaults"),
    ],
)
def test_netem_is_asked_for_where_the_file_says_it(topology: Write, links: str, place: str) -> None:
    file = topology("name: {name}\nnodes: {{a: {{}}, b: {{}}}}\n" + links)
    document = (read := recipe.read(file)).document
    places = [document.place(path) for feature, path in read.topology.needs() if feature == "netem"]
    for found in places:
        assert file.read_text().splitlines()[found.line - 1][found.column - 1 :].startswith("{loss: 1%}"), place


def test_a_switch_with_vlans_on_its_ports_needs_vlan_filtering(topology: Write) -> None:
    text = "name: x\nnodes: {{a: {{}}, lan: {{kind: switch}}}}\nlinks:\n- endpoints: [a, {{node: lan, vlan: {{access: 7}}}}]"
    needs = [feature for feature, _ in recipe.read(topology(text)).topology.needs()]
    assert needs == ["bridge", "vlan_filtering"]


def test_asking_for_features_makes_nothing_anywhere() -> None:
    before = look()
    assert features.missing([]) == set()
    assert features.missing([*features.KINDS, "vlan_filtering", "netem", "tbf"]) <= {
        *features.KINDS,
        "vlan_filtering",
        "netem",
        "tbf",
    }
    assert look() == before


def test_an_alternative_is_missing_only_where_each_of_it_is() -> None:
    assert features.missing(["veth or dummy", "dummy or vrf or veth"]) == set()


def test_a_dummy_that_may_be_otherwise_is_made_of_what_the_kernel_has(topology: Write) -> None:
    if features.missing(["dummy or ifb"]):
        pytest.skip("this kernel has neither")
    text = "name: {name}\nnodes: {{a: {{interfaces: {{d: {{kind: dummy, otherwise: ifb, addresses: 10.0.0.1/32}}}}}}}}\n"
    with Lab.up(topology(text)) as lab:
        link = json.loads(lab["a"].run(["ip", "-j", "-d", "link", "show", "d"]).stdout)[0]
    assert link["linkinfo"]["info_kind"] == ("ifb" if features.missing(["dummy"]) else "dummy")


def test_a_feature_that_a_file_asks_for_is_missed_by_its_name(topology: Write) -> None:
    text = "name: {name}\nneeds: [bond, nfsd, bridge]\nnodes: {{a: {{}}}}\n"
    problems = host.missing_features(recipe.read(topology(text)))
    missing = [name for name in ("bond", "nfsd", "bridge") if features.missing([name])]
    assert [problem.message for problem in problems] == [f"this kernel has no {name}" for name in missing]
    with pytest.raises(TopologyError, match="no kernel has a feature 'nfds'"):
        host.missing_features(recipe.read(topology("name: {name}\nneeds: nfds\nnodes: {{a: {{}}}}\n")))
