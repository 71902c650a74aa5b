"""A file and its parameters -> a topology ready to plan, or a TopologyError: every problem at its place in the file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.containerlab.recognise import is_containerlab
from lab.errors import Problem, TopologyError
from lab.topology.source import Source, read_source

if TYPE_CHECKING:
    from lab.model import Topology
    from lab.model.container import Bind
    from lab.roles.spec import ServiceSpec
    from lab.topology.text import Document

_LONGEST = 400  # characters of a message


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was asked for: the topology, the services of its nodes in the order of the file, and the text and parameters it
    came from."""

    topology: Topology
    document: Document
    services: tuple[ServiceSpec, ...] = ()

    @property
    def rendered(self) -> str:
        return self.document.rendered

    @property
    def source(self) -> Source:
        return self.document.source


def read(name: str | Path, params: Mapping[str, object] | None = None) -> Recipe:
    """`name` is a file, also one of containerlab's, or the name of a shipped topology. Raises TopologyError, with all problems
    at once."""
    from lab.topology import sandbox

    source = read_source(name)
    if is_containerlab(source):
        return _of_containerlab(source, params or {})
    with sandbox.kept():  # for the text of the topology and for the files of its services
        document = _document(source, params or {})
        topology = _topology(document)
        return Recipe(topology, document, _services(topology, document))


def _document(source: Source, params: Mapping[str, object]) -> Document:
    from lab.topology import text

    with text.start(source, params) as rendering:
        import lab.model  # noqa: F401 - while Jinja2 works in a process of its own

        return rendering.result()


def declared(name: str | Path) -> Mapping[str, object]:
    """The parameters that a file has, with what they are where nobody sets them. Raises TopologyError."""
    from lab.topology import text

    source = read_source(name)
    if not is_containerlab(source):
        return text.declared_params(source)
    from lab.containerlab.load import variables

    return variables(source, os.environ)


def rendered(name: str | Path, params: Mapping[str, object] | None = None) -> str:
    """The text of the topology in our own language; it is not checked any further. Raises TopologyError."""
    from lab.topology import text

    source = read_source(name)
    if not is_containerlab(source):
        return text.render_only(source, params or {})
    from lab.containerlab.load import load

    loaded = load(source, params or {}, os.environ)
    if loaded.problems:
        raise TopologyError(in_file_order(loaded.problems))
    return loaded.document.rendered


def _of_containerlab(source: Source, params: Mapping[str, object]) -> Recipe:
    from lab.containerlab.load import load

    loaded = load(source, params, os.environ)
    topology = _topology(loaded.document, loaded.problems)
    return Recipe(topology, loaded.document, _services(topology, loaded.document))


def _topology(document: Document, problems: Iterable[Problem] = ()) -> Topology:
    """`problems` are told together with what the model finds."""
    from lab.model import Faults, parse

    every = list(problems)
    try:
        topology = parse(document.data)
    except Faults as found:
        every += [Problem(_readable(each.message), each.hint, document.place(each.path, each.key)) for each in found.faults]
        raise TopologyError(in_file_order(every)) from None
    every += _of_binds(topology, document)
    if every:
        raise TopologyError(in_file_order(every))
    return topology


def bind_source(folder: Path | None, bind: Bind) -> Path:
    """What a container is given: the real path, without symbolic links, for whoever follows one later. Raises TopologyError
    where that is not below `folder`, the topology's, or not there."""
    if folder is None:
        raise TopologyError(f"{bind.source}: this topology lies in no folder", "binds are of files below the topology's folder")
    try:
        root, path = folder.resolve(strict=True), Path(folder, bind.source).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "its symbolic links lead in a circle"
        raise TopologyError(f"{bind.source} cannot be given to the container: {why}", f"it is looked for in {folder}") from None
    if not path.is_relative_to(root):
        leads = "" if Path(bind.source).is_absolute() else f": it leads to {path}"
        said = f"{bind.source} lies outside the topology's folder{leads}"
        raise TopologyError(said, f"a container sees only files below {folder}")
    return path


def _of_binds(topology: Topology, document: Document) -> Iterator[Problem]:
    for container in (node.container for node in topology.nodes.values() if node.container):
        for at, bind in enumerate(container.binds):
            try:
                bind_source(document.source.folder, bind)
            except TopologyError as error:
                place = document.place((*container.where("binds"), at))
                yield from (replace(each, place=place) for each in error.problems)


def _services(topology: Topology, document: Document) -> tuple[ServiceSpec, ...]:
    if not any(node.services for node in topology.nodes.values()):
        return ()
    from lab.roles.services import services_of

    try:
        return services_of(topology, document)
    except TopologyError as found:
        problems = [replace(each, message=_readable(each.message)) for each in found.problems]
        raise TopologyError(in_file_order(problems, document.source.name)) from None


def _readable(message: str) -> str:
    """Its beginning and its end: what a user wrote may be megabytes long."""
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"


def read_rendered(path: Path) -> Recipe:
    """A file that was rendered before, and is taken as it stands; what its services are was settled then."""
    from lab.model import parse
    from lab.topology import text

    document = text.load_rendered(read_source(path))
    return Recipe(parse(document.data), document)


def in_file_order(problems: Iterable[Problem], first: str = "") -> list[Problem]:
    """By place, and each once: a loop of the file gives the same problem in every round. `first` is the file that comes before
    others."""
    return sorted(dict.fromkeys(problems), key=lambda each: _order(each, first))


def _order(problem: Problem, first: str) -> tuple[bool, str, int, int]:
    place = problem.place
    return (place.file != first, place.file, place.line, place.column) if place else (False, "", 0, 0)
