"""The whole of a containerlab file, as it was written -> a topology of our own language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.containerlab import coverage, levels, links, nodes, shapes
from lab.containerlab.levels import Levels, known_names
from lab.containerlab.links import Inside, Wiring
from lab.containerlab.placed import Findings, Placed
from lab.containerlab.shapes import Shape, known
from lab.topology.words import listed, shown
from lab.topology.yaml12 import MOST_VALUES

_FILE: Mapping[str, Shape] = {
    "name": shapes.text,
    "prefix": shapes.text,
    "topology": shapes.anything,
    **dict.fromkeys(("mgmt", "settings", "debug"), shapes.anything),
}
_TOPOLOGY: Mapping[str, Shape] = dict.fromkeys(("defaults", "kinds", "groups", "nodes", "links"), shapes.anything)
_NOTES = {
    "mgmt": "there is no management network: nodes have no eth0 of their own, and reach neither the host nor what is beyond",
    "prefix": "containers are called by lab",
    "settings": "no certificates are made",
}
_GIT = re.compile(r"__git(Branch|Hash)__")


def convert(file: Placed, folder: Path | None, findings: Findings) -> Placed | None:
    """`file` as written (see `placed.as_written`), which lies in `folder`; None where it has no nodes to go on with."""
    keys = known(file, "the file", _FILE, findings)
    for key, why in _NOTES.items():
        if key in keys:
            findings.note(keys[key], f"{key} has no effect: {why}")
    topology = known(keys["topology"], "topology", _TOPOLOGY, findings) if "topology" in keys else {}
    if "nodes" not in topology or not isinstance(topology["nodes"].value, dict):
        where = topology.get("nodes") or keys.get("topology") or file
        findings.wrong(where, "there are no nodes", "a containerlab file has name:, and topology: with nodes: and links:")
        return None
    return _Conversion(_name(keys, findings), folder, topology, findings).made(file, keys)


def _name(keys: Mapping[str, Placed], findings: Findings) -> str:
    name = keys.get("name")
    if name and _GIT.search(name.value):
        findings.wrong(name, f"the name {shown(name.value)} is not covered: nobody asks git", "write the name itself")
    return name.value if name else "lab"


@dataclass
class _Conversion:
    name: str
    folder: Path | None
    topology: Mapping[str, Placed]
    findings: Findings
    _done: dict[str, Placed] = field(default_factory=dict)
    _containers: dict[str, None] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _inside: dict[str, Inside] = field(default_factory=dict)

    def made(self, file: Placed, keys: Mapping[str, Placed]) -> Placed | None:
        inheritance = levels.read(self.topology, self.findings)
        every = self._levels(inheritance)
        if every is None:
            return None
        for each in every.values():
            self._node(each, inheritance)
        self._check_inside()
        self._tell_switches()
        self._tell_privileged(every)
        wiring = self._wired()
        done = {name: _with_devices(node, wiring.devices.get(name)) for name, node in self._done.items()}
        return file.mapping(self._whole(keys, done, wiring))

    def _levels(self, inheritance: levels.Inheritance) -> dict[str, Levels] | None:
        """None where it would be too much."""
        every: dict[str, Levels] = {}
        inherited = 0
        for name, at in known_names(self.topology, "nodes", self.findings):
            own = known(at, f"node {name}", coverage.KEYS, self.findings)
            every[name] = inheritance.of(name, at, own)
            inherited += every[name].size()
            if inherited > MOST_VALUES:
                self.findings.wrong(at, f"the nodes up to here inherit more than {MOST_VALUES} values", key=True)
                return None
        return every

    def _whole(self, keys: Mapping[str, Placed], done: dict[str, Placed], wiring: Wiring) -> dict[str, Placed]:
        nodes_at = self.topology["nodes"]
        whole: dict[str, Placed] = {}
        if "name" in keys:
            whole["name"] = keys["name"].like("lab") if _GIT.search(self.name) else keys["name"]
        if wiring.links:
            links_at = self.topology["links"]
            mtu = links_at.mapping({"mtu": links_at.like(links.MTU)})
            whole["defaults"] = links_at.mapping({"links": mtu})
        whole["nodes"] = nodes_at.mapping(done)
        return whole | ({"links": self.topology["links"].listing(wiring.links)} if wiring.links else {})

    def _node(self, node: Levels, inheritance: levels.Inheritance) -> None:
        kind = node.kind.value if node.kind else None
        if kind == nodes.LINUX:
            inheritance.tell(node, self.findings)
            self._containers[node.node] = None
            self._done[node.node] = nodes.container(node, self.name, self.folder, self.findings)
        elif kind in nodes.SWITCHES:
            self._bridge(node)
        else:
            nodes.refused(node, self.findings)
            self._lost.add(node.node)
            if "|" not in node.node:
                self._done[node.node] = nodes.placeholder(node.at)

    def _bridge(self, node: Levels) -> None:
        """`BRIDGE|NODE` with network-mode: container:NODE is one inside a container."""
        mode = node.own.get("network-mode")
        word = mode.value if mode else ""
        bridge, bar, _ = node.node.partition("|")
        if word.startswith("container:") and node.kind and node.kind.value == "bridge":
            self._inside[node.node] = Inside(word.removeprefix("container:"), bridge, node.at)
        elif bar or word not in ("", "host"):
            hint = "write BRIDGE|NODE: {kind: bridge, network-mode: container:NODE}"
            self.findings.wrong(mode or node.at, f"node {node.node}: a bridge is the host's, or inside a container", hint)
            self._lost.add(node.node)
        else:
            self._done[node.node] = nodes.switch(node, self.findings)

    def _check_inside(self) -> None:
        for name, each in list(self._inside.items()):
            if each.node not in self._containers:
                said = f"node {name}: there is no container {shown(each.node)} that it could be in"
                self.findings.wrong(each.at, said, "add it, of kind linux", key=True)
                self._lost.add(name)
                del self._inside[name]

    def _tell_switches(self) -> None:
        names = [name for name in self._done if name not in self._containers and name not in self._lost]
        if names:
            said = (
                f"bridges are switches of the lab, not of the host: what else the host's connect is not there: {listed(names)}"
            )
            self.findings.note(self.topology["nodes"], said)

    def _tell_privileged(self, every: Mapping[str, Levels]) -> None:
        names = [name for name in self._containers if every[name].one("privileged") is None]
        if names:
            hint = "topology.defaults.privileged: false takes that back; cap-add: [NET_ADMIN] is enough to set up interfaces"
            said = f"containers are privileged, as containerlab has them where the file does not say: {listed(names)}"
            self.findings.note(self.topology["nodes"], said, hint)

    def _wired(self) -> Wiring:
        names = frozenset((*self._done, *self._inside))
        wiring = Wiring(names, frozenset(self._containers), frozenset(self._lost), self._inside, self.findings)
        written = self.topology.get("links")
        if written and not isinstance(written.value, list):
            self.findings.wrong(written, "links: a list is wanted here", 'such as - endpoints: ["a:eth1", "b:eth1"]')
            written = None
        for link in written.each() if written else []:
            wiring.take(link)
        wiring.finish()
        return wiring


def _with_devices(node: Placed, devices: Mapping[str, Placed] | None) -> Placed:
    if not devices:
        return node
    return node.mapping(dict(node.items()) | {"interfaces": node.mapping(devices)})
