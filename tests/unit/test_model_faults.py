"""What the language refuses, in which words, and at which place of the user's file.

In the texts below every `▶` stands before the character that one fault must point at; it is no part of the file. The faults
stand beside them in the order of the markers, which is that of the file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import TopologyError
from lab.model import Topology
from lab.model.topology import MOST_FAULTS
from lab.recipe import read

Said = tuple[str, str | None]
Row = tuple[str, list[Said]]

TWO = "name: x\nnodes: {a: {}, b: {}}\n"


def topology(tmp_path: Path, text: str) -> Topology:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return read(file).topology


def faults_of(tmp_path: Path, text: str) -> list[tuple[int, int, str, str | None]]:
    """Line, column, message and hint of every problem, in the order in which they are told."""
    with pytest.raises(TopologyError) as caught:
        topology(tmp_path, text)
    places = [(each.place, each.message, each.hint) for each in caught.value.problems]
    return [(place.line, place.column, message, hint) for place, message, hint in places if place]


def markers(text: str) -> list[tuple[int, int]]:
    """Line and column of every marker, as they are in the text without markers."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        before = 0
        for part in line.split("▶")[:-1]:
            before += len(part)
            found.append((number, before + 1))
    return found


def check(tmp_path: Path, text: str, said: list[Said]) -> None:
    expected = [(*place, *each) for place, each in zip(markers(text), said, strict=True)]
    assert faults_of(tmp_path, text.replace("▶", "")) == expected


def accepted(tmp_path: Path, text: str) -> None:
    topology(tmp_path, text)


FORM: list[Row] = [
    ("▶- a\n", [("a topology is a mapping", "begin with name: and nodes:")]),
    ("▶nodes: {}\n", [("key 'name' is missing", "add it")]),
    ("▶name: x\n", [("key 'nodes' is missing", "add it")]),
    ("name:▶\nnodes: {}\n", [("None: input should be a valid string", None)]),
    (
        "name: ▶-x\nnodes: {}\n",
        [("'-x' cannot be the name of a lab", "write up to 32 letters, digits, _ or -, a letter or digit first")],
    ),
    ("name: x\nnodes: ▶[a, b]\n", [("['a', 'b']: a mapping is wanted here", None)]),
    (
        'name: x\nnodes: {▶"a b": {}}\n',
        [("'a b' cannot be the name of a node", "write up to 63 letters, digits, _ or -, none of them - at the start")],
    ),
    ("name: x\nnodes: {a: ▶7}\n", [("7: a mapping is wanted here", None)]),
    ("name: x\nnodes: {a: {interfaces: {d: ▶7}}}\n", [("7: a mapping is wanted here", None)]),
    (f"{TWO}links: [▶a]\n", [("'a': a mapping is wanted here", None)]),
    (f"{TWO}links: [▶{{mtu: 1400}}]\n", [("key 'endpoints' is missing", "add it")]),
    (f"{TWO}links: [{{endpoints: ▶a}}]\n", [("item 2 is missing", "add it")]),
    (f"{TWO}links: [{{endpoints: ▶[a]}}]\n", [("item 2 is missing", "add it")]),
    (f"{TWO}links: [{{endpoints: ▶▶}}]\n", [("item 1 is missing", "add it"), ("item 2 is missing", "add it")]),
    (f"{TWO}links: [{{endpoints: ▶[a, b, a]}}]\n", [("('a', 'b', 'a'): a link has two ends", None)]),
    (f"{TWO}links: [{{endpoints: [a, ▶{{interface: e}}]}}]\n", [("key 'node' is missing", "add it")]),
    (
        "name: x\nnodes: {a: {kind: ▶ruter}}\n",
        [("'ruter' is not one of 'host', 'router', 'switch', 'ovs' or 'container'", "did you mean 'router'?")],
    ),
    ("name: x\nnodes: {a: {kind: ▶xyz}}\n", [("'xyz' is not one of 'host', 'router', 'switch', 'ovs' or 'container'", None)]),
    (
        "name: x\nnodes: {a: {interfaces: {v: {kind: ▶bridg}}}}\n",
        [("unknown kind of interface 'bridg'", "did you mean 'bridge'?")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {v: {kind: ▶7}}}}\n",
        [
            (
                "unknown kind of interface '7'",
                "write one of veth, dummy, ifb, internal, vlan, bridge, bond, vxlan, macvlan, vrf",
            )
        ],
    ),
    ("name: x\nnodes: {a: {interfaces: {v: ▶{kind: vrf}}}}\n", [("key 'table' is missing", "add it")]),
    (
        "name: x\nnodes: {a: {interfaces: {v: ▶▶{kind: vlan}}}}\n",
        [(f"key {key!r} is missing", "add it") for key in ("parent", "id")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, mtu: ▶67}}}}\n",
        [("67: input should be greater than or equal to 68", None)],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, up: ▶maybe}}}}\n",
        [("'maybe': input should be a valid boolean, unable to interpret input", None)],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, mtu: ▶big}}}}\n",
        [("'big': input should be a valid integer, unable to parse string as an integer", None)],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {x: {kind: vxlan, id: ▶16777216}}}}\n",
        [("16777216: input should be less than or equal to 16777215", None)],
    ),
    *(
        (
            f"name: x\nnodes: {{a: {{interfaces: {{d: {{kind: dummy}}, v: {{kind: vlan, parent: d, id: 7, {given}}}}}}}}}\n",
            [(said, hint)],
        )
        for given, said, hint in (
            ("ingress_qos: {▶8: 1}", "'8' is no priority of a VLAN tag", "write a number from 0 to 7"),
            ("egress_qos: {▶07: 1}", "'07' is no priority of a packet", "write a number from 0 to 4294967295"),
            ("egress_qos: {7: ▶8}", "8: input should be less than or equal to 7", None),
        )
    ),
    (
        "name: x\nnodes: {a: {interfaces: {o: {kind: bond, num_grat_arp: ▶256}}}}\n",
        [("256: input should be less than or equal to 255", None)],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {x: ▶{kind: vxlan, id: 7, remote: 239.1.1.1}}}}\n",
        [("the group 239.1.1.1 is joined at no interface", "add parent:")],
    ),
    (
        'name: x\nnodes: {a: {interfaces: {x: ▶{kind: vxlan, id: 7, local: "::1", remote: 10.0.0.1}}}}\n',
        [("::1 and 10.0.0.1 are of different families", None)],
    ),
]


