"""Nodes of kind ovs with their real daemons: frames pass, daemons are killed and come back, and labs do not meet."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scapy.layers.l2 import ARP
from support.commands import well
from support.nodes import until
from support.world import run_directory

from lab import Lab, StepError
from lab.node import Node
from lab.observe.conditions import Listening
from lab.services.living import Service
from lab.steps import AddAddress, AddOvsPort, MakeOvsBridge, StartService, Step

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
Up = Callable[..., contextlib.AbstractContextManager[Lab]]

SWITCHED = """\
name: {name}
defaults: {{links: {{nodad: true}}, nodes: {{sysctls: {{net.ipv6.conf.default.accept_dad: 0}}}}}}
nodes:
  sw:
    kind: ovs
    datapath: userspace
    interfaces:
      br0: {{kind: internal, mac: "02:00:00:00:00:09", addresses: 10.0.0.9/24}}
      in7: {{kind: internal, vlan: {{access: 7}}, mac: "02:00:00:00:07:09", mtu: 1400, addresses: 10.7.0.9/24}}
      up7: {{kind: macvlan, parent: in7, addresses: 10.7.1.9/24}}
    routes: [{{to: 10.9.0.0/16, via: 10.7.0.1}}]
  a: {{services: {{tcp: {{command: [python3, -m, http.server, "80"], ready: {{listen: tcp/80}}}}}}}}
  b: {{}}
  c: {{}}
links:
  - {{endpoints: ["a:eth0", sw], addresses: {{a: [10.0.0.1/24, "2001:db8::1/64"]}}OFFLOADS}}
  - {{endpoints: ["b:eth0", sw], addresses: {{b: [10.0.0.2/24, "2001:db8::2/64"]}}}}
  - {{endpoints: ["c:eth0", {{node: sw, vlan: {{access: 7}}}}], addresses: {{c: 10.7.0.1/24}}}}
