"""Whatever stands anywhere in a file is taken or told as a fault with a place in the data; never anything else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest

from lab.errors import TopologyError
from lab.model import Faults, Path, parse
from lab.plan import make_plan
from lab.recipe import read
from lab.substrate.netlink.messages import message_of

FILE: dict[str, Any] = {
    "name": "x",
    "description": "y",
    "defaults": {"nodes": {"sysctls": {"net.ipv4.ip_forward": 1}}, "links": {"mtu": 1500, "netem": {"delay": "1ms"}}},
    "nodes": {
        "lan": {"kind": "switch", "interfaces": {"br0": {"kind": "bridge", "vlan_filtering": True}}},
        "a": {
            "kind": "router",
            "interfaces": {
                "lo": {"addresses": ["10.9.9.9/32"]},
                "eth0": {"sysctls": {"ipv4.rp_filter": 1}, "offloads": {"tso": False}},
                "v": {"kind": "vlan", "parent": "eth0", "id": 7, "protocol": "802.1ad"},
                "m": {"kind": "macvlan", "parent": "eth0", "mode": "vepa", "mac": "02:00:00:00:00:01", "mtu": 1400},
                "x": {"kind": "vxlan", "id": 7, "local": "10.0.0.1", "remote": "10.0.0.2", "port": 4789, "learning": False},
                "b": {"kind": "bridge", "members": ["d"], "stp": True, "forward_delay": 2, "ageing": 9, "up": False},
                "d": {"kind": "dummy"},
                "i": {"kind": "ifb"},
                "o": {"kind": "bond", "mode": "802.3ad", "miimon": 50, "members": ["i"]},
                "r": {"kind": "vrf", "table": 5},
            },
            "routes": [
                {"to": "default", "via": "10.0.0.2", "metric": 7, "table": 100, "src": "10.0.0.1", "mtu": 1300, "onlink": True},
                {"to": "10.8.0.0/16", "nexthops": [{"via": "10.0.0.2", "weight": 3}, {"dev": "eth0"}]},
            ],
            "rules": [{"from": "10.0.0.0/8", "to": "10.1.0.0/16", "fwmark": 3, "iif": "eth0", "table": 7, "priority": 8}],
            "neighbours": [{"address": "10.0.0.9", "dev": "eth0", "mac": "02:00:00:00:00:09", "state": "stale"}],
            "sysctls": {"net.ipv4.conf.eth0.arp_ignore": 1},
        },
        "c": None,
    },
    "links": [
        {
            "endpoints": ["a:eth0", {"node": "lan", "vlan": {"trunk": [7, 8], "native": 9}, "mac": "02:00:00:00:00:02"}],
            "addresses": {"a": ["10.0.0.1/24", {"address": "2001:db8::1/64", "optimistic": True}]},
            "prefix": ["10.0.0.0/24", "2001:db8::/64"],
            "nodad": False,
            "netem": {"rate": "1mbit", "loss": "1%", "jitter": "1ms", "delay": "2ms"},
        },
        {"endpoints": ["c", {"node": "lan", "vlan": {"access": 7}}], "up": False, "offloads": {"tx": False}},
    ],
}
BIG = 10**400
NASTY: list[Any] = [
    None, True, 0, -1, 7, 65536, 2**32, 2**64, BIG, -BIG, 1.5, 1e308, float("inf"), float("nan"),
    "", " ", "0", "-1", "é", "\x1b[31m", "x" * 5000, "9" * 5000, "9" * 400 + "gbit", "1" + "0" * 400 + "s", "0bit",
    "nan", "inf%",
    "default", "all", "lo", "eth0", "a", "a:eth0", ":", "a:", ":a", "a:b:c", "lan",
    "0.0.0.0/0", "::/0", "10.0.0.1", "10.0.0.1/33", "255.255.255.255/32", "224.0.0.1/4", "::1/128", "fe80::1%eth0/64",
    "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "802.1Q", "vlan", "switch",
    [], [None], [[]], ["a"], ["a", "a"], ["a:eth0", "a:eth0"], ["a", "b", "c"], list(range(200)),
    {}, {"": None}, {"a": None}, {"lo": {}}, {"kind": "vlan"}, {"kind": []}, {"node": "a"}, {"x" * 99: 1},
]  # fmt: skip


def places(data: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from places(value, (*path, key))
    elif isinstance(data, list):
        for at, value in enumerate(data):
            yield from places(value, (*path, at))


def replaced(path: Path, value: Any) -> Any:
    if not path:
        return value
    whole = copy.deepcopy(FILE)
    holder: Any = whole
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = copy.deepcopy(value)
    return whole


def check(data: Any) -> None:
    """Parsed, planned and encoded; or refused with faults, each with a path into the data."""
    try:
        topology = parse(data)
    except Faults as found:
        assert found.faults
        for fault in found.faults:
            assert fault.message
            assert all(isinstance(part, (str, int)) for part in fault.path)
        return
    for without_netem in (False, True):
        for step in make_plan(topology, without_netem=without_netem).steps:
            assert step.describe()
            if type(step).__name__ not in ("MakeNamespace", "SetSysctl", "SetOffloads"):
                assert message_of(step, lambda _: 7)


def test_the_file_of_these_tests_is_well() -> None:
    check(FILE)
    assert parse(FILE).name == "x"


@pytest.mark.parametrize("path", list(places(FILE)), ids=lambda path: ".".join(map(str, path)) or "all")
def test_any_value_may_be_anything(path: Path) -> None:
    for value in NASTY:
        check(replaced(path, value))


@pytest.mark.parametrize("path", [path for path in places(FILE) if path], ids=lambda path: ".".join(map(str, path)))
def test_anything_may_be_missing_or_called_otherwise(path: Path) -> None:
    for key in (None, "", "x", "x" * 300, "kind", "é"):
        data = copy.deepcopy(FILE)
        holder: Any = data
        for part in path[:-1]:
            holder = holder[part]
        value = holder.pop(path[-1])
        if key is not None and isinstance(holder, dict):
            holder[key] = value
        check(data)


def test_what_is_wrong_is_told_in_few_words_however_long_it_is(tmp_path: FilePath) -> None:
    file = tmp_path / "long.yaml"
    file.write_text(f"name: {'x' * 1_000_000}\nnodes: {{a: {{}}}}\n")
    with pytest.raises(TopologyError, match=r"long\.yaml:1:7: 'xxx.* … x.*' cannot be the name of a lab") as caught:
        read(file)
    assert len(str(caught.value)) < 1000