@pytest.mark.parametrize(("text", "said"), FORM)
def test_what_has_not_the_form_of_a_topology(tmp_path: Path, text: str, said: list[Said]) -> None:
    check(tmp_path, text, said)


UNKNOWN_KEYS: list[tuple[str, str, str]] = [
    ("▶nmae: y\nname: x\nnodes: {}\n", "nmae", "did you mean 'name'?"),
    ("name: x\nnodes: {}\n▶colour: red\n", "colour", "known here: defaults, description, links, name, needs, nodes"),
    ("name: x\nnodes: {a: {▶route: []}}\n", "route", "did you mean 'routes'?"),
    ("name: x\nnodes: {routes: {▶rutes: []}}\n", "rutes", "did you mean 'routes'?"),
    ("name: x\nnodes: {a: {routes: [{to: default, ▶vai: 10.0.0.1}]}}\n", "vai", "did you mean 'via'?"),
    ("name: x\nnodes: {a: {routes: {to: default, ▶vai: 10.0.0.1}}}\n", "vai", "did you mean 'via'?"),
    ("name: x\nnodes: {a: {routes: {to: 10.0.0.0/8, nexthops: [{▶wieght: 2}]}}}\n", "wieght", "did you mean 'weight'?"),
    ("name: x\nnodes: {a: {rules: [{▶form: 10.0.0.0/8, table: 7}]}}\n", "form", "did you mean 'from'?"),
    ("name: x\nnodes: {a: {neighbours: [{▶adress: 10.0.0.1}]}}\n", "adress", "did you mean 'address'?"),
    (
        "name: x\nnodes: {a: {interfaces: {eth0.7: {kind: vlan, parent: eth0, ▶idd: 7}}}}\n",
        "idd",
        "did you mean 'id'?",
    ),
    ("name: x\nnodes: {a: {interfaces: {vlan: {kind: bond, ▶membres: []}}}}\n", "membres", "did you mean 'members'?"),
    ("name: x\nnodes: {a: {interfaces: {d: {kind: dummy, vlan: {▶acess: 7}}}}}\n", "acess", "did you mean 'access'?"),
    ("name: x\nnodes: {a: {interfaces: {d: {kind: dummy, netem: {▶dealy: 7ms}}}}}\n", "dealy", "did you mean 'delay'?"),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, addresses: [{address: 10.0.0.1/8, ▶nodda: true}]}}}}\n",
        "nodda",
        "did you mean 'nodad'?",
    ),
    (f"{TWO}links: [{{endpoints: [a, b], ▶mtuu: 1400}}]\n", "mtuu", "did you mean 'mtu'?"),
    (f"{TWO}links: {{endpoints: [a, b], ▶mtuu: 1400}}\n", "mtuu", "did you mean 'mtu'?"),
    (f"{TWO}links: [{{endpoints: [a, {{node: b, ▶inteface: e}}]}}]\n", "inteface", "did you mean 'interface'?"),
    (f"{TWO}links: [{{endpoints: [a, {{node: b, vlan: {{▶nativ: 7}}}}]}}]\n", "nativ", "did you mean 'native'?"),
    (
        f"{TWO}links: [{{endpoints: [a, b], addresses: {{a: [{{address: 10.0.0.1/8, ▶per: 1}}]}}}}]\n",
        "per",
        "did you mean 'peer'?",
    ),
    ("name: x\ndefaults: {▶node: {}}\nnodes: {}\n", "node", "did you mean 'nodes'?"),
    ("name: x\ndefaults: {nodes: {▶sysctl: {}}}\nnodes: {}\n", "sysctl", "did you mean 'sysctls'?"),
    ("name: x\ndefaults: {links: {▶nodda: true}}\nnodes: {}\n", "nodda", "did you mean 'nodad'?"),
]


@pytest.mark.parametrize(("text", "key", "hint"), UNKNOWN_KEYS)
def test_an_unknown_key_is_pointed_at_and_the_nearest_known_one_is_named(
    tmp_path: Path, text: str, key: str, hint: str
) -> None:
    extra = [found for found in faults_of(tmp_path, text.replace("▶", "")) if "is missing" not in found[2]]
    assert extra == [(*markers(text)[0], f"unknown key {key!r}", hint)]


