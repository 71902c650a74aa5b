"""The JSON schema: valid itself, and of one mind with the parser about what may be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from lab.errors import TopologyError
from lab.model.schema import schema
from lab.recipe import read

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def node(body: object) -> object:
    return {"name": "x", "nodes": {"a": body}}


def interface(body: object) -> object:
    return node({"interfaces": {"d": body}})


def link(**body: object) -> object:
    return {"name": "x", "nodes": {"a": {}, "b": {}}, "links": [{"endpoints": ["a", "b"], **body}]}


def dummy(**body: object) -> object:
    return interface({"kind": "dummy", **body})


def port(vlan: object) -> object:
    ends = ["a", {"node": "s", "vlan": vlan}]
    return {"name": "x", "nodes": {"a": None, "s": {"kind": "switch"}}, "links": [{"endpoints": ends}]}


def accepts(tmp_path: Path, data: object) -> bool:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(data))
    try:
        read(file)
    except TopologyError:
        return False
    return True


def test_the_schema_is_one_of_draft_2020_12() -> None:
    made = schema()
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(made)


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    made = schema()

    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return own.union(*map(references, part.values()))
        return set().union(*map(references, part)) if isinstance(part, list) else set()

    assert references(made) <= {f"#/$defs/{name}" for name in made["$defs"]}


FORMS: dict[str, object] = {
    "least": {"name": "x", "nodes": {}},
    "a node of nothing": node(None),
    "a link end of nothing": {
        "name": "x",
        "nodes": {"a": {"interfaces": {"eth0": None}}, "b": {}},
        "links": [{"endpoints": ["a", "b"]}],
    },
    "no links": {"name": "x", "nodes": {}, "links": None},
    "defaults of nothing": {"name": "x", "nodes": {}, "defaults": None},
    "one address": dummy(addresses="10.0.0.1/24"),
    "addresses": dummy(addresses=["10.0.0.1/24", {"address": "2001:db8::1/64", "nodad": True}]),
    "an address in full": dummy(addresses={"address": "10.0.0.1/32", "peer": "10.0.0.2/32", "scope": "link"}),
    "endpoints in full": link(endpoints=["a:wan", {"node": "b", "interface": "e", "mtu": 1400}]),
    "one prefix": link(prefix="10.0.0.0/8", addresses={"a": "10.0.0.1/24"}),
    "one trunk": port({"trunk": 7}),
    "a trunk": port({"trunk": [7, 9], "native": 5}),
    "one route": node({"routes": {"to": "10.0.0.0/8", "type": "blackhole"}}),
    "one rule": node({"rules": {"from": "10.0.0.0/8", "table": "main"}}),
    "one member": node({"interfaces": {"d": {"kind": "dummy"}, "b": {"kind": "bridge", "members": "d"}}}),
    "percentages": link(netem={"loss": "1.5%", "duplicate": 2, "delay": "10ms", "reorder": 0.5, "rate": "1gbit"}),
    "sysctls": node({"sysctls": {"net.ipv4.ip_forward": 1, "net.ipv4.tcp_rmem": "1 2 3", "net.ipv4.tcp_sack": False}}),
    "a service of a command": node(
        {"services": {"w": {"command": ["a", 80], "ready": {"listen": "tcp/80", "answer": ["x"]}, "directories": "/var/lib/w"}}}
    ),
    "a service of a role": node(
        {"services": {"http": None, "w": {"role": "http", "port": 81, "env": {"A": 1}, "ready": None}}}
    ),
    "services of every node": {"name": "x", "nodes": {}, "defaults": {"nodes": {"services": {"http": None}}}},
    "every kind": node(
        {
            "interfaces": {
                "d": {"kind": "dummy"},
                "i": {"kind": "ifb"},
                "v": {"kind": "vlan", "parent": "d", "id": 7, "ingress_qos": {"7": 1}, "egress_qos": {"4294967295": 0}},
                "b": {"kind": "bridge", "vlan_filtering": True, "forward_delay": 2.5},
                "o": {"kind": "bond", "mode": "802.3ad", "num_grat_arp": 0},
                "x": {"kind": "vxlan", "id": 7, "remote": "10.0.0.1"},
                "m": {"kind": "macvlan", "parent": "d", "mode": "private"},
                "r": {"kind": "vrf", "table": 7},
            }
        }
    ),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS.keys())
def test_short_and_full_forms_are_taken_by_the_schema_and_by_the_parser(
    validator: Draft202012Validator, tmp_path: Path, data: object
) -> None:
    assert not [error.message for error in validator.iter_errors(data)]
    assert accepts(tmp_path, data)


EXPRESSIONS: dict[str, object] = {
    "an integer": link(mtu="{{ mtu }}"),
    "a truth value": link(up="{{ up }}"),
    "a truth value in a mapping of them": link(offloads={"tso": "{{ tso }}"}),
    "a word": node({"kind": "{{ kind }}"}),
    "a VLAN": port({"access": "{{ vlan }}"}),
    "a lone trunk": port({"trunk": "{{ vlan }}"}),
    "a trunk": port({"trunk": ["{{ vlan }}", 9]}),
    "a table": node({"rules": {"from": "10.0.0.0/8", "table": "{{ table }}"}}),
    "a part of a name": dummy(addresses="10.0.0.{{ number }}/24"),
    "a name": {"name": "x", "nodes": {"{{ name }}": {}}},
    "the name of an interface": node({"interfaces": {"eth{{ n }}": {"kind": "dummy"}}}),
    "a percentage": link(netem={"loss": "{{ loss }}"}),
    "a fraction": interface({"kind": "bridge", "ageing": "{{ seconds }}"}),
    "within text": link(mtu="1{{ zeros }}"),
}


@pytest.mark.parametrize("data", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_an_expression_in_quotes_may_stand_for_any_scalar(validator: Draft202012Validator, data: object) -> None:
    assert not [error.message for error in validator.iter_errors(data)]


UNKNOWN: dict[str, object] = {
    "file": {"name": "x", "nodes": {}, "colour": 1},
    "node": node({"colour": 1}),
    "interface": dummy(colour=1),
    "key of another kind": dummy(members=[]),
    "address": dummy(addresses={"address": "10.0.0.1/24", "colour": 1}),
    "link": link(colour=1),
    "endpoint": link(endpoints=["a", {"node": "b", "colour": 1}]),
    "netem": link(netem={"loss": 1, "colour": 1}),
    "port": port({"access": 7, "colour": 1}),
    "service": node({"services": {"w": {"command": ["a"], "colour": 1}}}),
    "readiness": node({"services": {"w": {"command": ["a"], "ready": {"colour": 1}}}}),
    "route": node({"routes": [{"to": "10.0.0.0/8", "type": "throw", "colour": 1}]}),
    "nexthop": node({"routes": [{"to": "10.0.0.0/8", "nexthops": [{"colour": 1}]}]}),
    "rule": node({"rules": [{"from": "10.0.0.0/8", "table": 7, "source": "10.0.0.0/8"}]}),
    "neighbour": node({"neighbours": [{"address": "10.0.0.1", "dev": "lo", "proxy": True, "colour": 1}]}),
    "defaults": {"name": "x", "nodes": {}, "defaults": {"colour": {}}},
    "defaults of nodes": {"name": "x", "nodes": {}, "defaults": {"nodes": {"interfaces": {}}}},
    "defaults of links": {"name": "x", "nodes": {}, "defaults": {"links": {"endpoints": ["a", "b"]}}},
}
WRONG: dict[str, object] = {
    "no name": {"nodes": {}},
    "no nodes": {"name": "x"},
    "a list": [],
    "unknown kind of node": node({"kind": "ruter"}),
    "unknown kind of interface": interface({"kind": "bridg"}),
    "a command as a text": node({"services": {"w": {"command": "sleep 1"}}}),
    "directories of a role": node({"services": {"http": {"directories": ["/x"]}}}),
    "text for a number": dummy(mtu="big"),
    "a number out of range": dummy(mtu=67),
    "no parent": interface({"kind": "vlan", "id": 7}),
    "no ends": link(endpoints=None),
    "one end": link(endpoints="a"),
    "three ends": link(endpoints=["a", "b", "a"]),
    "a VLAN beyond 4094": port({"trunk": [7, 4095]}),
}


@pytest.mark.parametrize("data", [*UNKNOWN.values(), *WRONG.values()], ids=[*UNKNOWN.keys(), *WRONG.keys()])
def test_an_unknown_key_and_a_value_that_cannot_be_are_refused_by_the_schema_and_by_the_parser(
    validator: Draft202012Validator, tmp_path: Path, data: object
) -> None:
    assert not validator.is_valid(data)
    assert not accepts(tmp_path, data)


def test_the_document_of_the_parameters_is_described_too(validator: Draft202012Validator) -> None:
    assert validator.is_valid({"params": {"mtu": 1500, "lan": {"default": "two", "choices": ["two", "vlan"]}}})
    assert validator.is_valid({"params": None})
    assert not validator.is_valid({"params": {}, "nodes": {}})
    assert not validator.is_valid({"params": [1]})


def test_the_parameters_of_every_shipped_topology_fit_the_schema(validator: Draft202012Validator) -> None:
    for file in TOPOLOGIES.glob("*.yaml"):
        head, found, _ = file.read_text().partition("\n---\n")
        assert not found or validator.is_valid(yaml.safe_load(head)), file.name


def test_the_words_below_a_key_in_the_source_describe_it_in_the_schema() -> None:
    parts = schema()["$defs"]
    assert parts["Address"]["properties"]["nodad"]["description"].startswith("Skip duplicate address detection")
    assert parts["Netem"]["properties"]["reorder"]["description"].startswith("The share of packets sent at once")
