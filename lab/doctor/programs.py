"""Which programs lab, its experiments and its roles call, where they are, and facts -> findings about them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from lab.doctor.facts import Facts, Program
from lab.doctor.finding import Finding, Section, lacking, note, ok
from lab.services import environment

if TYPE_CHECKING:
    from lab.roles.role import Role

OWN = (
    ("ip", "iproute2", "the scenarios, and looking around on a node"),
    ("ping", "iputils-ping", "trying a lab by hand"),
    ("newuidmap", "uidmap", "labs of ordinary users, with more than one id"),
    ("libpcap", "libpcap0.8", "filters of captures, and so most experiments"),
)
LIBRARIES = {"libpcap": "pcap"}
"""Those of the above that are loaded, not run, and the name by which the loader is asked."""
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Searched after the PATH, on which they are for root only."""

INSTALLED = ok("program.there", "{path}", "for {wanted}")
LACKING = lacking(
    "program.lacking", "not installed", "not possible: {wanted}", "lab doctor --install, or: apt-get install {package}"
)
LACKING_ELSEWHERE = lacking(
    "program.lacking-without-apt",
    "not installed",
    "not possible: {wanted}",
    "there is no apt-get here: install what Debian calls {package} with this system's own packages",
)

DOCKER = ok("docker.there", "Docker {version} answers at {address}", "for nodes of kind container")
DOCKER_SILENT = note(
    "docker.silent",
    "no daemon at {address}: {why}",
    "nodes of kind container cannot be made",
    "start it: systemctl start docker, or name another daemon by DOCKER_HOST",
)
DOCKER_LACKING = note(
    "docker.lacking",
    "not installed, and no daemon at {address}",
    "nodes of kind container cannot be made",
    "apt-get install docker.io",
)


def search_path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_FOLDERS}"


def where(program: str, path: str | None = None) -> str:
    """Its path, or nothing; of a library its file's name."""
    if program in LIBRARIES:
        from ctypes.util import find_library

        return find_library(LIBRARIES[program]) or ""
    return shutil.which(program, path=path or search_path()) or ""


def shipped_roles() -> Mapping[str, Role]:
    """The roles below templates/, by name."""
    from lab.roles import catalogue

    return catalogue.shipped_roles()


def wanted() -> tuple[Program, ...]:
    """All of them, each once, as they are on this host; a role's is searched where services find their programs."""
    roles = ((role.program, role.package, f"the role {name}") for name, role in shipped_roles().items())
    return (*_merged(OWN, search_path()), *_merged(roles, environment.PATH))


def _merged(calls: Iterable[tuple[str | None, str | None, str]], path: str) -> Iterator[Program]:
    by_program: dict[str, tuple[str, list[str]]] = {}
    for program, package, who in calls:
        if program and package:  # a role of what every system has names none
            by_program.setdefault(program, (package, []))[1].append(who)
    for program, (package, callers) in by_program.items():
        yield Program(program, package, tuple(callers), where(program, path))


def judge(facts: Facts) -> Iterator[Finding]:
    sentence = LACKING if facts.around.apt else LACKING_ELSEWHERE
    for program in facts.programs:
        holes = {"wanted": ", ".join(program.wanted), "package": program.package, "path": program.path}
        yield (INSTALLED if program.path else sentence).about(Section.PROGRAMS, program.name, **holes)
    if (docker := facts.docker).address:
        said = DOCKER if not docker.why else DOCKER_SILENT if docker.program else DOCKER_LACKING
        holes = {"address": docker.address, "version": docker.version, "why": docker.why}
        yield said.about(Section.PROGRAMS, "docker", **holes)