LONG = "eth0123456789012"
LONG_NAME = f"interface name '{LONG}' has 16 characters; the kernel allows 15"
SCALARS: list[Row] = [
    (f"{TWO}links: [{{endpoints: [▶a:{LONG}, b]}}]\n", [(LONG_NAME, None)]),
    (f"{TWO}links: [{{endpoints: [{{node: a, interface: ▶{LONG}}}, b]}}]\n", [(LONG_NAME, None)]),
    (f"name: x\nnodes: {{a: {{interfaces: {{▶{LONG}: {{kind: dummy}}}}}}}}\n", [(LONG_NAME, None)]),
    (f"name: x\nnodes: {{a: {{interfaces: {{b: {{kind: bridge, members: [▶{LONG}]}}}}}}}}\n", [(LONG_NAME, None)]),
    (f"name: x\nnodes: {{a: {{interfaces: {{v: {{kind: macvlan, parent: ▶{LONG}}}}}}}}}\n", [(LONG_NAME, None)]),
    (
        f'{TWO}links: [{{endpoints: [▶"a:", b]}}]\n',
        [("'' cannot be the name of an interface", "write letters, digits and any of _ . + @ -")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {▶..: {kind: dummy}}}}\n",
        [("'..' cannot be the name of an interface", "write letters, digits and any of _ . + @ -")],
    ),
    (
        f"name: x\nnodes: {{▶{'n' * 64}: {{}}}}\n",
        [
            (
                f"'{'n' * 64}' cannot be the name of a node",
                "write up to 63 letters, digits, _ or -, none of them - at the start",
            )
        ],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, mac: ▶02:00:00:00:00}}}}\n",
        [("'02:00:00:00:00' is no MAC address", "write six octets, such as 02:00:00:00:00:01")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, mac: ▶01:00:5E:00:00:01}}}}\n",
        [("'01:00:5E:00:00:01' is a multicast MAC address: no interface can have it", "make the first octet even")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, addresses: [▶10.0.0.300/24]}}}}\n",
        [("'10.0.0.300/24' is no address: '10.0.0.300' is neither IPv4 nor IPv6", "write ADDRESS/LENGTH")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, addresses: ▶10.0.0.1/33}}}}\n",
        [("'10.0.0.1/33' is no address: '33' is no prefix length of IPv4", "write ADDRESS/LENGTH")],
    ),
    (
        'name: x\nnodes: {a: {interfaces: {d: {kind: dummy, addresses: [{address: ▶"fe80::1/129"}]}}}}\n',
        [("'fe80::1/129' is no address: '129' is no prefix length of IPv6", "write ADDRESS/LENGTH")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, addresses: ▶7}}}}\n",
        [("7 is no address", "write ADDRESS/LENGTH, in quotes")],
    ),
    (
        "name: x\nnodes: {a: {rules: [{from: ▶10.0.0.1/8, table: 7}]}}\n",
        [("'10.0.0.1/8' is no prefix: 10.0.0.1/8 has host bits set", "write PREFIX/LENGTH")],
    ),
    (
        "name: x\nnodes: {a: {routes: [{to: ▶everywhere, type: blackhole}]}}\n",
        [("'everywhere' is no destination: neither IPv4 nor IPv6", "write PREFIX/LENGTH or default")],
    ),
    (
        "name: x\nnodes: {a: {sysctls: {▶kernel.hostname: b}}}\n",
        [
            (
                "sysctl kernel.hostname does not belong to a network namespace: it would change the host",
                "only net.* can be set",
            )
        ],
    ),
    (
        "name: x\nnodes: {a: {sysctls: {▶net.ipv4.: 1}}}\n",
        [("'net.ipv4.' is no sysctl name", "write it as sysctl(8) does, such as net.ipv4.conf.all.rp_filter")],
    ),
    (
        "name: x\nnodes: {a: {sysctls: {net.ipv4.ip_forward: ▶[1]}}}\n",
        [("[1] cannot be written to a sysctl", "write a number or a string")],
    ),
    ('name: x\nnodes: {a: {sysctls: {net.ipv4.ip_forward: ▶"1\\n"}}}\n', [("a sysctl's value is one line", None)]),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, sysctls: {▶rp_filter: 1}}}}}\n",
        [
            (
                "'rp_filter' is no sysctl of an interface",
                "write ipv4.KEY or ipv6.KEY for net.ipv4.conf.DEVICE.KEY, ipv4.neigh.KEY for net.ipv4.neigh.DEVICE.KEY",
            )
        ],
    ),
]


@pytest.mark.parametrize(("text", "said"), SCALARS)
def test_a_scalar_that_cannot_be_what_it_stands_for(tmp_path: Path, text: str, said: list[Said]) -> None:
    check(tmp_path, text, said)


def test_an_interface_name_of_15_characters_is_taken(tmp_path: Path) -> None:
    accepted(tmp_path, f"{TWO}links: [{{endpoints: [a:{LONG[:15]}, b]}}]\n")


NETEM: list[tuple[str, list[Said]]] = [
    ("▶{}", [("nothing is impaired", "name one of delay, jitter, loss, duplicate, reorder, rate")]),
    ("▶{jitter: 3ms}", [("jitter needs a delay to act on", None)]),
    ("▶{reorder: 3}", [("reorder needs a delay to act on", None)]),
    ("▶{delay: 0ms, jitter: 3ms}", [("jitter needs a delay to act on", None)]),
    ("{delay: ▶3}", [("3 is no time", "write a number and a unit, such as 10ms")]),
    ("{delay: ▶-3ms}", [("'-3ms' is no time", "write a number and a unit, such as 10ms")]),
    ("{delay: ▶3min}", [("'3min' is no time", "write a number and a unit, such as 10ms")]),
    ("{delay: ▶275s}", [("'275s' is no time that the kernel can keep", "write one of 274s at most")]),
    ("{rate: ▶fast}", [("'fast' is no rate", "write a number and a unit, such as 100mbit")]),
    ("{rate: ▶0bit}", [("'0bit' is no rate that the kernel can keep", "write one from 2kbit to 34gbit")]),
    ("{rate: ▶1999bit}", [("'1999bit' is no rate that the kernel can keep", "write one from 2kbit to 34gbit")]),
    ("{rate: ▶35gbit}", [("'35gbit' is no rate that the kernel can keep", "write one from 2kbit to 34gbit")]),
    ("{loss: ▶101%}", [("'101%' is no percentage between 0 and 100", None)]),
    ("{loss: ▶-1}", [("-1 is no percentage between 0 and 100", None)]),
    ("{loss: ▶true}", [("True is no percentage between 0 and 100", None)]),
    ("{loss: ▶nan}", [("'nan' is no percentage between 0 and 100", None)]),
    ("{duplicate: ▶some}", [("'some' is no percentage", "write 1.5% or 1.5")]),
]


@pytest.mark.parametrize(("netem", "said"), NETEM)
@pytest.mark.parametrize(
    "around",
    [
        "name: x\nnodes: {{a: {{}}, b: {{}}}}\nlinks: [{{endpoints: [a, b], netem: {}}}]\n",
        "name: x\nnodes: {{a: {{}}, b: {{}}}}\nlinks: [{{endpoints: [a, {{node: b, netem: {}}}]}}]\n",
        "name: x\ndefaults: {{links: {{netem: {}}}}}\nnodes: {{}}\n",
        "name: x\nnodes: {{a: {{interfaces: {{d: {{kind: dummy, netem: {}}}}}}}}}\n",
    ],
    ids=["link", "endpoint", "defaults", "interface"],
)
def test_an_impairment_that_makes_no_sense(tmp_path: Path, around: str, netem: str, said: list[Said]) -> None:
    check(tmp_path, around.format(netem), said)


