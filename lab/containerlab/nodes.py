"""A node of containerlab's -> a node of our own: of kind linux a container, of kind bridge a switch of the lab."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lab.containerlab import coverage
from lab.containerlab.binds import binds, replaced
from lab.containerlab.commands import words
from lab.containerlab.levels import Levels
from lab.containerlab.placed import Findings, Placed
from lab.topology.words import did_you_mean, shown

SWITCHES: Mapping[str, str] = {"bridge": "switch", "ovs-bridge": "ovs"}
LINUX = "linux"
_COVERED = (LINUX, *SWITCHES)
_LEAVES = ("host", "ext-container")
_UNITS = {"": 1, "b": 1} | {
    f"{letter}{unit}": base**power
    for power, letter in enumerate("kmg", 1)
    for unit, base in (("", 1000), ("b", 1000), ("ib", 1024), ("i", 1024))
}
_MEMORY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([a-z]*)\Z", re.ASCII)
_SIZES = {"GB": 10**9, "MB": 10**6, "KB": 10**3}
_PULLS = {"always": True, "ifnotpresent": True, "never": False}


def placeholder(at: Placed) -> Placed:
    """Stands for a node that is not covered, so that what refers to it is not wrong as well."""
    return at.mapping({"kind": at.like("host")})


def refused(levels: Levels, findings: Findings) -> None:
    """A node of a kind that is not covered, or of none."""
    own = levels.own.get("kind")
    at = own or levels.at
    if levels.kind is None or not levels.kind.value:
        hint = "add kind: linux, to the node or to topology.defaults"
        findings.wrong(levels.at, f"node {levels.node} has no kind", hint, key=True)
        return
    kind = levels.kind.value
    covered = (
        did_you_mean(kind, _COVERED) or f"covered are {', '.join(_COVERED)}; a router that is a container is of kind linux"
    )
    said = "it leaves the lab, which is hermetic" if kind in _LEAVES else "lab runs no such systems"
    hint = "remove the node, and its links" if kind in _LEAVES else covered
    findings.wrong(at, f"node {levels.node}: the kind {shown(kind)} is not covered: {said}", hint, key=own is None)


def switch(levels: Levels, findings: Findings) -> Placed:
    """A bridge of the host's, here a node of the lab. What it inherits is meant for containers."""
    kind = levels.kind or levels.at
    for key, value in levels.own.items():
        if key not in coverage.OF_A_BRIDGE:
            findings.wrong(value, f"node {levels.node}: a {kind.value} has no {key}", "remove it", key=True)
    return levels.at.mapping({"kind": kind.like(SWITCHES[kind.value])})


def container(levels: Levels, lab: str, folder: Path | None, findings: Findings) -> Placed:
    """`lab` is the name of the topology, `folder` where it lies."""
    assert levels.kind is not None
    magic = _magic(lab, levels.node)
    entries: dict[str, Placed | None] = {
        "kind": levels.kind.like("container"),
        "image": _image(levels, findings),
        "entrypoint": _words(levels.one("entrypoint"), findings),
        "command": _words(levels.one("cmd"), findings),
        "environment": _some(levels.at, _environment(levels)),
        "binds": _list(levels.at, binds(levels.every("binds"), magic, folder, findings)),
        "capabilities": _list(levels.at, levels.listed("cap-add")),
        "privileged": levels.one("privileged") or levels.at.like(True),
        "user": levels.one("user"),
        "resources": _some(levels.at, _resources(levels, findings)),
        "sysctls": _some(levels.at, levels.merged("sysctls")),
        "exec": _list(levels.at, _exec(levels, magic, findings)),
        "pull": _pull(levels.one("image-pull-policy"), findings),
    }
    return levels.at.mapping({key: each for key, each in entries.items() if each is not None})


def _environment(levels: Levels) -> dict[str, Placed]:
    return {name: value for name, value in levels.merged("env").items() if name != coverage.IMPORT}


def _magic(lab: str, node: str) -> dict[str, str]:
    folder = f"clab-{lab}"
    return {
        "__clabNodeDir__": f"{folder}/{node}",
        "__clabNodeName__": node,
        "__clabLabName__": folder,
        "__clabDir__": folder,
    }


def _image(levels: Levels, findings: Findings) -> Placed:
    """Something stands in for one that is wrong, so that the model has nothing to add."""
    image = levels.one("image")
    if image is None:
        hint = "add image:, to the node, its group, its kind or the defaults"
        findings.wrong(levels.at, f"node {levels.node} has no image", hint, key=True)
    elif "$" in image.value:
        hint = "give it a value: --set NAME=VALUE, or a variable of the environment"
        findings.wrong(image, f"the image {shown(image.value)} of node {levels.node} has a variable without a value", hint)
    else:
        return image
    return levels.at.like("image")


def _words(text: Placed | None, findings: Findings) -> Placed | None:
    if text is None:
        return None
    try:
        split = words(text.value)
    except ValueError as error:
        findings.wrong(text, f"{shown(text.value)} is no command: {error}", "quote it as for a shell, though none reads it")
        return None
    return text.like(split) if split else None


def _exec(levels: Levels, magic: Mapping[str, str], findings: Findings) -> list[Placed]:
    commands = [_words(each.like(replaced(each.value, magic)), findings) for each in levels.listed("exec")]
    return [each for each in commands if each]


def _resources(levels: Levels, findings: Findings) -> dict[str, Placed]:
    memory, cpus = levels.one("memory"), levels.one("cpu")
    size = _memory(memory, findings) if memory else None
    return ({"memory": size} if size else {}) | ({"cpus": cpus} if cpus and cpus.value else {})


def _memory(memory: Placed, findings: Findings) -> Placed | None:
    found = _MEMORY.match(memory.value.lower())
    if not found or found[2] not in _UNITS:
        findings.wrong(memory, f"{shown(memory.value)} is no size", "write a number and B, KB, KiB, MB, MiB, GB or GiB")
        return None
    octets = round(float(found[1]) * _UNITS[found[2]])
    unit = next((name for name, size in _SIZES.items() if octets and octets % size == 0), "B")
    return memory.like(f"{octets // _SIZES.get(unit, 1)}{unit}")


def _pull(policy: Placed | None, findings: Findings) -> Placed | None:
    if policy is None:
        return None
    word = policy.value.lower().replace("-", "")
    if word not in _PULLS:
        findings.wrong(policy, f"{shown(policy.value)} is no pull policy", "write Always, IfNotPresent or Never")
        return None
    return policy.like(_PULLS[word])


def _some(at: Placed, entries: dict[str, Placed]) -> Placed | None:
    return at.mapping(entries) if entries else None


def _list(at: Placed, items: list[Placed]) -> Placed | None:
    return at.listing(items) if items else None
