"""The keys of a node of containerlab's: what each may hold, and what becomes of it here.

What is neither taken nor refused changes nothing that an experiment sees. Source: containerlab's manual, "Nodes", and its
JSON schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.containerlab import shapes
from lab.containerlab.placed import Findings, Placed
from lab.containerlab.shapes import Shape

TAKEN: dict[str, Shape] = {
    "kind": shapes.text,
    "group": shapes.text,
    "image": shapes.text,
    "image-pull-policy": shapes.text,
    "entrypoint": shapes.text,
    "cmd": shapes.text,
    "exec": shapes.texts,
    "binds": shapes.texts,
    "env": shapes.by_name,
    "user": shapes.text,
    "cpu": shapes.number,
    "memory": shapes.text,
    "cap-add": shapes.texts,
    "privileged": shapes.truth,
    "sysctls": shapes.by_name,
    "network-mode": shapes.text,
}
_SILENT: dict[str, Shape] = dict.fromkeys(("type", "labels", "position"), shapes.anything)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`why` there is no such thing here, and `instead`; what is `well` is what holds here anyhow."""

    why: str
    instead: str
    well: Callable[[object], bool] = lambda value: not value


def _one_of(*words: str) -> Callable[[object], bool]:
    return lambda value: value in words


def _issues_none(value: object) -> bool:
    return isinstance(value, dict) and value.get("issue") in (None, "false")


_STARTS = "a container's own command waits for all of its links, and for nothing else"
_OWN_NETWORK = "a node has a network of its own, and no other"
_NOS = "it is for network operating systems of vendors, which are not covered"
_MANAGEMENT = "there is no management network: a lab is hermetic"
_DISK = "a container has the files of its image and its binds"
_RUNTIME = "a container is run as Docker does by itself"
REFUSED: Mapping[str, Refusal] = {
    "ports": Refusal(
        "no port of the host is published: a lab is hermetic", "remove it; ask from a node of the lab, or by lab exec"
    ),
    "mgmt-ipv4": Refusal(_MANAGEMENT, "remove it; ipv4: of a link gives an address"),
    "mgmt-ipv6": Refusal(_MANAGEMENT, "remove it; ipv6: of a link gives an address"),
    "aliases": Refusal(f"{_MANAGEMENT}, nor its names", "remove it"),
    "dns": Refusal(f"{_MANAGEMENT}, nor its name servers", "remove it, or bind a file to /etc/resolv.conf"),
    "env-files": Refusal("files of variables are not read", "write the variables below env:"),
    "volumes": Refusal(_DISK, "bind a folder beside the topology: - ./data:/data"),
    "tmpfs": Refusal(_DISK, "bind a folder beside the topology: - ./data:/data"),
    "devices": Refusal("a node has no device of the host", "remove it"),
    "shm-size": Refusal(_RUNTIME, "remove it"),
    "cpu-set": Refusal("a node is not bound to processors", "write cpu: for a share of them"),
    "cgroupns-mode": Refusal(_RUNTIME, "remove it"),
    "cgroup-parent": Refusal(_RUNTIME, "remove it"),
    "pid-mode": Refusal(_RUNTIME, "remove it"),
    "security-opts": Refusal(_RUNTIME, "remove it"),
    "runtime": Refusal("containers are Docker's", "remove it", _one_of("docker")),
    "hostname": Refusal("a node is called by its name", "remove it"),
    "startup-delay": Refusal(_STARTS, "remove it", _one_of("0")),
    "stages": Refusal(_STARTS, "remove it; what must wait is written into exec: or cmd:"),
    "healthcheck": Refusal("the health of a container is not watched", "remove it; lab wait waits for what the network shows"),
    "certificate": Refusal("no certificates are made", "make them beforehand, and bind them", _issues_none),
    "components": Refusal(_NOS, "remove it"),
    "extras": Refusal(_NOS, "remove it"),
    "license": Refusal(_NOS, "remove it"),
    "startup-config": Refusal(_NOS, "bind the file where the program of the image reads it"),
    "enforce-startup-config": Refusal(_NOS, "remove it", _one_of("false")),
    "suppress-startup-config": Refusal(_NOS, "remove it", _one_of("false")),
}
NOTED: Mapping[str, str] = {
    "restart-policy": "what happens when a container ends is the same for all nodes of a lab",
    "auto-remove": "lab down removes every container of the lab",
    "link-apply-mode": "a lab is not changed while it runs",
    "credentials": "no inventories are written",
    "username": "no inventories are written",
    "password": "no inventories are written",
    "config": "no configurations are made from templates",
}
KEYS: Mapping[str, Shape] = TAKEN | _SILENT | dict.fromkeys((*REFUSED, *NOTED), shapes.anything)
OF_A_BRIDGE = (*_SILENT, "kind", "group", "network-mode")
IMPORT = "__IMPORT_ENVS"
NETWORK = Refusal(_OWN_NETWORK, "remove it; what shares a network belongs into one container", _one_of("none", "bridge"))


def tell(level: str, given: Mapping[str, Placed], findings: Findings) -> None:
    """Names what of `given` is not covered. `level` says whose keys they are: a node's, a group's."""
    for key, value in given.items():
        refusal = NETWORK if key == "network-mode" else REFUSED.get(key)
        if refusal and not refusal.well(value.value):
            findings.wrong(value, f"{level}: {key} is not covered: {refusal.why}", refusal.instead, key=True)
        elif key in NOTED:
            findings.note(value, f"{level}: {key} has no effect: {NOTED[key]}")
    imports = given["env"].get(IMPORT) if "env" in given else None
    if imports and imports.value == "true":
        why = "a lab is the same whoever builds it"
        findings.wrong(imports, f"{level}: {IMPORT} is not covered: {why}", "name each variable: NAME: ${NAME}", key=True)
