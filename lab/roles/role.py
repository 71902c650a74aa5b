"""A folder `<role>/` -> a `Role`: role.yaml and the files beside it, read without trusting what lies there.

A `*.j2` file is a template, rendered under its name without that ending; one whose name begins with `_` serves only the
others, which include it. Every other file is taken as it is; role.yaml, README*, hidden files and copies that editors
leave (`*~`) are no files of the service.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from lab.errors import Problem, TopologyError
from lab.model import Fault
from lab.model.file import RESERVED
from lab.model.parse import told
from lab.model.topology import Path as DataPath
from lab.model.values import FILE
from lab.roles.declared import RoleFile, is_template
from lab.topology.document import Document
from lab.topology.params import Param, declared
from lab.topology.places import Plain, Sheet
from lab.topology.problems import of_yaml
from lab.topology.source import Source, read_text
from lab.topology.yaml12 import parse

DECLARATION = "role.yaml"
TEMPLATE = ".j2"
CONTEXT = ("node", "nodes", "service", "topology", "fail")
"""What every template of a role sees beside the parameters, whose names these cannot be."""
_LINE_ENDS = re.compile("\r\n?")


@dataclass(frozen=True, slots=True)
class Role:
    """`templates` and `files` are texts by name in the folder; `words` what of role.yaml is rendered for each service, by its
    path there: words of `command`, `env` and `ready`, in the order of the file; `lines` are theirs. `calls` is the program that
    the package brings, where the command begins with another."""

    name: str
    folder: Path
    description: str
    package: str | None
    calls: str | None
    command: tuple[str, ...]
    params: Mapping[str, Param]
    directories: tuple[str, ...]
    owner: str | None
    timeout: float
    words: Mapping[DataPath, str]
    lines: Mapping[DataPath, int]
    templates: Mapping[str, str]
    files: Mapping[str, str]

    @property
    def program(self) -> str | None:
        """What the package brings: what it runs, or that calls; nothing where that depends on a parameter."""
        return self.calls or (None if is_template(self.command[0]) else self.command[0])

    @property
    def wanted(self) -> tuple[str, ...]:
        """The templates that become files of a service."""
        return tuple(name for name in self.templates if not name.startswith("_"))


def read_role(folder: Path) -> Role:
    """The role that `folder` describes, which is called after it. TopologyError with all that is wrong there."""
    problems: list[Problem] = []
    _inside(folder / DECLARATION, folder)
    texts = _texts(folder, problems)
    document = _document(folder / DECLARATION)
    params, declaration = _declaration(document, problems)
    if problems or declaration is None:
        raise TopologyError(problems)
    words = dict(_words(declaration))
    return Role(
        name=folder.name,
        folder=folder,
        description=declaration.description,
        package=declaration.package,
        calls=declaration.program,
        command=declaration.command,
        params=MappingProxyType(params),
        directories=declaration.directories,
        owner=declaration.owner,
        timeout=declaration.timeout,
        words=MappingProxyType(words),
        lines=MappingProxyType({path: document.place(path).line for path in words}),
        templates=MappingProxyType({name: text for name, text in texts.items() if name.endswith(TEMPLATE)}),
        files=MappingProxyType({name: text for name, text in texts.items() if not name.endswith(TEMPLATE)}),
    )


# -- role.yaml


def _document(path: Path) -> Document:
    text = _LINE_ENDS.sub("\n", read_text(path))
    parsed, places = parse(text), Plain(Sheet(str(path), text))
    if parsed.faults:
        raise TopologyError(of_yaml(parsed.faults, places))
    return Document(parsed.value, text, {}, Source(str(path), text, path.parent), parsed.spot, places)


def _declaration(document: Document, problems: list[Problem]) -> tuple[dict[str, Param], RoleFile | None]:
    data = document.data
    if not isinstance(data, dict):
        problems.append(Problem("a role is a mapping", "begin with description: and command:", document.place(())))
        return {}, None
    found, declaration = list[Problem](), None
    try:
        declaration = RoleFile.model_validate(data)
    except ValidationError as error:
        found += [_problem(each, document) for each in told(error, data, RoleFile)]
    params: dict[str, Param] = {}
    if data.get("params") is not None and isinstance(document.spot.branch, dict):
        params, faults = declared(data["params"], document.spot.branch["params"], (*CONTEXT, *RESERVED))
        found += of_yaml(faults, document.places)
    problems += sorted(found, key=lambda each: (each.place.line, each.place.column) if each.place else (0, 0))
    return params, declaration


def _problem(fault: Fault, document: Document) -> Problem:
    return Problem(fault.message, fault.hint, document.place(fault.path, fault.key))


def _words(declaration: RoleFile) -> Iterator[tuple[DataPath, str]]:
    yield from _of_list(("command",), declaration.command)
    yield from ((("env", name), text) for name, text in declaration.env.items())
    ready = declaration.ready
    yield from _of_list(("ready", "listen"), ready.listen)
    yield from _of_list(("ready", "answer"), ready.answer or ())
    for key in ("file", "line", "counter"):
        if (text := getattr(ready, key)) is not None:
            yield ("ready", key), text


def _of_list(path: DataPath, words: tuple[str, ...]) -> Iterator[tuple[DataPath, str]]:
    return (((*path, at), text) for at, text in enumerate(words))


# -- the files beside it


def _texts(folder: Path, problems: list[Problem]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name == DECLARATION or path.name.startswith((".", "README")) or path.name.endswith("~"):
            continue
        try:
            _inside(path, folder)
            texts[path.name] = _text(path)
        except TopologyError as error:
            problems += error.problems
    for name in texts:
        if f"{name}{TEMPLATE}" in texts:
            problems.append(_at(folder / name, "is made from a template beside it as well", "remove one of the two"))
    return texts


def _inside(path: Path, folder: Path) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise TopologyError([_at(path, "leads out of its folder", "a role's files lie in its own folder: copy it there")])


def _text(path: Path) -> str:
    if path.is_dir():
        raise TopologyError([_at(path, "is a directory", "a role's folder holds files only")])
    if not FILE.match(path.name):
        raise TopologyError([_at(path, "cannot be a file of a service", "use letters, digits and any of _ . @ + -")])
    return read_text(path)


def _at(path: Path, message: str, hint: str) -> Problem:
    return Problem(f"{path}: {message}", hint)
