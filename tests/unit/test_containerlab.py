"""Files of containerlab's as topologies: what they become, where each part of that stands, and what is not covered."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.containerlab.coverage import KEYS, NOTED, REFUSED
from lab.containerlab.load import Loaded, load
from lab.errors import TopologyError
from lab.model import parse as parse_topology
from lab.topology.source import Source
from lab.topology.writing import write
from lab.topology.yaml12 import parse

FILE, FOLDER = "x.clab.yml", Path("/home/me/lab")


def loaded(text: str, **environment: str) -> Loaded:
    return load(Source(FILE, text, FOLDER), {}, environment)


def data(text: str, **environment: str) -> Any:
    found = loaded(text, **environment)
    assert not found.problems, found.problems
    assert parse(found.document.rendered).value == found.document.data, "the text of it is not the same"
    return found.document.data


def problems(text: str, **environment: str) -> list[str]:
    """Each as `LINE:COLUMN: MESSAGE`."""
    try:
        found = loaded(text, **environment).problems
    except TopologyError as error:
        found = error.problems
    return [f"{each.place.line}:{each.place.column}: {each.message}" if each.place else each.message for each in found]


def notes(text: str) -> list[str]:
    return [f"{each.place.line}:{each.place.column}: {each.message}" for each in loaded(text).document.notes if each.place]


def node(body: str, **above: str) -> Any:
    """The one node of a file, and what else stands below `topology:`."""
    levels = "".join(f"  {name}: {text}\n" for name, text in above.items())
    return data(f"name: x\ntopology:\n{levels}  nodes:\n    a: {body}\n")["nodes"]["a"]


def complaints(body: str) -> list[str]:
    """About one container; the node's mapping begins in column 8 of line 4."""
    return problems(f"name: x\ntopology:\n  nodes:\n    a: {{kind: linux, image: i, {body}}}\n")


def linked(links: str) -> Any:
    """Of containers a and b, and a switch s."""
    return data(TWO + links)


TWO = """\
name: x
topology:
  defaults: {kind: linux, image: i}
  nodes: {a: , b: , s: {kind: bridge}}
  links:
"""
CLIENTS = """\
name: clients
topology:
  groups:
    routers:
      kind: linux
      image: router:1.2
    hosts:
      kind: linux
      image: tools:3.20
  nodes:
    r1:
      group: routers
      binds:
        - r1/daemons:/etc/r/daemons
        - r1/r.conf:/etc/r/r.conf
    pc:
      group: hosts
      exec:
        - ip link set eth1 up
        - ip addr add 192.168.11.2/24 dev eth1
  links:
    - endpoints: ["pc:eth1", "r1:eth3"]
"""


def test_routers_and_hosts_of_groups_become_containers_and_a_link() -> None:
    assert data(CLIENTS) == {
        "name": "clients",
        "defaults": {"links": {"mtu": 9500}},
        "nodes": {
            "r1": {
                "kind": "container",
                "image": "router:1.2",
                "binds": ["./r1/daemons:/etc/r/daemons:rw", "./r1/r.conf:/etc/r/r.conf:rw"],
                "privileged": True,
            },
            "pc": {
                "kind": "container",
                "image": "tools:3.20",
                "privileged": True,
                "exec": [["ip", "link", "set", "eth1", "up"], ["ip", "addr", "add", "192.168.11.2/24", "dev", "eth1"]],
            },
        },
        "links": [{"endpoints": ["pc:eth1", "r1:eth3"]}],
    }


def test_all_that_a_container_can_be_told() -> None:
    body = """
      kind: linux
      image: busybox:lab
      image-pull-policy: Always
      entrypoint: /bin/sh -e
      cmd: -c "sleep 99 && echo $X"
      env: {VERSION: 1.10, DEBUG: yes, EMPTY: }
      binds: [www:/www:ro]
      cap-add: [NET_ADMIN, SYS_PTRACE]
      privileged: no
      user: 1000
      cpu: 1.5
      memory: 64MB
      sysctls: {net.ipv4.ip_forward: 1, net.ipv4.tcp_rmem: 4096 8192 16384}
      network-mode: none
      runtime: docker
      labels: {graph-icon: router}
      position: left
      type: any
      group: leaves
      startup-delay: 0
      certificate: {issue: false}
"""
    assert node(body) == {
        "kind": "container",
        "image": "busybox:lab",
        "entrypoint": ["/bin/sh", "-e"],
        "command": ["-c", "sleep 99 && echo $X"],
        "environment": {"VERSION": "1.10", "DEBUG": "yes", "EMPTY": ""},
        "binds": ["./www:/www"],
        "capabilities": ["NET_ADMIN", "SYS_PTRACE"],
        "privileged": False,
        "user": "1000",
        "resources": {"memory": "64MB", "cpus": 1.5},
        "sysctls": {"net.ipv4.ip_forward": "1", "net.ipv4.tcp_rmem": "4096 8192 16384"},
        "pull": True,
    }