NAMES: list[Row] = [
    (f"{TWO}links: [{{endpoints: [a, ▶c]}}]\n", [("node 'c' does not exist", "add it under nodes:")]),
    (
        "name: x\nnodes: {router: {}, b: {}}\nlinks: [{endpoints: [▶ruoter, b]}]\n",
        [("node 'ruoter' does not exist", "did you mean 'router'?")],
    ),
    (
        f"{TWO}links: [{{endpoints: [▶p, ▶q]}}]\n",
        [("node 'p' does not exist", "add it under nodes:"), ("node 'q' does not exist", "add it under nodes:")],
    ),
    (
        f'{TWO}links:\n- endpoints: ["a:eth0", "b:eth0"]\n- endpoints: [▶"a:eth0", "b:eth1"]\n',
        [("a:eth0 is already an end of link 0", "give each end a name of its own")],
    ),
    (
        f'{TWO}links: [{{endpoints: ["a:e", ▶"a:e"]}}]\n',
        [("a:e is already an end of link 0", "give each end a name of its own")],
    ),
    (
        f'{TWO}links: [{{endpoints: [▶"a:lo", b]}}]\n',
        [("a:lo is the loopback of its node", "give each end a name of its own")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {▶eth0: {kind: dummy}}}, b: {}}\nlinks: [{endpoints: [a, b]}]\n",
        [("a:eth0 is made by a link already", "give this device another name")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {▶ehh0: {mtu: 1400}}}, b: {}}\nlinks: [{endpoints: [a, b]}]\n",
        [("no link ends at a:ehh0", "did you mean 'eth0'?")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {▶wan: {mtu: 1400}}}}\n",
        [("no link ends at a:wan", "add a link that ends at a:wan, or give it a kind")],
    ),
    (
        f"{TWO}links: [{{endpoints: [a, b], addresses: {{▶c: 10.0.0.1/8}}}}]\n",
        [("'c' is no end of this link", "write one of 'a:eth0', 'b:eth0', 'a', 'b'")],
    ),
    (
        f'{TWO}links: [{{endpoints: [a, b], addresses: {{▶"a:eth1": 10.0.0.1/8}}}}]\n',
        [("'a:eth1' is no end of this link", "did you mean 'a:eth0'?")],
    ),
    (
        f"{TWO}links: [{{endpoints: [a, a], addresses: {{▶a: 10.0.0.1/8}}}}]\n",
        [("'a' is no end of this link", "write one of 'a:eth0', 'a:eth1'")],
    ),
    (
        "name: x\nnodes: {a: {}, s: {kind: switch}}\nlinks: [{endpoints: [a, ▶s:br0]}]\n",
        [("s:br0 is the bridge of this switch", "give the interface another name")],
    ),
    (
        "name: x\nnodes: {s: {kind: switch, interfaces: {br0: ▶{kind: dummy}}}}\n",
        [("s:br0 is the bridge of this switch", "give the interface another name")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {eth0: {mtu: ▶1300}}}, b: {}}\nlinks: [{endpoints: [{node: a, mtu: 1400}, b]}]\n",
        [("mtu of a:eth0 is given in two places", None)],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {lo: {mac: ▶02:00:00:00:00:01}}}}\n",
        [("a:lo is a loopback: it has no MAC address", "remove mac")],
    ),
]


@pytest.mark.parametrize(("text", "said"), NAMES)
def test_a_name_that_leads_nowhere_or_to_two_things(tmp_path: Path, text: str, said: list[Said]) -> None:
    check(tmp_path, text, said)


PILE = ", ".join(f"m{number}: {{kind: macvlan, parent: {f'm{number - 1}' if number else 'd'}}}" for number in range(7))
STACKS: list[Row] = [
    (
        "name: x\nnodes: {a: {interfaces: {v: {kind: vlan, id: 7, parent: ▶eth0}}}}\n",
        [("parent 'eth0' of v does not exist on node a", None)],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {dm0: {kind: dummy}, v: {kind: vlan, id: 7, parent: ▶dm1}}}}\n",
        [("parent 'dm1' of v does not exist on node a", "did you mean 'dm0'?")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy}}}, b: {interfaces: {v: {kind: macvlan, parent: ▶d}}}}\n",
        [("parent 'd' of v does not exist on node b", None)],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {v: ▶{kind: vlan, id: 7, parent: v}}}}\n",
        [("loop of parents: v -> v", "an interface cannot stand on itself")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {v: ▶{kind: vlan, id: 7, parent: w}, w: {kind: vlan, id: 8, parent: v}}}}\n",
        [("loop of parents: v -> w -> v", "an interface cannot stand on itself")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {v: ▶{kind: vlan, id: 7, parent: b}, b: {kind: bridge, members: [v]}}}}\n",
        [("loop of parents: v -> b -> v", "an interface cannot stand on itself")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {b: {kind: bridge, members: [▶eth0]}}}}\n",
        [("member 'eth0' of b does not exist on node a", None)],
    ),
    ("name: x\nnodes: {a: {interfaces: {b: {kind: bridge, members: [▶b]}}}}\n", [("b cannot be a member of b", None)]),
    ("name: x\nnodes: {a: {interfaces: {b: {kind: bond, members: ▶lo}}}}\n", [("lo cannot be a member of b", None)]),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy}, b: {kind: bridge, members: d}, c: {kind: bond, members: ▶d}}}}\n",
        [("d already belongs to b", None)],
    ),
    (
        f"name: x\nnodes: {{a: {{interfaces: {{d: {{kind: dummy}}, {PILE}, ▶top: {{kind: macvlan, parent: m6}}}}}}}}\n",
        [("a:top stands on too many devices", "the kernel allows 8 on top of each other, the lowest counted")],
    ),
]


@pytest.mark.parametrize(("text", "said"), STACKS)
def test_an_interface_that_stands_on_nothing_or_on_itself_or_too_high(tmp_path: Path, text: str, said: list[Said]) -> None:
    check(tmp_path, text, said)


def test_eight_devices_on_top_of_each_other_are_taken(tmp_path: Path) -> None:
    accepted(tmp_path, f"name: x\nnodes: {{a: {{interfaces: {{d: {{kind: dummy}}, {PILE}}}}}}}\n")


def one(address: str) -> str:
    """A node with a dummy that has this address, or these."""
    return f"name: x\nnodes: {{a: {{interfaces: {{d: {{kind: dummy, addresses: [{address}]}}}}}}}}\n"


