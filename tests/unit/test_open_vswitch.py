"""Nodes of kind ovs, without a kernel: what they mean, what of them is refused, the steps that make them, and what is written
into their databases."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import recipe
from lab.drawing import mermaid, picture, svg
from lab.errors import TopologyError
from lab.model.file import PortVlan
from lab.plan import Plan, make_plan
from lab.steps import AddAddress, AddOvsPort, AddRoute, MakeDevice, MakeOvsBridge, StartService, renumbered
from lab.substrate import ovsdb

Data = dict[str, Any]
SWITCHED = """\
name: x
nodes:
  sw:
    kind: ovs
    interfaces:
      br0: {kind: internal, addresses: 10.0.0.9/24}
      in7: {kind: internal, vlan: {access: 7}, mac: "02:00:00:00:00:07", mtu: 1400, addresses: 10.7.0.9/24}
      up7: {kind: macvlan, parent: in7}
    routes: [{to: 10.9.0.0/16, via: 10.7.0.1}]
  a: {}
  b: {}
  c: {}
links:
  - {endpoints: ["a:eth0", {node: sw, vlan: {access: 7}}], addresses: {a: 10.7.0.1/24}}
  - {endpoints: ["b:eth0", {node: sw, vlan: {trunk: [7, 8], native: 9}}]}
  - {endpoints: ["c:eth0", sw], addresses: {c: 10.0.0.3/24}, offloads: {tso: false}}
"""


def read(tmp_path: Path, text: str = SWITCHED) -> recipe.Recipe:
    (tmp_path / "x.yaml").write_text(text)
    return recipe.read(tmp_path / "x.yaml")


def planned(tmp_path: Path, text: str = SWITCHED, kernel: bool = False) -> Plan:
    found = read(tmp_path, text)
    return make_plan(found.topology, found.services, kernel_datapath=kernel)


def words(plan: Plan) -> list[str]:
    return [step.describe() for step in plan.steps]


def refused(tmp_path: Path, text: str) -> list[tuple[int, int, str, str | None]]:
    with pytest.raises(TopologyError) as caught:
        read(tmp_path, text)
    return [(each.place.line, each.place.column, each.message, each.hint) for each in caught.value.problems if each.place]


# -- what it means


def test_a_node_of_that_kind_has_its_daemons_and_its_own_bridge_without_being_told(tmp_path: Path) -> None:
    found = read(tmp_path, "name: x\nnodes: {sw: {kind: ovs, services: {probe: {command: [sleep, infinity]}}}}\n")
    assert list(found.topology.nodes["sw"].services) == ["ovsdb-server", "ovs-vswitchd", "probe"]
    assert [each.name for each in found.topology.nodes["sw"].interfaces] == ["lo", "br0"]
    assert [each.name for each in found.services] == ["ovsdb-server", "ovs-vswitchd", "probe"]


def test_its_daemons_take_what_the_file_says_of_them(tmp_path: Path) -> None:
    found = read(tmp_path, "name: x\nnodes: {sw: {kind: ovs, services: {ovs-vswitchd: {timeout: 3}}}}\n")
    assert {each.name: each.timeout for each in found.services} == {"ovsdb-server": 10.0, "ovs-vswitchd": 3.0}


@pytest.mark.parametrize(
    ("datapath", "needs"),
    [("auto", "openvswitch or tun"), ("userspace", "tun"), ("kernel", "openvswitch")],
)
def test_a_datapath_needs_what_it_is_made_of(tmp_path: Path, datapath: str, needs: str) -> None:
    found = read(tmp_path, f"name: x\nnodes: {{sw: {{kind: ovs, datapath: {datapath}}}}}\n")
    assert [feature for feature, _ in found.topology.needs()] == [needs]


HEARS = """\
name: x
nodes: {{sw: {{kind: ovs}}, a: {{}}, b: {{}}}}
links:
  - {{endpoints: [a, {{node: sw, vlan: {one}}}], addresses: {{a: 10.0.0.1/24}}}}
  - {{endpoints: [b, {{node: sw, vlan: {other}}}], addresses: {{b: 10.0.0.1/24}}}}