LEVELS = {
    "defaults": "{kind: linux, image: d, group: g, user: d, cmd: d, env: {D: d, K: d, G: d, N: d}, exec: [one, two], cpu: 1}",
    "kinds": "{linux: {user: k, cmd: k, env: {K: k, G: k, N: k}, exec: [two, three], sysctls: {net.a: 1}}}",
    "groups": "{g: {cmd: g, env: {G: g, N: g}, exec: [four], sysctls: {net.a: 2, net.b: 2}}, other: {kind: linux, image: o}}",
}


def test_the_most_specific_level_wins_mappings_are_merged_and_lists_are_added_up() -> None:
    found = node("{env: {N: n}, exec: [one, five], cmd: n}", **LEVELS)
    assert (found["image"], found["user"], found["command"], found["resources"]) == ("d", "k", ["n"], {"cpus": 1})
    assert found["environment"] == {"D": "d", "K": "k", "G": "g", "N": "n"}
    assert found["exec"] == [["one"], ["two"], ["three"], ["four"], ["five"]]
    assert found["sysctls"] == {"net.a": "2", "net.b": "2"}


@pytest.mark.parametrize(
    ("body", "key", "value"),
    [
        ("", "command", ["g"]),
        ("{cmd: }", "command", ["g"]),
        ('{cmd: ""}', "command", ["g"]),
        ("{group: other}", "command", ["k"]),
        ("{group: other}", "image", "o"),
        ("{group: nobody}", "command", ["k"]),
        ("{privileged: false}", "privileged", False),
        ("{privileged: true}", "privileged", True),
    ],
)
def test_a_value_comes_from_the_first_level_that_has_one(body: str, key: str, value: object) -> None:
    assert node(body, **LEVELS)[key] == value


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        ({"defaults": "{kind: linux, image: i}"}, "container"),
        ({"defaults": "{kind: linux, image: i}", "groups": "{g: {kind: bridge}}"}, "switch"),
        ({"defaults": "{kind: linux, image: i, group: e}", "groups": "{e: {kind: bridge}, g: {}}"}, "switch"),
        ({"defaults": "{kind: bridge}", "groups": "{g: {kind: linux, image: i}}"}, "container"),
    ],
)
def test_a_kind_comes_from_the_node_its_group_the_defaults_group_or_the_defaults(levels: dict[str, str], kind: str) -> None:
    assert node("{group: g}", **levels)["kind"] == kind


def test_a_kind_may_say_the_group() -> None:
    levels = {"kinds": "{linux: {group: g, image: k}}", "groups": "{g: {image: g}}"}
    assert node("{kind: linux}", **levels)["image"] == "g"


@pytest.mark.parametrize(
    ("bind", "written"),
    [
        ("a.conf:/a", "./a.conf:/a:rw"),
        ("./a.conf:/a:rw", "./a.conf:/a:rw"),
        ("a/../b//c:/a:ro", "./b/c:/a"),
        ("a:/a:ro,z", "./a:/a"),
        ("a:/a:Z", "./a:/a:rw"),
        (".:/all", ".:/all:rw"),
        ("/home/me/lab/:/all", ".:/all:rw"),
        ("/home/me/lab/x:/a", "./x:/a:rw"),
        ("/home/me/other/../lab/x:/a", "./x:/a:rw"),
        ("__clabNodeDir__/conf:/c", "./clab-x/a/conf:/c:rw"),
        ("__clabDir__/all.json:/c:ro", "./clab-x/all.json:/c"),
        ("cfg/__clabNodeName__.cfg:/c:ro", "./cfg/a.cfg:/c"),
    ],
)
def test_a_bind_is_writable_unless_it_says_otherwise_and_begins_at_the_topologys_folder(bind: str, written: str) -> None:
    assert node(f"{{kind: linux, image: i, binds: ['{bind}']}}")["binds"] == [written]