ADDRESSES: list[Row] = [
    (one("10.0.0.1/24, ▶10.0.0.1/16"), [("10.0.0.1 is given twice to a:d", None)]),
    (
        one("▶{address: 10.0.0.1/24, nodad: true}"),
        [("10.0.0.1: IPv4 has no duplicate address detection", "remove nodad and optimistic")],
    ),
    (
        one("▶{address: 10.0.0.1/24, optimistic: true}"),
        [("10.0.0.1: IPv4 has no duplicate address detection", "remove nodad and optimistic")],
    ),
    (
        one('▶{address: "2001:db8::1/64", scope: link}'),
        [("2001:db8::1: the scope of an IPv6 address comes from the address itself", "remove scope")],
    ),
    (
        one('▶{address: 10.0.0.1/24, peer: "2001:db8::1/64"}'),
        [("10.0.0.1 and its peer 2001:db8::1/64 are of different families", None)],
    ),
    (one("▶224.0.0.5/24"), [("224.0.0.5 is a multicast address: no interface can own it", None)]),
    (one('▶"ff02::1/64"'), [("ff02::1 is a multicast address: no interface can own it", None)]),
    (one("▶10.0.0.0/24"), [("10.0.0.0 is the prefix itself of 10.0.0.0/24, no host's address", None)]),
    (one("▶10.0.0.255/24"), [("10.0.0.255 is the broadcast address of 10.0.0.0/24, no host's address", None)]),
    (
        f"{TWO}links: [{{endpoints: [a, b], prefix: 10.0.0.0/24, addresses: {{a: ▶10.0.1.1/24}}}}]\n",
        [("10.0.1.1 lies outside the link's prefix 10.0.0.0/24", "choose an address in 10.0.0.0/24")],
    ),
    (
        f"{TWO}links: [{{endpoints: [a, b], prefix: [10.0.0.0/24, 10.0.2.0/24], addresses: {{a: ▶10.0.1.1/24}}}}]\n",
        [
            (
                "10.0.1.1 lies outside the link's prefix 10.0.0.0/24 and 10.0.2.0/24",
                "choose an address in 10.0.0.0/24 and 10.0.2.0/24",
            )
        ],
    ),
    (
        f"{TWO}links: [{{endpoints: [a, {{node: b, addresses: [▶10.0.1.1/24]}}], prefix: 10.0.0.0/24}}]\n",
        [("10.0.1.1 lies outside the link's prefix 10.0.0.0/24", "choose an address in 10.0.0.0/24")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {eth0: {addresses: ▶10.0.1.1/24}}}, b: {}}\n"
        "links: [{endpoints: [a, b], prefix: 10.0.0.0/24}]\n",
        [("10.0.1.1 lies outside the link's prefix 10.0.0.0/24", "choose an address in 10.0.0.0/24")],
    ),
]


@pytest.mark.parametrize(("text", "said"), ADDRESSES)
def test_an_address_that_its_interface_cannot_have(tmp_path: Path, text: str, said: list[Said]) -> None:
    check(tmp_path, text, said)


@pytest.mark.parametrize(
    "text",
    [
        one("10.0.0.0/31, 10.0.0.2/32, 10.0.1.0/32"),
        one('"2001:db8::/64"'),
        f'{TWO}links: [{{endpoints: [a, b], prefix: 10.0.0.0/24, addresses: {{a: ["2001:db8::1/64", "fe80::1/64"]}}}}]\n',
        f'{TWO}links: [{{endpoints: [a, b], prefix: "2001:db8::/64", addresses: {{a: "fe80::1/64"}}}}]\n',
    ],
    ids=["31 and 32 bits", "IPv6 subnet router", "a family without prefix", "link-local"],
)
def test_an_address_that_only_looks_wrong_is_taken(tmp_path: Path, text: str) -> None:
    accepted(tmp_path, text)


LAN = "name: x\nnodes: {{s: {{kind: switch}}, t: {{kind: switch}}, a: {{}}, b: {{}}}}\nlinks:\n{}"
SAME_LINK: list[tuple[str, str]] = [
    (f"{TWO}links: [{{endpoints: [a, b], addresses: {{a: 10.0.0.1/24, b: ▶10.0.0.1/24}}}}]\n", "a:eth0"),
    (f"{TWO}links: [{{endpoints: [a, b], addresses: {{a: 10.0.0.1/24, b: ▶10.0.0.1/16}}}}]\n", "a:eth0"),
    (f'{TWO}links: [{{endpoints: [a, b], addresses: {{a: "fe80::1/64", b: ▶"fe80::1/64"}}}}]\n', "a:eth0"),
    (
        LAN.format("- {endpoints: [a, s], addresses: {a: 10.0.0.1/24}}\n- {endpoints: [b, s], addresses: {b: ▶10.0.0.1/24}}\n"),
        "a:eth0",
    ),
    (
        LAN.format(
            "- {endpoints: [a, s], addresses: {a: 10.0.0.1/24}}\n- {endpoints: [s, t]}\n"
            "- {endpoints: [b, t], addresses: {b: ▶10.0.0.1/24}}\n"
        ),
        "a:eth0",
    ),
    (
        LAN.format(
            "- {endpoints: [a, {node: s, vlan: {access: 7}}], addresses: {a: 10.0.0.1/24}}\n"
            "- {endpoints: [b, {node: s, vlan: {access: 7}}], addresses: {b: ▶10.0.0.1/24}}\n"
        ),
        "a:eth0",
    ),
    (
        LAN.format(
            "- {endpoints: [a, {node: s, vlan: {access: 7}}], addresses: {a: 10.0.0.1/24}}\n"
            "- {endpoints: [{node: s, vlan: {trunk: [7, 9]}}, {node: t, vlan: {trunk: [7, 9]}}]}\n"
            "- {endpoints: [b, {node: t, vlan: {access: 7}}], addresses: {b: ▶10.0.0.1/24}}\n"
        ),
        "a:eth0",
    ),
    (
        LAN.format(
            "- {endpoints: [a, {node: s, vlan: {trunk: 9, native: 7}}], addresses: {a: 10.0.0.1/24}}\n"
            "- {endpoints: [b, {node: s, vlan: {access: 7}}], addresses: {b: ▶10.0.0.1/24}}\n"
        ),
        "a:eth0",
    ),
    (
        LAN.format(
            "- {endpoints: [a, {node: s, vlan: {trunk: 7}}]}\n"
            "- {endpoints: [b, {node: s, vlan: {access: 7}}], addresses: {b: ▶10.0.0.1/24}}\n"
        ).replace("a: {}", "a: {interfaces: {v: {kind: vlan, parent: eth0, id: 7, addresses: 10.0.0.1/24}}}"),
        "a:v",
    ),
    (
        "name: x\nnodes:\n"
        "  a: {interfaces: {eth0.7: {kind: vlan, parent: eth0, id: 7, addresses: 10.0.0.1/24}}}\n"
        "  b: {interfaces: {v: {kind: vlan, parent: eth0, id: 7, addresses: ▶10.0.0.1/24}}}\n"
        "links: [{endpoints: [a, b]}]\n",
        "a:eth0.7",
    ),
    (
        "name: x\nnodes:\n"
        "  a: {interfaces: {m: {kind: macvlan, parent: eth0, addresses: 10.0.0.1/24}}}\n"
        "  b: {}\n"
        "links: [{endpoints: [a, b], addresses: {b: ▶10.0.0.1/24}}]\n",
        "a:m",
    ),
    (
        "name: x\nnodes:\n"
        "  a: {interfaces: {bond0: {kind: bond, members: [eth0, eth1], addresses: 10.0.0.1/24}}}\n"
        "  b: {}\n"
        "links: [{endpoints: [a, b]}, {endpoints: [a, b], addresses: {b: ▶10.0.0.1/24}}]\n",
        "a:bond0",
    ),
    (
        "name: x\nnodes:\n"
        "  s: {kind: switch, interfaces: {br0: {kind: bridge, vlan_filtering: true, addresses: 10.0.0.1/24}}}\n"
        "  a: {}\n"
        "links: [{endpoints: [a, s], addresses: {a: ▶10.0.0.1/24}}]\n",
        "s:br0",
    ),
    (
        LAN.format(
            "- {endpoints: [a, s], addresses: {a: 10.0.0.1/24}}\n"
            "- {endpoints: [{node: s, vlan: {trunk: [1, 9]}}, {node: t, vlan: {trunk: [1, 9]}}]}\n"
            "- {endpoints: [b, t], addresses: {b: ▶10.0.0.1/24}}\n"
        ),
        "a:eth0",
    ),
]


