"""What a topology asks of this host (privilege, kernel features, programs, images), and what is planned with what there is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import HostError, Problem, TopologyError

if TYPE_CHECKING:
    from lab.model import Topology
    from lab.plan import Plan
    from lab.recipe import Recipe
    from lab.roles.spec import ServiceSpec

_WITHOUT_ROOT = "without root there is `lab run FILE`, and validate, render, plan, schema, scenarios and ls"
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # include/uapi/linux/capability.h
_CAPABLE = "in a container: start it with --privileged, or with these capabilities added (--cap-add)"
_SYSCTLS = Path("/proc/sys")
UNMASKED = "--privileged, or --security-opt with systempaths=unconfined (docker) or unmask=ALL (podman)"
"""What makes a container's /proc writable."""


def require_root() -> None:
    """Raises HostError for anybody who may not make namespaces and configure what is in them."""
    if os.geteuid() != 0:
        raise HostError("making namespaces and mounts needs root", f"run it as root, for example with sudo; {_WITHOUT_ROOT}")
    status = Path("/proc/self/status").read_text()
    mask = int(status.partition("CapEff:")[2].split()[0], 16)
    lacking = [name for name, bit in _CAPABILITIES.items() if not mask & 1 << bit]
    problems = [Problem(f"root has no {' and no '.join(lacking)} here", _CAPABLE)] if lacking else []
    if os.statvfs(_SYSCTLS).f_flag & os.ST_RDONLY:
        problems.append(
            Problem(f"{_SYSCTLS} is read-only: nothing that a node is set to can be written", f"in a container: {UNMASKED}")
        )
    if problems:
        raise HostError(problems)


def planned(recipe: Recipe) -> Plan:
    """What `up` does on this kernel, which may have to stand in for what it lacks. Needs no privilege."""
    from lab.plan import make_plan

    topology = recipe.topology
    return make_plan(
        topology,
        recipe.services,
        without_netem=_without(topology, "netem or tbf"),
        without_dummy=_without(topology, "dummy or ifb"),
        kernel_datapath=kernel_datapath(topology),
        without_capabilities=_without_capabilities(topology),
    )


def plan(recipe: Recipe) -> Plan:
    """The same where nothing lacks. Raises HostError with all that does, each at the place that asks for it."""
    lacks = missing_features(recipe) + missing_programs(recipe) + missing_images(recipe, pull=True)
    if lacks:
        raise HostError(lacks)
    return planned(recipe)


def missing_features(recipe: Recipe) -> list[Problem]:
    """What the topology needs and this kernel lacks, each at the place that asks for it. Needs root."""
    needs = list(recipe.topology.needs())
    if not needs:
        return []
    from lab.recipe import in_file_order
    from lab.substrate import features

    _know(recipe, features.NAMES)
    lacking = features.missing(feature for feature, _ in needs)
    hint, of_tun = "use a kernel that has it, or load its module", "; an ordinary user must be let open /dev/net/tun"
    return in_file_order(
        Problem(
            f"this kernel has no {feature.replace('_', ' ')}",
            hint + (of_tun if "tun" in feature else ""),
            recipe.document.place(path),
        )
        for feature, path in needs
        if feature in lacking
    )


def kernel_datapath(topology: Topology) -> bool:
    """Whether this kernel has a datapath for the topology's Open vSwitches, if it has any. Needs no privilege."""
    from lab.model.topology import OVS

    if not any(node.kind == OVS for node in topology.nodes.values()):
        return False
    from lab.substrate import features

    return features.has_openvswitch()


def _know(recipe: Recipe, features: Sequence[str]) -> None:
    """Raises TopologyError where the file's `needs:` has a name that is no feature's."""
    wrong = [(at, name) for at, name in enumerate(recipe.topology.features) if name not in features]
    if wrong:
        from lab.topology.words import did_you_mean

        known = "there are: "
        raise TopologyError(
            [
                Problem(
                    f"no kernel has a feature {name!r}",
                    did_you_mean(name, features, known),
                    recipe.document.place(("needs", at)),
                )
                for at, name in wrong
            ]
        )


def _without(topology: Topology, either: str) -> bool:
    """Whether the topology asks for one of two features, and this kernel lacks the first; without the privilege to try it,
    the kernel is taken to have it."""
    from lab.substrate import features

    if not any(feature == either for feature, _ in topology.needs()):
        return False
    try:
        return bool(features.missing([either.partition(" or ")[0]]))
    except PermissionError:
        return False


def missing_images(recipe: Recipe, pull: bool = False) -> list[Problem]:
    """Images of containers that Docker has not, each at the place that asks for it, or why there can be no container at all.
    With `pull` those that may be pulled are."""
    if not _has_containers(recipe.topology):
        return []
    from lab.services import containing

    return containing.missing(recipe, pull)


def _has_containers(topology: Topology) -> bool:
    return any(node.container for node in topology.nodes.values())


def _without_capabilities(topology: Topology) -> tuple[str, ...]:
    if not _has_containers(topology):
        return ()
    from lab.substrate import contained

    return contained.lacking_capabilities()


def missing_programs(recipe: Recipe) -> list[Problem]:
    """What the services run and this host lacks, each at the place that asks for it. Needs no privilege."""
    if not recipe.services:
        return []
    from lab.recipe import in_file_order
    from lab.services.environment import has_program

    return in_file_order(
        Problem(f"service {spec}: this host has no program {spec.program!r}", _bring(spec), recipe.document.place(spec.path))
        for spec in recipe.services
        if not has_program(spec)
    )


def _bring(spec: ServiceSpec) -> str:
    if spec.package is None:
        return "install it, or name the program by its whole path"
    return f"lab doctor --install, or apt-get install {spec.package}"