@pytest.mark.parametrize(
    "bind", ["/etc:/etc", "../x:/x", "a/../../x:/x", "~/x:/x", "~:/x", "/home/me:/x", "/home/me/lab2/x:/x", "..:/x"]
)
def test_a_bind_outside_of_the_topologys_folder_is_not_covered(bind: str) -> None:
    source = bind.split(":")[0]
    expected = f"4:40: the bind of {source!r} is not covered: it lies outside the topology's folder"
    assert complaints(f"binds: ['{bind}']") == [expected]


def test_of_two_binds_with_one_target_the_more_specific_one_holds() -> None:
    levels = {"defaults": "{binds: [d:/a, d:/b]}", "kinds": "{linux: {binds: [k:/a]}}"}
    assert node("{kind: linux, image: i, binds: ['d:/a:ro']}", **levels)["binds"] == ["./d:/b:rw", "./d:/a"]


def test_words_that_stand_for_the_lab_and_the_node_are_replaced_in_commands() -> None:
    found = node("{kind: linux, image: i, exec: ['echo __clabNodeName__ __clabLabName__'], cmd: echo __clabNodeName__}")
    assert found["exec"] == [["echo", "a", "clab-x"]]
    assert found["command"] == ["echo", "__clabNodeName__"], "containerlab itself replaces none there"


@pytest.mark.parametrize(
    ("written", "memory"),
    [("1G", "1GB"), ("1Gb", "1GB"), ("512 MB", "512MB"), ("1.5gb", "1500MB"), ("1GiB", "1073741824B"), ("4096", "4096B")],
)
def test_memory_is_counted_as_containerlab_counts_it(written: str, memory: str) -> None:
    assert node(f"{{kind: linux, image: i, memory: {written}}}")["resources"] == {"memory": memory}


@pytest.mark.parametrize(
    ("policy", "pull"), [("IfNotPresent", True), ("if-not-present", True), ("always", True), ("Never", False)]
)
def test_an_image_is_pulled_only_where_the_file_says_so(policy: str, pull: bool) -> None:
    assert node(f"{{kind: linux, image: i, image-pull-policy: {policy}}}")["pull"] is pull
    assert "pull" not in node("{kind: linux, image: i}")


def test_variables_come_from_the_environment_and_set_comes_before_it() -> None:
    text = "name: x\ntopology: {nodes: {a: {kind: linux, image: 'i:${TAG:=3}', user: $USER_}}}\n"
    assert data(text)["nodes"]["a"]["image"] == "i:3"
    found = load(Source(FILE, text), {"TAG": "5"}, {"TAG": "4", "USER_": "me", "HOME": "/"}).document
    assert found.data["nodes"]["a"]["image"] == "i:5"  # type: ignore[index]
    assert found.params == {"TAG": "5", "USER_": "me"}, "what the file does not name is nobody's business"


def test_a_variable_that_the_file_does_not_name_cannot_be_set() -> None:
    found = load(Source(FILE, "name: x\ntopology: {nodes: {a: {kind: linux, image: '${TAG:=3}'}}}\n"), {"TGA": "5"}, {})
    (problem,) = found.problems
    assert (problem.message, problem.hint) == ("x.clab.yml has no variable 'TGA'", "did you mean 'TAG'?")


# Links.


