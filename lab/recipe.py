"""A file and its parameters -> a topology ready to plan, or a TopologyError: every problem at its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import Problem, TopologyError
from lab.topology.source import Source, read_source

if TYPE_CHECKING:
    from lab.model import Topology
    from lab.roles.spec import ServiceSpec
    from lab.topology.text import Document

_LONGEST = 400  # characters of a message


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was asked for: the topology, and the text and parameters it came from."""

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
    """`name` is a file or the name of a shipped topology. Raises TopologyError, with all problems at once."""
    from lab.topology import text

    with text.start(read_source(name), params or {}) as rendering:
        from lab.model import Faults, parse  # while Jinja2 works in a process of its own

        document = rendering.result()
    try:
        return Recipe(parse(document.data), document)
    except Faults as found:
        problems = [Problem(_readable(each.message), each.hint, document.place(each.path, each.key)) for each in found.faults]
        raise TopologyError(in_file_order(problems)) from None


def _readable(message: str) -> str:
    """Its beginning and its end: what a user wrote may be megabytes long."""
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"


def read_rendered(path: Path) -> Recipe:
    """A file that was rendered before, and is taken as it stands."""
    from lab.model import parse
    from lab.topology import text

    document = text.load_rendered(read_source(path))
    return Recipe(parse(document.data), document)


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """By place, and each once: a loop of the file gives the same problem in every round."""
    return sorted(dict.fromkeys(problems), key=lambda each: (each.place.line, each.place.column) if each.place else (0, 0))