@pytest.mark.parametrize(("text", "owner"), SAME_LINK)
def test_an_address_cannot_be_on_a_link_twice(tmp_path: Path, text: str, owner: str) -> None:
    address = text.partition("▶")[2].lstrip('"').partition("/")[0]
    check(tmp_path, text, [(f"{address} is on this link twice: {owner} has it already", None)])


OTHER_LINK = {
    "two LANs": LAN.format(
        "- {endpoints: [a, s], addresses: {a: 10.0.0.1/24}}\n- {endpoints: [b, t], addresses: {b: 10.0.0.1/24}}\n"
    ),
    "two VLANs of a switch": LAN.format(
        "- {endpoints: [a, {node: s, vlan: {access: 7}}], addresses: {a: 10.0.0.1/24}}\n"
        "- {endpoints: [b, {node: s, vlan: {access: 9}}], addresses: {b: 10.0.0.1/24}}\n"
    ),
    "a VLAN and none": LAN.format(
        "- {endpoints: [a, {node: s, vlan: {access: 7}}], addresses: {a: 10.0.0.1/24}}\n"
        "- {endpoints: [b, s], addresses: {b: 10.0.0.1/24}}\n"
    ),
    "a trunk that lacks the VLAN": LAN.format(
        "- {endpoints: [a, {node: s, vlan: {access: 7}}], addresses: {a: 10.0.0.1/24}}\n"
        "- {endpoints: [{node: s, vlan: {trunk: [7, 9]}}, {node: t, vlan: {trunk: [9]}}]}\n"
        "- {endpoints: [b, {node: t, vlan: {access: 7}}], addresses: {b: 10.0.0.1/24}}\n"
    ),
    "two VLAN devices": (
        "name: x\nnodes:\n"
        "  a: {interfaces: {v: {kind: vlan, parent: eth0, id: 7, addresses: 10.0.0.1/24}}}\n"
        "  b: {interfaces: {v: {kind: vlan, parent: eth0, id: 9, addresses: 10.0.0.1/24}}}\n"
        "links: [{endpoints: [a, b]}]\n"
    ),
    "a VLAN device and its parent": (
        "name: x\nnodes:\n"
        "  a: {interfaces: {v: {kind: vlan, parent: eth0, id: 7, addresses: 10.0.0.1/24}}}\n"
        "  b: {}\n"
        "links: [{endpoints: [a, b], addresses: {b: 10.0.0.1/24}}]\n"
    ),
    "members of a VRF": (
        "name: x\nnodes: {r: {interfaces: {red: {kind: vrf, table: 7, members: [eth0, eth1]}}}, a: {}, b: {}}\n"
        "links:\n"
        "- {endpoints: [r, a], addresses: {a: 10.0.0.1/24}}\n- {endpoints: [r, b], addresses: {b: 10.0.0.1/24}}\n"
    ),
    "loopbacks": (
        "name: x\nnodes:\n"
        "  a: {interfaces: {lo: {addresses: 10.0.0.1/32}}}\n  b: {interfaces: {lo: {addresses: 10.0.0.1/32}}}\n"
        "links: [{endpoints: [a, b]}]\n"
    ),
    "127/8": f"{TWO}links: [{{endpoints: [a, b], addresses: {{a: 127.0.0.2/8, b: 127.0.0.2/8}}}}]\n",
}


@pytest.mark.parametrize("text", OTHER_LINK.values(), ids=OTHER_LINK.keys())
def test_the_same_address_may_be_on_links_that_do_not_hear_each_other(tmp_path: Path, text: str) -> None:
    accepted(tmp_path, text)


def too_small(mtu: int, interface: str) -> Said:
    hint = "IPv6 needs 1280 (RFC 8200): raise the MTU or remove the IPv6 address"
    return f"MTU {mtu} of {interface} is too small for its IPv6 addresses", hint


V6 = '"2001:db8::1/64"'
MTUS: list[Row] = [
    (
        f"name: x\nnodes: {{a: {{interfaces: {{d: {{kind: dummy, mtu: ▶1279, addresses: {V6}}}}}}}}}\n",
        [too_small(1279, "a:d")],
    ),
    (f"{TWO}links: [{{endpoints: [a, b], mtu: ▶1000, addresses: {{a: {V6}}}}}]\n", [too_small(1000, "a:eth0")]),
    (
        f"{TWO}links: [{{endpoints: [a, {{node: b, mtu: ▶1000}}], addresses: {{b: {V6}}}}}]\n",
        [too_small(1000, "b:eth0")],
    ),
    (
        f"name: x\nnodes: {{a: {{interfaces: {{eth0: {{mtu: ▶1000}}}}}}, b: {{}}}}\n"
        f"links: [{{endpoints: [a, b], addresses: {{a: {V6}}}}}]\n",
        [too_small(1000, "a:eth0")],
    ),
    (
        f"{TWO}defaults: {{links: {{mtu: ▶1000}}}}\nlinks: [{{endpoints: [a, b], addresses: {{a: {V6}}}}}]\n",
        [too_small(1000, "a:eth0")],
    ),
    (
        f"name: x\nnodes: {{a: {{interfaces: {{lo: {{mtu: ▶1000, addresses: {V6}}}}}}}}}\n",
        [too_small(1000, "a:lo")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, mtu: 1000}, "
        f"v: ▶{{kind: vlan, parent: d, id: 7, addresses: {V6}}}}}}}}}\n",
        [too_small(1000, "a:v")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {v: {kind: vlan, parent: eth0, id: 7, mtu: ▶1501}}}, b: {}}\n"
        "links: [{endpoints: [a, b]}]\n",
        [("MTU 1501 of a:v is above its parent's (eth0: 1500)", "raise the MTU of eth0 or lower this one")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {m: {kind: macvlan, parent: eth0, mtu: ▶1500}}}, b: {}}\n"
        "links: [{endpoints: [a, b], mtu: 1400}]\n",
        [("MTU 1500 of a:m is above its parent's (eth0: 1400)", "raise the MTU of eth0 or lower this one")],
    ),
]


