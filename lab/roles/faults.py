"""Why a role's template has no text, in words: (message, hint), with the template's own file and line in the message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.model.topology import Path
from lab.roles.role import DECLARATION, Role
from lab.topology import limits
from lab.topology.places import printable
from lab.topology.sandbox import Fault
from lab.topology.words import did_you_mean, listed, shown

Said = tuple[str, str | None]

_BOUNDS = {
    "time": "rendering took longer than {limits.DEADLINE:g} s",
    "memory": "rendering took more than {mebibytes} MiB of memory",
    "output": "rendering made more than {limits.OUTPUT:,} characters, those of all services together",
}


def said_of(fault: Fault, role: Role, path: Path, names: Iterable[str]) -> Iterator[Said]:
    """Of a word of role.yaml, whose line there is told."""
    yield from _said(fault, role, f"{role.folder / DECLARATION}:{role.lines[path]}", names)


def of_role(fault: Fault, role: Role, where: str, names: Iterable[str]) -> Iterator[Said]:
    """Of a file of the role; `where` serves for a fault that knows no line."""
    file = str(role.folder / fault.template) if fault.template else where
    if fault.kind != "undefined" or not fault.name:
        yield from _said(fault, role, _line(file, fault.line), names)
        return
    lines = dict(fault.names) | {fault.name: fault.line or fault.names.get(fault.name, 1)}
    for name, line in sorted(lines.items(), key=lambda each: each[1]):
        yield _undefined(name, _line(file, line), names)


def _line(file: str, line: int | None) -> str:
    return file if line is None else f"{file}:{line}"


def _undefined(name: str, where: str, names: Iterable[str]) -> Said:
    return f"{where}: {name!r} is not defined", did_you_mean(name, names, "there are: ")


def _said(fault: Fault, role: Role, where: str, names: Iterable[str]) -> Iterator[Said]:
    said = printable(fault.message)
    if fault.kind == "refused":
        yield f"role {role.name}: {said}", None
    elif fault.kind == "undefined" and fault.name:
        yield _undefined(fault.name, where, names)
    elif fault.kind == "unsafe":
        yield f"{where}: Jinja2 may not do this here: {said}", "a role computes with its parameters and the topology alone"
    elif fault.kind == "loader":
        yield f"{where}: there is no {shown(fault.message)} in the role's folder", f"it has: {listed(role.templates)}"
    elif fault.kind in _BOUNDS:
        bound = _BOUNDS[fault.kind].format(limits=limits, mebibytes=limits.MEMORY >> 20)
        yield f"{where}: {bound}", "does a loop have far too many rounds?"
    else:
        yield f"{where}: Jinja2: {said}", None