"""
FETCH = "import urllib.request as u; u.urlopen('http://10.0.0.1/', timeout=float('{}')).read()"


@pytest.fixture
def up(topology: Write) -> Up:
    @contextlib.contextmanager
    def bring(text: str = SWITCHED, offloads: str = "", **options: object) -> Iterator[Lab]:
        with Lab.up(topology(text.replace("OFFLOADS", offloads)), **options) as lab:  # type: ignore[arg-type]
            yield lab

    return bring


def reaches(node: Node, address: str, within: str = "2") -> bool:
    return node.run(["ping", "-n", "-c1", f"-W{within}", address], check=False).status == 0


def vsctl(node: Node, *words: str) -> str:
    return node.run(["ovs-vsctl", "--timeout=5", *words]).stdout.strip()


def test_ports_have_their_numbers_and_frames_pass_as_soon_as_the_lab_is_up(up: Up) -> None:
    with up() as lab:
        assert reaches(lab["b"], "10.0.0.1")
        assert reaches(lab["b"], "2001:db8::1")
        assert reaches(lab["c"], "10.7.0.9")
        assert not reaches(lab["b"], "10.7.0.9", "0.3")
        switch = lab.switches()["sw"]
        assert switch.datapath == "userspace"
        told = [(port.name, port.number, port.vlans, port.error) for port in switch.ports]
        assert told == [
            *(("in7", 1, "access 7", ""), ("a-eth0", 2, "", ""), ("b-eth0", 3, "", "")),
            *(("c-eth0", 4, "access 7", ""), ("br0", 65534, "", "")),
        ]


def test_devices_that_the_switch_made_have_what_the_file_says(up: Up) -> None:
    with up() as lab:
        switch = lab["sw"]
        assert switch.mac("br0") == "02:00:00:00:00:09"
        said = switch.run(["ip", "address", "show", "dev", "in7"]).stdout
        assert ("mtu 1400" in said, "02:00:00:00:07:09" in said, "10.7.0.9/24" in said) == (True, True, True)
        assert "10.9.0.0/16 via 10.7.0.1 dev in7" in switch.run(["ip", "route"]).stdout
        assert "up7@in7" in switch.run(["ip", "link", "show", "dev", "up7"]).stdout


def test_tcp_connects_since_checksums_are_whole_and_not_where_the_file_leaves_them_to_hardware(up: Up) -> None:
    with up() as lab:
        lab["b"].run(["python3", "-c", FETCH.format(5)])
    with up(offloads=", offloads: {{tx-checksum-ip-generic: true}}") as lab:
        assert lab["b"].run(["python3", "-c", FETCH.format(0.5)], check=False).status == 1
        assert reaches(lab["b"], "10.0.0.1"), "ICMP is summed in software"


def test_the_nodes_own_stack_hears_nothing_at_the_ports(up: Up) -> None:
    with up() as lab:
        assert answering(lab) == [lab["sw"].mac("br0")]
        for key in ("arp_ignore", "rp_filter"):
            lab["sw"].sysctl[f"net.ipv4.conf.b-eth0.{key}"] = "0"
        assert answering(lab) == [lab["sw"].mac("b-eth0"), lab["sw"].mac("br0")]


def answering(lab: Lab) -> list[str]:
    """Who says that it has the address of br0, in the order of their answers: the stack at the port needs less time."""
    client, bridge = lab["b"], lab["sw"].mac("br0")
    client.run(["ip", "neighbour", "flush", "dev", "eth0"])
    with lab.capture("b:eth0", filter="arp") as wire:
        reaches(client, "10.0.0.9")
        wire.expect(lambda packet: packet[ARP].op == 2 and packet[ARP].hwsrc == bridge, "the answer of the bridge")
        return list(dict.fromkeys(packet[ARP].hwsrc for packet in wire.all(lambda packet: packet[ARP].op == 2)))


def is_back_after_sigkill(service: Service) -> None:
    assert service.kill() == -signal.SIGKILL
    service.start()
    service.wait_ready()


def test_a_switch_whose_daemons_were_killed_comes_back_with_its_ports_and_addresses(up: Up) -> None:
    with up() as lab:
        switch, before = lab["sw"], lab.switches()
        is_back_after_sigkill(switch.services["ovs-vswitchd"])
        until("frames pass again", lambda: reaches(lab["c"], "10.7.0.9", "0.2"))
        is_back_after_sigkill(switch.services["ovsdb-server"])
        until("the switch is back", lambda: lab.switches() == before)
        vsctl(switch, "set", "Port", "a-eth0", "tag=7")
        assert not reaches(lab["b"], "10.0.0.1", "0.3")


def test_what_was_changed_in_its_database_outlives_a_restart(up: Up) -> None:
    with up() as lab:
        vsctl(lab["sw"], "set", "Port", "a-eth0", "tag=7", "--", "del-port", "c-eth0")
        for name in ("ovsdb-server", "ovs-vswitchd"):
            lab["sw"].services[name].restart()
        ports = {port.name: port.access for port in lab.switches()["sw"].ports}
        assert ports == {"br0": None, "in7": 7, "a-eth0": 7, "b-eth0": None}


def test_labs_side_by_side_and_switches_of_one_lab_have_databases_of_their_own(up: Up, topology: Write, name: str) -> None:
    two = "name: {name}\nnodes: {{x: {{kind: ovs}}, y: {{kind: ovs}}}}\nlinks: [{{endpoints: [x, y]}}]\n"
    with up(two, name=f"{name}a") as one, up(two, name=f"{name}b") as other:
        switches = [one["x"], one["y"], other["x"], other["y"]]
        for number, node in enumerate(switches):
            vsctl(node, "set", "Bridge", "br0", f"external_ids:mine={number}")
        assert [vsctl(node, "get", "Bridge", "br0", "external_ids:mine") for node in switches] == ['"0"', '"1"', '"2"', '"3"']
        assert len({vsctl(node, "get", "Open_vSwitch", ".", "_uuid") for node in switches}) == 4


def test_a_port_that_cannot_be_made_fails_up_with_what_the_switch_says(up: Up) -> None:
    """No device can be called so: its sysctls would be those of all that are to come."""
    wrong = "name: {name}\nnodes: {{sw: {{kind: ovs, datapath: userspace, interfaces: {{default: {{kind: internal}}}}}}}}\n"
    with (
        pytest.raises(StepError, match=r"make sw:default an internal port(.|\n)*Open vSwitch says: .*Invalid argument"),
        up(wrong),
    ):
        pass


def test_a_daemon_that_ends_before_it_is_ready_fails_up_with_its_last_lines(up: Up) -> None:
    wrong = "name: {name}\nnodes: {{sw: {{kind: ovs, services: {{ovs-vswitchd: {{env: {{OVS_RUNDIR: /nowhere}}}}}}}}}}\n"
    with pytest.raises(StepError, match=r"start ovs-vswitchd(.|\n)*/nowhere"), up(wrong):
        pass


class InjectedError(Exception):
    """A fault of no part of lab."""


@pytest.mark.parametrize("last", [StartService, MakeOvsBridge, AddOvsPort, AddAddress])
def test_a_fault_before_any_of_its_steps_undoes_all_that_was_made(topology: Write, last: type[Step]) -> None:
    alone = "name: {name}\nnodes: {{sw: {{kind: ovs, interfaces: {{i: {{kind: internal, addresses: 10.0.0.1/24}}}}}}}}\n"

    def fail(step: Step) -> None:
        if isinstance(step, last):
            raise InjectedError

    with pytest.raises(InjectedError):
        Lab.up(topology(alone), on_step=fail)
    assert not run_directory().exists()


def test_other_services_start_once_the_switch_passes_frames(up: Up) -> None:
    asks = 'services: {{asks: {{command: [ping, -i0.1, "10.0.0.1"], ready: {{line: "bytes from"}}, timeout: 5}}}}'
    with up(SWITCHED.replace("  b: {{}}", f"  b: {{{{{asks}}}}}")) as lab:
        assert lab["b"].services["asks"].state().running
        lab["a"].wait(Listening(80), 1)


def test_it_is_inspected_and_planned_by_the_commands(topology: Write, name: str) -> None:
    file = topology(SWITCHED.replace("OFFLOADS", ""))
    steps: list[str] = []
    with Lab.up(file, on_step=lambda step: steps.append(step.describe())):
        ports = well("inspect", name, "-f", "json").json("lab")["nodes"]["sw"]["switch"]["ports"]
        assert [(port["name"], port["number"]) for port in ports][:2] == [("in7", 1), ("a-eth0", 2)]
        assert "access 7" in well("inspect", name).stdout
    assert steps == [line.split(maxsplit=1)[1] for line in well("plan", file).stdout.splitlines()]