@pytest.mark.parametrize(("text", "said"), MTUS)
def test_an_mtu_that_cannot_be(tmp_path: Path, text: str, said: list[Said]) -> None:
    check(tmp_path, text, said)


def test_ipv4_lives_with_a_small_mtu_and_ipv6_with_1280(tmp_path: Path) -> None:
    accepted(tmp_path, one("10.0.0.1/24").replace("dummy,", "dummy, mtu: 68,"))
    accepted(tmp_path, one(V6).replace("dummy,", "dummy, mtu: 1280,"))


PORTS: list[Row] = [
    (
        f"{TWO}links: [{{endpoints: [a, {{node: b, vlan: ▶{{access: 7}}}}]}}]\n",
        [
            (
                "b:eth0 is no port of a bridge: it has no VLAN membership",
                "for a VLAN device write an interface of kind vlan with parent: eth0",
            )
        ],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {eth0: {vlan: ▶{access: 7}}}}, b: {}}\nlinks: [{endpoints: [a, b]}]\n",
        [
            (
                "a:eth0 is no port of a bridge: it has no VLAN membership",
                "for a VLAN device write an interface of kind vlan with parent: eth0",
            )
        ],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, vlan: ▶{access: 7}}, b: {kind: bridge, members: d}}}}\n",
        [("bridge b of a is not VLAN-aware", "set vlan_filtering: true")],
    ),
    (
        "name: x\nnodes: {a: {interfaces: {d: {kind: dummy, vlan: ▶{access: 7}}, b: {kind: bond, members: d}}}}\n",
        [
            (
                "a:d is no port of a bridge: it has no VLAN membership",
                "for a VLAN device write an interface of kind vlan with parent: d",
            )
        ],
    ),
    (
        "name: x\nnodes: {a: {}, s: {kind: switch}}\nlinks: [{endpoints: [a, {node: s, vlan: {access: ▶0}}]}]\n",
        [("0: input should be greater than or equal to 1", None)],
    ),
    (
        "name: x\nnodes: {a: {}, s: {kind: switch}}\nlinks: [{endpoints: [a, {node: s, vlan: {trunk: [7, ▶4095]}}]}]\n",
        [("4095: input should be less than or equal to 4094", None)],
    ),
]


NEITHER: Said = ("a port is either `access: ID`, or `trunk: [ID, …]` with an optional `native: ID`", None)


@pytest.mark.parametrize("vlan", ["{}", "{access: 7, trunk: [9]}", "{access: 7, native: 9}"])
def test_a_port_is_either_an_access_port_or_a_trunk(tmp_path: Path, vlan: str) -> None:
    text = f"name: x\nnodes: {{a: {{}}, s: {{kind: switch}}}}\nlinks: [{{endpoints: [a, {{node: s, vlan: ▶{vlan}}}]}}]\n"
    check(tmp_path, text, [NEITHER])


@pytest.mark.parametrize(("text", "said"), PORTS)
def test_a_vlan_membership_that_no_port_can_have(tmp_path: Path, text: str, said: list[Said]) -> None:
    check(tmp_path, text, said)


def with_routes(routes: str, kind: str = "routes") -> str:
    return (
        f"name: x\nnodes:\n  a: {{{kind}: [{routes}]}}\n  b: {{}}\n"
        'links: [{endpoints: [a, b], addresses: {a: [10.0.0.1/24, "2001:db8::1/64"]}}]\n'
    )


OFF_LINK = "give an interface an address in its prefix, or set onlink: true"
ROUTES: list[tuple[str, list[Said]]] = [
    ("▶{to: 10.9.0.0/16}", [("the route leads nowhere", "give it via:, dev: or nexthops:")]),
    (
        "{to: 10.9.0.0/16, via: 10.0.0.2, type: ▶blackhole}",
        [("a route of type blackhole has no gateway and no device", None)],
    ),
    ("{to: 10.9.0.0/16, dev: eth0, type: ▶throw}", [("a route of type throw has no gateway and no device", None)]),
    (
        "{to: 10.9.0.0/16, via: 10.0.0.2, nexthops: ▶[{via: 10.0.0.3}]}",
        [("give either nexthops: or via:/dev:", None)],
    ),
    (
        "{to: ▶default, dev: eth0}",
        [("the family of this default route is not known", "write 0.0.0.0/0 or ::/0")],
    ),
    (
        '▶{to: 10.9.0.0/16, via: "2001:db8::2"}',
        [("10.9.0.0/16 and its gateway or source are of different families", None)],
    ),
    (
        '▶{to: default, via: 10.0.0.2, src: "2001:db8::1"}',
        [("default and its gateway or source are of different families", None)],
    ),
    (
        '▶{to: default, nexthops: [{via: 10.0.0.2}, {via: "2001:db8::2"}]}',
        [("default and its gateway or source are of different families", None)],
    ),
    (
        "{to: 10.9.0.0/16, dev: ▶eth1}",
        [("node a has no interface 'eth1'", "did you mean 'eth0'?")],
    ),
    (
        "{to: 10.9.0.0/16, nexthops: [{via: 10.0.0.2}, {dev: ▶wan}]}",
        [("node a has no interface 'wan'", None)],
    ),
    (
        "{to: 10.9.0.0/16, via: 10.0.0.2, src: ▶10.0.0.9}",
        [("10.0.0.9 is no address of a", "a route's source must be the node's own")],
    ),
    ("{to: 10.9.0.0/16, via: ▶10.1.0.2}", [("gateway 10.1.0.2 is on no link of a", OFF_LINK)]),
    (
        "{to: 10.9.0.0/16, nexthops: [{via: 10.0.0.2}, {via: ▶10.1.0.2}]}",
        [("gateway 10.1.0.2 is on no link of a", OFF_LINK)],
    ),
    (
        "{to: 10.9.0.0/16, via: ▶10.1.0.2}, {to: 10.1.0.0/16, dev: eth0}",
        [("gateway 10.1.0.2 is on no link of a", OFF_LINK)],
    ),
]