@pytest.mark.parametrize(
    ("link", "written"),
    [
        ('endpoints: ["a:eth1", "b:eth1"]', {"endpoints": ["a:eth1", "b:eth1"]}),
        ("endpoints: [a:eth1, s:a-eth1]", {"endpoints": ["a:eth1", "s:a-eth1"]}),
        ("{endpoints: [a:eth1, b:eth1], mtu: 1500}", {"endpoints": ["a:eth1", "b:eth1"], "mtu": 1500}),
        ("{endpoints: [a:eth1, b:eth1], vars: {x: [1]}, labels: {y: z}}", {"endpoints": ["a:eth1", "b:eth1"]}),
        ("{type: brief, endpoints: [a:eth1, b:eth1]}", {"endpoints": ["a:eth1", "b:eth1"]}),
        (
            "{endpoints: [a:eth1, b:eth1], ipv4: [10.0.0.1/24, 10.0.0.2/24], ipv6: ['2001:db8::1/64']}",
            {
                "endpoints": [
                    {"node": "a", "interface": "eth1", "addresses": ["10.0.0.1/24", "2001:db8::1/64"]},
                    {"node": "b", "interface": "eth1", "addresses": ["10.0.0.2/24"]},
                ]
            },
        ),
        (
            "{endpoints: [a:eth1, b:eth1], ipv4: ['', 10.0.0.2/24]}",
            {"endpoints": ["a:eth1", {"node": "b", "interface": "eth1", "addresses": ["10.0.0.2/24"]}]},
        ),
        (
            "{type: veth, mtu: 1400, endpoints: [{node: a, interface: e, mac: 02:00:00:00:00:01, vars: {v: w}}, "
            "{node: b, interface: f, ipv4: 10.0.0.2/24, ipv6: '2001:db8::2/64'}]}",
            {
                "endpoints": [
                    {"node": "a", "interface": "e", "mac": "02:00:00:00:00:01"},
                    {"node": "b", "interface": "f", "addresses": ["10.0.0.2/24", "2001:db8::2/64"]},
                ],
                "mtu": 1400,
            },
        ),
        (
            "{type: veth-stitch, endpoints: [{node: a, interface: e}, {node: b, interface: f}]}",
            {"endpoints": ["a:e", "b:f"]},
        ),
        ("{type: VETH, endpoints: [a:eth1, {node: a, interface: eth2}]}", {"endpoints": ["a:eth1", "a:eth2"]}),
    ],
)
def test_a_link_in_brief_and_in_extended_form(link: str, written: object) -> None:
    found = linked(f"    - {link}\n")
    assert found["links"] == [written]
    assert found["defaults"] == {"links": {"mtu": 9500}}, "containerlab's own, where a link says nothing"


def test_a_dummy_is_a_device_of_its_node() -> None:
    found = linked(
        "    - {type: dummy, endpoint: {node: a, interface: d0}}\n"
        "    - {type: dummy, mtu: 1400, endpoint: {node: a, interface: d1, mac: 02:00:00:00:00:01, ipv4: 10.0.0.1/32}}\n"
    )
    assert found["nodes"]["a"]["interfaces"] == {
        "d0": {"kind": "dummy", "mtu": 9500},
        "d1": {"kind": "dummy", "mtu": 1400, "mac": "02:00:00:00:00:01", "addresses": ["10.0.0.1/32"]},
    }
    assert "links" not in found


def test_a_bridge_is_a_switch_of_the_lab_and_an_ovs_bridge_an_open_vswitch() -> None:
    nodes = "    br: {kind: bridge}\n    o: {kind: ovs-bridge}\n"
    text = f"name: x\ntopology:\n  defaults: {{image: i, exec: [a], privileged: true}}\n  nodes:\n{nodes}"
    assert data(text)["nodes"] == {"br": {"kind": "switch"}, "o": {"kind": "ovs"}}
    said = "4:3: bridges are switches of the lab, not of the host: what else the host's connect is not there: br, o"
    assert notes(text) == [said]


def test_a_bridge_inside_a_container_is_a_device_of_that_node() -> None:
    found = data(
        "name: x\ntopology:\n  nodes:\n"
        "    br0|a: {kind: bridge, network-mode: container:a}\n    a: {kind: linux, image: i}\n    b: {kind: linux, image: i}\n"
        "    br1: {kind: bridge, network-mode: container:a}\n"
        "  links:\n    - endpoints: [b:eth1, 'br0|a:p1']\n    - endpoints: ['br0|a:p2', b:eth2]\n"
    )
    assert found["nodes"]["a"]["interfaces"] == {"br0": {"kind": "bridge", "members": ["p1", "p2"]}, "br1": {"kind": "bridge"}}
    assert list(found["nodes"]) == ["a", "b"]
    assert found["links"] == [{"endpoints": ["b:eth1", "a:p1"]}, {"endpoints": ["a:p2", "b:eth2"]}]


# What is not covered.


def test_everything_that_is_wrong_is_told_at_once_each_at_its_place() -> None:
    text = """\
name: x
frefix: y
topology:
  kinds:
    nokia_srlinux: {image: i}
  groups:
    g: {ports: ["80:80"], kidn: linux}
  nodes:
    srl: {kind: nokia_srlinux}
    lost:
    a: {kind: linux, group: g, startup-config: a.cfg}
    b: {kind: linux, image: i, group: g, cmd: "sh 'x"}
  links:
    - endpoints: ["srl:e1-1", "a:eth1"]
    - endpoints: ["a:eth2", "host:eth9"]
    - {type: vxlan, endpoint: {node: a, interface: e}, remote: 10.0.0.1, vni: 1, dst-port: 4789}
    - endpoints: ["a:eth3"]
"""
    assert sorted(problems(text), key=lambda told: [int(number) for number in told.split(":")[:2]]) == [
        "2:1: the file: unknown key 'frefix'",
        "7:9: group g: ports is not covered: no port of the host is published: a lab is hermetic",
        "7:27: group g: unknown key 'kidn'",
        "9:17: node srl: the kind 'nokia_srlinux' is not covered: lab runs no such systems",
        "10:5: node lost has no kind",
        "11:5: node a has no image",
        "11:32: node a: startup-config is not covered: it is for network operating systems of vendors, which are not covered",
        "12:47: \"sh 'x\" is no command: the quote ' has no end",
        "15:29: a link to host is not covered: it ends in the host",
        "16:14: a link of type vxlan is not covered: it ends at another machine",
        "17:18: a link has two endpoints",
    ]