"""


@pytest.mark.parametrize(
    ("one", "other", "heard"),
    [
        ("{access: 7}", "{access: 7}", True),
        ("{access: 7}", "{access: 8}", False),
        ("{access: 7}", "{native: 7, trunk: [8]}", True),
        ("{access: 7}", "{native: 8, trunk: [7]}", False),  # comes tagged there
        ("{trunk: [7]}", "{trunk: [7]}", False),
        ("{access: 7}", "null", False),
        ("null", "null", True),
    ],
)
def test_hosts_hear_each_other_through_it_by_the_vlans_of_their_ports(
    tmp_path: Path, one: str, other: str, heard: bool
) -> None:
    text = HEARS.format(one=one, other=other)
    if heard:
        assert "is on this link twice" in refused(tmp_path, text)[0][2]
    else:
        read(tmp_path, text)


# -- what is refused


@pytest.mark.parametrize(
    ("text", "line", "column", "said", "hint"),
    [
        (
            "name: x\nnodes: {a: {datapath: kernel}}\n",
            *(2, 23, "a is no Open vSwitch: it has no datapath", "add kind: ovs"),
        ),
        (
            "name: x\nnodes: {a: {interfaces: {i: {kind: internal}}}}\n",
            *(2, 36, "a:i is an internal port, and a is no Open vSwitch"),
            "give the node the kind ovs, or the interface another one, such as dummy",
        ),
        (
            "name: x\nnodes: {s: {kind: ovs, interfaces: {br0: {kind: dummy}}}}\n",
            *(2, 42, "s:br0 is the bridge of this switch", "give the interface another name, or the kind internal"),
        ),
        (
            "name: x\nnodes: {s: {kind: ovs}, a: {}}\nlinks: [{endpoints: [a, s], addresses: {s: 10.0.0.1/24}}]\n",
            *(3, 44, "s:a-eth0 is a port of an Open vSwitch: an address there is never reached"),
            "give it to br0, or to an interface of kind internal",
        ),
        (
            "name: x\nnodes: {s: {kind: ovs, interfaces: {d: {kind: dummy, vlan: {access: 7}}}}}\n",
            *(2, 60, "s:d is no port of a bridge: it has no VLAN membership"),
            "an Open vSwitch has the ends of links and interfaces of kind internal for ports",
        ),
        (
            "name: x\nnodes: {s: {kind: ovs, services: {ovs-vswitchd: {command: [sleep, infinity]}}}}\n",
            *(2, 35, "ovs-vswitchd is a daemon of the Open vSwitch s", "give this service another name"),
        ),
        (
            "name: x\nnodes: {s: {kind: ovs, interfaces: {b: {kind: bridge, members: [i]}, i: {kind: internal}}}}\n",
            *(2, 65, "i already belongs to br0", None),
        ),
    ],
)
def test_what_cannot_be_is_told_at_its_place(
    tmp_path: Path, text: str, line: int, column: int, said: str, hint: str | None
) -> None:
    assert refused(tmp_path, text) == [(line, column, said, hint)]


def test_a_datapath_among_the_defaults_is_that_of_the_open_vswitches(tmp_path: Path) -> None:
    found = read(tmp_path, "name: x\ndefaults: {nodes: {datapath: userspace}}\nnodes: {a: {}, s: {kind: ovs}}\n")
    assert [node.datapath for node in found.topology.nodes.values()] == [None, "userspace"]


# -- the plan

WHY = "a datapath in userspace takes frames as they are, and nobody would fill in the checksum"


def test_the_steps_of_a_switch_stand_between_those_of_the_network(tmp_path: Path) -> None:
    elsewhere = ("make the network", "join", "raise a:", "raise b:")
    said = [each for each in words(planned(tmp_path)) if not each.startswith(elsewhere)]
    assert said == [
        f"set offloads of a:eth0: tx off ({WHY})",
        "add 10.7.0.1/24 to a:eth0",
        f"set offloads of b:eth0: tx off ({WHY})",
        "set offloads of c:eth0: tso off",
        f"set offloads of c:eth0: tx off ({WHY})",
        "raise c:lo",
        "raise c:eth0",
        "add 10.0.0.3/24 to c:eth0",
        *[each for port in ("a", "b", "c") for each in deaf(f"{port}-eth0")],
        "start ovsdb-server on sw, and wait until /run/openvswitch/db.sock exists",
        "start ovs-vswitchd on sw, and wait until it says '[(]Open vSwitch[)]'",
        "make the Open vSwitch sw:br0, its datapath in userspace",
        "make sw:in7 an internal port of its Open vSwitch, an access port of VLAN 7",
        "make sw:a-eth0 a port of its Open vSwitch, an access port of VLAN 7",
        "make sw:b-eth0 a port of its Open vSwitch, a trunk of VLANs 7, 8, native VLAN 9",
        "make sw:c-eth0 a port of its Open vSwitch",
        "make the macvlan sw:up7 on in7",
        "set offloads of sw:c-eth0: tso off",
        "raise sw:lo",
        "raise sw:br0",
        "add 10.0.0.9/24 to sw:br0",
        "raise sw:in7",
        "add 10.7.0.9/24 to sw:in7",
        "raise sw:up7",
        "add the route 10.9.0.0/16 via 10.7.0.1 on sw",
    ]


def deaf(port: str) -> list[str]:
    return [
        f"set net.ipv6.conf.{port}.disable_ipv6 = 1 on sw",
        f"set net.ipv4.conf.{port}.arp_ignore = 8 on sw",
        f"set net.ipv4.conf.{port}.rp_filter = 1 on sw",
        f"raise sw:{port}",
    ]


def test_the_kernels_datapath_asks_nothing_of_offloads_and_of_the_nodes_own_stack(tmp_path: Path) -> None:
    said = words(planned(tmp_path, kernel=True))
    assert "make the Open vSwitch sw:br0, its datapath of the kernel" in said
    assert [each for each in said if "tx off" in each or "arp_ignore" in each] == []


@pytest.mark.parametrize(("datapath", "kernel", "userspace"), [("userspace", True, True), ("kernel", False, False)])
def test_a_datapath_that_is_named_is_taken_whatever_the_kernel_has(
    tmp_path: Path, datapath: str, kernel: bool, userspace: bool
) -> None:
    plan = planned(tmp_path, SWITCHED.replace("kind: ovs", f"kind: ovs\n    datapath: {datapath}"), kernel)
    assert [step.userspace for step in plan.steps if isinstance(step, MakeOvsBridge)] == [userspace]


@pytest.mark.parametrize("offload", ["tx", "tx-checksum-ip-generic"])
def test_what_the_file_says_of_checksums_stands(tmp_path: Path, offload: str) -> None:
    said = words(planned(tmp_path, SWITCHED.replace("tso: false", f"{offload}: true")))
    assert [each for each in said if "c:eth0: t" in each] == [f"set offloads of c:eth0: {offload} on"]


def test_a_host_whose_addresses_are_probed_is_raised_once_the_switch_is_on(tmp_path: Path) -> None:
    said = words(planned(tmp_path, SWITCHED.replace("c: 10.0.0.3/24", 'c: "2001:db8::3/64"')))
    assert said.index("raise sw:br0") < said.index("raise c:eth0")
    assert said.index("raise a:eth0") < said.index("make the Open vSwitch sw:br0, its datapath in userspace")


def test_its_daemons_are_a_stage_of_their_own_and_other_services_come_last(tmp_path: Path) -> None:
    text = SWITCHED.replace("  a: {}", "  a: {services: {probe: {command: [sleep, infinity]}}}")
    first, second = planned(tmp_path, text).stages
    assert [step.service.name for step in first.services] == ["ovsdb-server", "ovs-vswitchd"]
    assert isinstance(second.network[0], MakeOvsBridge)
    assert [step.service.name for step in second.services] == ["probe"]
    (only,) = planned(tmp_path, "name: x\nnodes: {a: {services: {probe: {command: [sleep, infinity]}}}}\n").stages
    assert [step.service.name for step in only.services] == ["probe"]


def test_steps_get_the_ifindexes_of_devices_that_the_switch_made(tmp_path: Path) -> None:
    steps = [renumbered(step, {"in7": 70, "br0": 71}) for step in planned(tmp_path).steps if step.node == "sw"]
    assert [step.interface.index for step in steps if isinstance(step, AddAddress)] == [71, 70]
    assert [step.parent for step in steps if isinstance(step, MakeDevice)] == [70]
    (route,) = [step for step in steps if isinstance(step, AddRoute)]
    assert (route.devices["in7"], route.devices["br0"]) == (70, 71)
    (daemon, *_) = [step for step in steps if isinstance(step, StartService)]
    assert daemon.service.name == "ovsdb-server"


# -- its database


def switching(plan: Plan) -> list[MakeOvsBridge | AddOvsPort]:
    return [step for step in plan.steps if isinstance(step, (MakeOvsBridge, AddOvsPort))]


def rows(plan: Plan, table: str) -> dict[str, Data]:
    operations = list(ovsdb.operations(switching(plan)))
    return {each["row"]["name"]: each["row"] for each in operations if each["op"] == "insert" and each["table"] == table}


def test_one_transaction_has_the_bridge_and_all_its_ports_numbered_in_the_order_of_the_file(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    interfaces, (bridge,) = rows(plan, "Interface"), rows(plan, "Bridge").values()
    numbers = {name: row.get("ofport_request") for name, row in interfaces.items()}
    assert numbers == {"br0": None, "in7": 1, "a-eth0": 2, "b-eth0": 3, "c-eth0": 4}
    assert (bridge["datapath_type"], len(bridge["ports"][1])) == ("netdev", 5)
    own = {"mtu_request": 1400, "mac": "02:00:00:00:00:07"}
    assert interfaces["in7"] == {"name": "in7", "type": "internal", "ofport_request": 1, **own}


def test_the_vlans_of_the_language_are_those_of_the_database(tmp_path: Path) -> None:
    ports = rows(planned(tmp_path), "Port")
    told = {name: {key: row[key] for key in ("vlan_mode", "tag", "trunks") if key in row} for name, row in ports.items()}
    assert told == {
        "br0": {},
        "in7": {"vlan_mode": "access", "tag": 7},
        "a-eth0": {"vlan_mode": "access", "tag": 7},
        "b-eth0": {"vlan_mode": "native-untagged", "tag": 9, "trunks": ["set", [7, 8, 9]]},
        "c-eth0": {},
    }


@pytest.mark.parametrize(
    ("vlan", "said"),
    [
        (PortVlan(access=7), "access 7"),
        (PortVlan(trunk=(7, 8)), "trunk 7,8"),
        (PortVlan(trunk=(7,), native=9), "trunk 7,9, native 9"),
        (PortVlan(native=9), "trunk 9, native 9"),
        (None, ""),
    ],
)
def test_what_was_written_is_read_in_the_words_of_the_language(vlan: PortVlan | None, said: str) -> None:
    row = ovsdb.vlan_columns(vlan)
    written = {"tag": ["set", []], "trunks": ["set", []], "vlan_mode": ["set", []], **row}
    assert ovsdb.port_of({"name": "p", "type": "", "ofport": 3, "error": ["set", []]}, written).vlans == said


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., Path]:
    """A database that gives each connection these bytes, whatever it is asked."""

    def serve(*answers: bytes) -> Path:
        path = tmp_path / "db.sock"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            with listening, listening.accept()[0] as peer:
                for each in answers:
                    peer.recv(1 << 16)
                    peer.sendall(each)

        threading.Thread(target=answer, daemon=True).start()
        return path

    return serve


def test_an_answer_may_come_in_pieces_and_after_an_echo(served: Callable[..., Path]) -> None:
    answer = json.dumps({"id": 1, "result": [{"rows": []}], "error": None}).encode()
    echo = json.dumps({"id": "echo", "method": "echo", "params": []}).encode()
    with ovsdb.Database(served(echo + answer[:9], answer[9:])) as database:
        assert database.transact({"op": "select"}) == [{"rows": []}]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"id": 1, "result": [{}, {"error": "constraint violation", "details": "no such tag"}], "error": None}, "no such tag"),
        ({"id": 1, "result": None, "error": {"error": "unknown database", "details": "no database x"}}, "no database x"),
        ({"id": 1, "result": None, "error": "canceled"}, "canceled"),
    ],
)
def test_a_refused_transaction_is_an_error_with_the_databases_words(
    served: Callable[..., Path], answer: Data, said: str
) -> None:
    with ovsdb.Database(served(json.dumps(answer).encode())) as database, pytest.raises(ovsdb.OvsdbError, match=said):
        database.transact({"op": "select"})


def test_a_database_that_ends_or_is_not_there_is_told(served: Callable[..., Path], tmp_path: Path) -> None:
    with ovsdb.Database(served(b"")) as database, pytest.raises(ovsdb.OvsdbError, match="ended the connection"):
        database.transact({"op": "select"})
    with pytest.raises(ovsdb.OvsdbError, match="nobody serves"):
        ovsdb.Database(tmp_path / "none.sock")
    assert ovsdb.read(tmp_path / "none.sock") is None


# -- its picture


def test_it_is_drawn_as_a_switch_with_its_internal_ports(tmp_path: Path) -> None:
    found = picture.of(read(tmp_path).topology)
    (box,) = [each for each in found.boxes if each.name == "sw"]
    assert box.switches
    assert [each.name for each in box.devices] == ["br0", "in7", "up7"]
    assert "sw: b-eth0 VLANs 7, 8, native 9" in mermaid.render(found)
    drawn = svg.render(found)
    assert "in7" in drawn
    assert "ovs sw" in drawn