@pytest.mark.parametrize(("routes", "said"), ROUTES)
def test_a_route_that_cannot_be(tmp_path: Path, routes: str, said: list[Said]) -> None:
    check(tmp_path, with_routes(routes), said)


@pytest.mark.parametrize(
    "routes",
    [
        "{to: default, via: 10.0.0.2}, {to: default, via: fe80::2, dev: eth0}",
        "{to: 10.9.0.0/16, via: 10.1.0.2, dev: eth0, onlink: true}",
        "{to: 10.1.0.0/16, dev: eth0}, {to: 10.9.0.0/16, via: 10.1.0.2}",
        "{to: 10.9.0.0/16, type: unreachable}, {to: 10.8.0.1/32, type: local, dev: lo}",
        "{to: 10.9.0.0/16, via: 10.0.0.2, src: 10.0.0.1}",
    ],
)
def test_a_route_that_the_kernel_would_take_is_taken(tmp_path: Path, routes: str) -> None:
    accepted(tmp_path, with_routes(routes))


RULES: list[tuple[str, list[Said]]] = [
    ("▶{table: 7}", [("the family of this rule is not known", "add family: ipv4 or family: ipv6")]),
    (
        '▶{from: 10.0.0.0/8, to: "2001:db8::/32", table: 7}',
        [("10.0.0.0/8 and 2001:db8::/32 are of different families", None)],
    ),
    ("▶{from: 10.0.0.0/8}", [("a rule names a table, or is a blackhole, unreachable or prohibit", "add table:")]),
    (
        "▶{from: 10.0.0.0/8, table: 7, type: prohibit}",
        [("a rule names a table, or is a blackhole, unreachable or prohibit", "add table:")],
    ),
    (
        "{from: 10.0.0.0/8, table: 7, type: ▶prohibt}",
        [("'prohibt' is not one of 'lookup', 'blackhole', 'unreachable' or 'prohibit'", "did you mean 'prohibit'?")],
    ),
]


@pytest.mark.parametrize(("rules", "said"), RULES)
def test_a_rule_that_cannot_be(tmp_path: Path, rules: str, said: list[Said]) -> None:
    check(tmp_path, with_routes(rules, "rules"), said)


NEIGHBOURS: list[tuple[str, list[Said]]] = [
    (
        '{address: 10.0.0.2, dev: ▶ehh0, mac: "02:00:00:00:00:02"}',
        [("node a has no interface 'ehh0'", "did you mean 'eth0'?")],
    ),
    ("▶{address: 10.0.0.2, dev: eth0}", [("neighbour 10.0.0.2 needs a mac", "or proxy: true, which has none")]),
    (
        '▶{address: 10.0.0.2, dev: eth0, proxy: true, mac: "02:00:00:00:00:02"}',
        [("neighbour 10.0.0.2 needs a mac", "or proxy: true, which has none")],
    ),
]


@pytest.mark.parametrize(("neighbours", "said"), NEIGHBOURS)
def test_a_neighbour_that_cannot_be(tmp_path: Path, neighbours: str, said: list[Said]) -> None:
    check(tmp_path, with_routes(neighbours, "neighbours"), said)


MANY = """\
name: x
nodes:
  a:
    kind: ▶ruter
    interfaces:
      ▶eth7: {mtu: 1400}
      d: {kind: dummy, mtu: ▶1000, addresses: "2001:db8::1/64", ▶colour: red}
  b: {}
links:
  - endpoints: [a, ▶c]
  - {endpoints: [a, b], prefix: 10.0.0.0/24, addresses: {a: ▶10.0.1.1/24}}
"""


def test_several_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    check(
        tmp_path,
        MANY,
        [
            ("'ruter' is not one of 'host', 'router', 'switch', 'ovs' or 'container'", "did you mean 'router'?"),
            ("no link ends at a:eth7", "did you mean 'eth0'?"),
            too_small(1000, "a:d"),
            (
                "unknown key 'colour'",
                "known here: addresses, kind, mac, mtu, netem, offloads, otherwise, sysctls, up, vlan",
            ),
            ("node 'c' does not exist", "add it under nodes:"),
            ("10.0.1.1 lies outside the link's prefix 10.0.0.0/24", "choose an address in 10.0.0.0/24"),
        ],
    )


def test_a_problem_that_a_loop_repeats_is_told_once(tmp_path: Path) -> None:
    text = "name: x\nnodes:\n#% for n in range(3)\n  n{{ n }}:\n    ▶kindd: host\n#% endfor\n"
    check(tmp_path, text, [("unknown key 'kindd'", "did you mean 'kind'?")])


def test_what_a_misspelt_key_leaves_out_is_not_told_beside_it(tmp_path: Path) -> None:
    check(
        tmp_path,
        with_routes("{▶form: 10.0.0.0/8, ▶tabel: 7}", "rules"),
        [("unknown key 'form'", "did you mean 'from'?"), ("unknown key 'tabel'", "did you mean 'table'?")],
    )


def test_routes_and_neighbours_are_not_judged_by_interfaces_that_a_wrong_link_did_not_make(tmp_path: Path) -> None:
    text = with_routes("{to: default, via: 10.0.0.2, dev: eth0}").replace("[a, b]", "[a, ▶c]")
    check(tmp_path, text, [("node 'c' does not exist", "add it under nodes:")])
    text = with_routes('{address: 10.0.0.2, dev: eth0, mac: "02:00:00:00:00:02"}', "neighbours").replace("[a, b]", "[a, ▶c]")
    check(tmp_path, text, [("node 'c' does not exist", "add it under nodes:")])


def test_of_very_many_problems_the_first_hundred_are_told(tmp_path: Path) -> None:
    nodes = "\n".join(f"  n{number}: {{colour: red}}" for number in range(2 * MOST_FAULTS))
    assert len(faults_of(tmp_path, f"name: x\nnodes:\n{nodes}\n")) == MOST_FAULTS