WRONG_VALUES = {
    "runtime": "podman",
    "startup-delay": "5",
    "certificate": "{issue: true}",
    "enforce-startup-config": "true",
    "suppress-startup-config": "true",
}


@pytest.mark.parametrize("key", REFUSED)
def test_every_key_that_is_not_covered_is_named_with_its_node(key: str) -> None:
    (told,) = complaints(f"{key}: {WRONG_VALUES.get(key, '[x]')}")
    assert told.startswith(f"4:32: node a: {key} is not covered: ")


@pytest.mark.parametrize("key", NOTED)
def test_what_has_no_effect_is_noted_with_its_node(key: str) -> None:
    text = f"name: x\ntopology:\n  nodes:\n    a: {{kind: linux, image: i, privileged: true, {key}: x}}\n"
    assert not problems(text)
    (told,) = notes(text)
    assert told.startswith(f"4:50: node a: {key} has no effect: ")


@pytest.mark.parametrize("key", ["mgmt", "prefix", "settings"])
def test_what_has_no_effect_on_the_whole_is_noted(key: str) -> None:
    text = (
        f"name: x\n{key}: {'x' if key == 'prefix' else '{network: x}'}\ntopology: {{nodes: {{a: {{kind: linux, image: i}}}}}}\n"
    )
    assert not problems(text)
    assert next(told.split(" has no effect")[0] for told in notes(text)) == f"2:1: {key}"


def test_that_containers_are_privileged_where_nothing_is_said_is_noted_once() -> None:
    nodes = "a: , b: {privileged: true}, c: {privileged: false}, d: "
    text = f"name: x\ntopology:\n  defaults: {{kind: linux, image: i}}\n  nodes: {{{nodes}}}\n"
    assert notes(text) == ["4:3: containers are privileged, as containerlab has them where the file does not say: a, d"]


def test_every_key_of_the_format_is_known() -> None:
    """Those of its JSON schema, and of the structure that it is read into."""
    theirs = """image image-pull-policy restart-policy kind license type group startup-config startup-delay
    enforce-startup-config suppress-startup-config auto-remove exec binds volumes ports env credentials
    env-files user hostname entrypoint cmd labels runtime mgmt-ipv4 mgmt-ipv6 network-mode link-apply-mode cpu
    memory cpu-set extras config stages dns certificate healthcheck components aliases shm-size cap-add
    privileged cgroupns-mode cgroup-parent pid-mode tmpfs security-opts sysctls devices position username
    password"""
    assert set(theirs.split()) == set(KEYS)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("imgae: x", "4:32: node a: unknown key 'imgae'"),
        ("network-mode: host", "4:32: node a: network-mode is not covered: a node has a network of its own, and no other"),
        (
            "network-mode: container:b",
            "4:32: node a: network-mode is not covered: a node has a network of its own, and no other",
        ),
        ("env: {__IMPORT_ENVS: true}", "4:38: node a: __IMPORT_ENVS is not covered: a lab is the same whoever builds it"),
        ("env: [A=1]", "4:37: env of node a is ['A=1']: a mapping is wanted here"),
        ("env: {A: {}}", "4:41: A of env of node a is {}: a text is wanted here"),
        ("exec: echo", "4:38: exec of node a is 'echo': a list of texts is wanted here"),
        ("exec: [[a, b]]", "4:39: each of exec of node a is ['a', 'b']: a text is wanted here"),
        ("binds: [~]", "4:40: each of binds of node a is nothing: a text is wanted here"),
        ("binds: [data]", "4:40: 'data' is no bind"),
        ("binds: ['a:/b:c:d']", "4:40: 'a:/b:c:d' is no bind"),
        ("binds: ['a:/b:rshared']", "4:40: the mode 'rshared' of a bind is not covered"),
        ("binds: ['a:/b:ro,rw']", "4:40: the mode 'ro,rw' of a bind is not covered"),
        ("cpu: many", "4:37: cpu of node a is 'many': a number is wanted here"),
        ("privileged: perhaps", "4:44: privileged of node a is 'perhaps': true or false is wanted here"),
        ("memory: 3 pages", "4:40: '3 pages' is no size"),
        ("image-pull-policy: often", "4:51: 'often' is no pull policy"),
        ("user: [a]", "4:38: user of node a is ['a']: a text is wanted here"),
        ("cmd: 'a \"b'", "4:37: 'a \"b' is no command: the quote \" has no end"),
        ("exec: ['a \\']", "4:39: 'a \\\\' is no command: a backslash at the end"),
    ],
)
def test_what_is_wrong_with_a_container_is_told_at_its_place(body: str, told: str) -> None:
    assert complaints(body) == [told]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{kind: arista_ceos}", "4:15: node a: the kind 'arista_ceos' is not covered: lab runs no such systems"),
        ("{kind: host}", "4:15: node a: the kind 'host' is not covered: it leaves the lab, which is hermetic"),
        (
            "{kind: ext-container}",
            "4:15: node a: the kind 'ext-container' is not covered: it leaves the lab, which is hermetic",
        ),
        ("{}", "4:5: node a has no kind"),
        ("{kind: linux}", "4:5: node a has no image"),
        ("{kind: linux, image: '$IMAGE'}", "4:29: the image '$IMAGE' of node a has a variable without a value"),
        ("[linux]", "4:8: node a is ['linux']: a mapping is wanted here"),
        ("{kind: bridge, image: x}", "4:23: node a: a bridge has no image"),
        ("{kind: bridge, network-mode: none}", "4:37: node a: a bridge is the host's, or inside a container"),
        ("{kind: bridge, network-mode: container:b}", "4:5: node a: there is no container 'b' that it could be in"),
    ],
)
def test_what_is_wrong_with_a_node_is_told_at_its_place(body: str, told: str) -> None:
    assert told in problems(f"name: x\ntopology:\n  nodes:\n    a: {body}\n")


def test_a_misspelt_kind_is_told_with_the_one_that_was_meant() -> None:
    (problem,) = loaded("name: x\ntopology: {nodes: {a: {kind: linx}}}\n").problems
    assert problem.hint == "did you mean 'linux'?"


def test_a_kind_that_is_inherited_is_told_at_each_node() -> None:
    text = "name: x\ntopology:\n  defaults: {kind: crpd}\n  nodes:\n    a:\n    b:\n"
    assert [told.split(":")[:2] for told in problems(text)] == [["5", "5"], ["6", "5"]]


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("a:eth1", "6:7: a link is a mapping, not 'a:eth1'"),
        ("{endpoints: [a:eth1, b:eth1], mut: 5}", "6:37: the link: unknown key 'mut'"),
        ("{endpoints: [a:eth1, b:eth1], mtu: big}", "6:42: mtu of the link is 'big': a whole number is wanted here"),
        (
            "{endpoints: [a:eth1, b:eth1], ipv4: 10.0.0.1/24}",
            "6:43: ipv4 of the link is '10.0.0.1/24': a list of texts is wanted here",
        ),
        ("{endpoints: a:eth1}", "6:19: a link has two endpoints"),
        ("{endpoints: [a:eth1, b:eth1, s:x]}", "6:19: a link has two endpoints"),
        ("{mtu: 1500}", "6:7: a link has two endpoints"),
        ("{endpoints: [a, b:eth1]}", "6:20: 'a' is no end of a link"),
        ("{endpoints: ['a:', b:eth1]}", "6:20: 'a:' is no end of a link"),
        ("{endpoints: [[a], b:eth1]}", "6:20: ['a'] is no end of a link"),
        ("{type: veth, endpoints: [{node: a}, b:eth1]}", "6:32: an end of a link has a node and an interface"),
        ("{type: veth, endpoints: [{node: a, interface: e, ip: x}, b:e]}", "6:56: the endpoint: unknown key 'ip'"),
        ("{type: vehh, endpoints: [a:e, b:e]}", "6:14: unknown type of link 'vehh'"),
        (
            "{type: host, endpoint: {node: a, interface: e}, host-interface: x}",
            "6:14: a link of type host is not covered: it ends in the host",
        ),
        ("{type: mgmt-net}", "6:14: a link of type mgmt-net is not covered: there is no management network"),
        ("{type: macvlan}", "6:14: a link of type macvlan is not covered: it ends at a device of the host"),
        ("{type: vxlan-stitch}", "6:14: a link of type vxlan-stitch is not covered: it ends at another machine"),
        (
            "{endpoints: [a:e, 'macvlan:${UP:=eth0}']}",
            "6:25: a link to macvlan is not covered: it ends at a device of the host",
        ),
        ("{endpoints: ['mgmt-net:x', a:e]}", "6:20: a link to mgmt-net is not covered: there is no management network"),
        ("{type: dummy}", "6:7: a dummy link has one endpoint"),
        ("{type: dummy, endpoint: {node: s, interface: d}}", "6:38: there is no container 's'"),
        ("{type: dummy, endpoint: {node: nobody, interface: d}}", "6:38: there is no container 'nobody'"),
    ],
)
def test_what_is_wrong_with_a_link_is_told_at_its_place(link: str, told: str) -> None:
    assert problems(f"{TWO}    - {link}\n") == [told]


def test_a_device_that_is_made_twice_is_told() -> None:
    dummy = "    - {type: dummy, endpoint: {node: a, interface: d0}}\n"
    assert problems(TWO + dummy + dummy) == ["7:52: a:d0 is there already"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1:1: the file describes nothing"),
        ("[]", "1:1: the file is []: a mapping is wanted here"),
        ("name: x\ntopology:\n", "1:1: there are no nodes"),
        ("name: x\ntopology: {links: []}\n", "2:11: there are no nodes"),
        ("name: x\ntopology: {nodes: [a]}\n", "2:19: there are no nodes"),
        ("name: x\ntopology: {nodes: {a: {kind: bridge}}, links: {}}\n", "2:47: links: a list is wanted here"),
        ("name: x\ntopology: {nodes: {a: {kind: bridge}}, kinds: []}\n", "2:47: kinds: a mapping is wanted here"),
        ("name: x\ntopology: {nodes: {a: {kind: bridge}}, node: {}}\n", "2:40: topology: unknown key 'node'"),
        (
            "name: lab-__gitHash__\ntopology: {nodes: {a: {kind: bridge}}}\n",
            "1:7: the name 'lab-__gitHash__' is not covered: nobody asks git",
        ),
        (
            "name: x\ntopology: {nodes: {a: {kind: bridge}, a: }}\n",
            "2:39: the key 'a' is given twice, first at x.clab.yml:2:20",
        ),
        ("name: x\ntopology:\n  nodes:\n{{ range .x }}\n    a:\n", "4:1: templates of Go are not covered"),
        (
            "name: ${X%%y}\ntopology: {nodes: {a: {kind: bridge}}}\n",
            "1:7: '${X%%y}' begins no variable that containerlab knows",
        ),
    ],
)
def test_what_is_wrong_with_the_whole_is_told_at_its_place(text: str, told: str) -> None:
    assert told in problems(text)


def test_a_template_is_told_by_its_name_too() -> None:
    with pytest.raises(TopologyError, match=r"x\.clab\.gotmpl:1:1: templates of Go are not covered"):
        load(Source("x.clab.gotmpl", "name: x\n"), {}, {})


def test_places_behind_a_variable_are_those_of_the_file() -> None:
    text = "name: x\ntopology:\n  nodes: {a: {kind: linux, image: '${I:=busybox}', cpu: many}}\n  links: [${L:=x}, y]\n"
    first, second, third = loaded(text, L="one, two").problems[:3]
    assert [str(each.place) for each in (first, second, third)] == ["x.clab.yml:3:36", "x.clab.yml:4:11", "x.clab.yml:4:11"]
    assert first.place and first.place.rendered == "nodes: {a: {kind: linux, image: 'busybox', cpu: many}}"


def test_a_link_that_is_dropped_leaves_nothing_behind() -> None:
    text = (
        "name: x\ntopology:\n  defaults: {image: i, privileged: true}\n  nodes:\n"
        "    a: {kind: linux}\n    br|a: {kind: bridge, network-mode: container:a}\n    srl: {kind: nokia_srlinux}\n"
        "  links: [{endpoints: [srl:e1-1, 'br|a:p1']}, {endpoints: ['br|a:p2', host:x]}]\n"
    )
    data: Any = loaded(text).document.data
    assert data["nodes"] == {
        "a": {"kind": "container", "image": "i", "privileged": True, "interfaces": {"br": {"kind": "bridge"}}},
        "srl": {"kind": "host"},
    }
    assert "links" not in data


SCALARS: tuple[Any, ...] = (None, "", "x", "x:y", "$X", "\N{SNOWMAN}", 0, -1, 1.5, True)
ODD = (*SCALARS, [], ["x"], [None], [[]], [{}], {}, {"x": None}, {"x": {"y": []}})
WHOLE = """\
name: x
prefix: p
mgmt: {network: x}
topology:
  defaults: {kind: linux, image: i, group: g, env: {A: b}, exec: [one], binds: [./a:/a], sysctls: {net.ipv4.ip_forward: 1}}
  kinds: {linux: {cap-add: [NET_ADMIN], certificate: {issue: false}}}
  groups: {g: {memory: 1G, cpu: 1, user: u, cmd: c, entrypoint: e, privileged: no, network-mode: none}}
  nodes:
    a: {kind: linux, image-pull-policy: never, restart-policy: always}
    s: {kind: bridge}
    br|a: {kind: bridge, network-mode: container:a}
  links:
    - {endpoints: ["a:eth1", "s:p1"], mtu: 1500, ipv4: [10.0.0.1/24], ipv6: [""], vars: {x: y}}
    - type: veth
      endpoints: [{node: a, interface: eth2, mac: 02:00:00:00:00:01, ipv4: 10.0.1.1/24}, {node: "br|a", interface: p}]
    - {type: dummy, endpoint: {node: a, interface: d}}
"""


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in entries:
        yield from paths(each, (*path, key))


def with_odd(path: tuple[Any, ...], odd: object) -> Any:
    whole: Any = copy.deepcopy(parse(WHOLE).value)
    holder = whole
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = odd
    return whole


@pytest.mark.parametrize("path", [path for path in paths(parse(WHOLE).value) if path], ids=str)
def test_whatever_stands_anywhere_is_taken_or_refused(path: tuple[Any, ...]) -> None:
    for odd in ODD:
        text = write(with_odd(path, odd))
        try:
            found = loaded(text)
        except TopologyError as error:
            assert error.problems
            continue
        assert found.problems or parse(found.document.rendered).value == found.document.data


def test_the_whole_of_it_is_taken_as_it_stands() -> None:
    assert not problems(WHOLE)


def test_what_is_inherited_without_bound_is_refused_in_bounded_time() -> None:
    every = "[" + ", ".join(f"'{number}'" for number in range(10_000)) + "]"
    nodes = "".join(f"    n{number}:\n" for number in range(10_000))
    text = f"name: x\ntopology:\n  defaults: {{kind: linux, image: i, exec: {every}}}\n  nodes:\n{nodes}"
    assert problems(text)[-1] == "54:5: the nodes up to here inherit more than 500000 values"


def test_of_what_is_wrong_a_hundred_are_told() -> None:
    nodes = "".join(f"    n{number}: {{kind: x}}\n" for number in range(150))
    assert len(problems(f"name: x\ntopology:\n  nodes:\n{nodes}")) == 100


# What comes out, as the next stage takes it.

SWITCHES = "name: x\ntopology:\n  defaults: {kind: bridge}\n  nodes: {s1: , s2: }\n  links: [{endpoints: [s1:s2, s2:s1]}]\n"


def test_the_model_takes_what_comes_out() -> None:
    topology = parse_topology(data(SWITCHES))
    assert [node.kind for node in topology.nodes.values()] == ["switch", "switch"]
    assert [(str(link.near), str(link.far), link.near.mtu) for link in topology.links] == [("s2:s1", "s1:s2", 9500)]


def test_what_the_model_finds_is_told_at_its_place_in_the_users_file() -> None:
    document = loaded(CLIENTS).document
    assert str(document.place(("nodes", "r1", "binds", 1))) == "x.clab.yml:15:11"
    assert str(document.place(("nodes", "r1", "image"))) == "x.clab.yml:6:14"
    assert str(document.place(("nodes", "r1", "image"), key=True)) == "x.clab.yml:6:7"
    assert str(document.place(("nodes", "pc", "exec", 1, 3))) == "x.clab.yml:20:11"
    assert str(document.place(("nodes", "pc", "privileged"), key=True)) == "x.clab.yml:16:5"
    assert str(document.place(("links", 0, "endpoints", 1))) == "x.clab.yml:22:30"
    assert str(document.place(("name",))) == "x.clab.yml:1:7"
