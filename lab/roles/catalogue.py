"""Where roles lie: `templates/` beside the topology file first, then those that come with `lab`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from lab.errors import TopologyError
from lab.roles.role import DECLARATION, Role, read_role
from lab.topology.shipped import shipped_templates
from lab.topology.source import Source
from lab.topology.words import did_you_mean

FOLDER = "templates"


def shipped_roles() -> Mapping[str, Role]:
    """The roles that come with `lab`, in the order of their names."""
    folder = shipped_templates()
    return MappingProxyType({name: read_role(folder / name) for name in sorted(_names([folder]))})


def places_of(source: Source) -> tuple[Path, ...]:
    """The folders that are searched for the roles of a topology, as its user would name them."""
    own = () if source.folder is None else (Path(source.name).parent / FOLDER,)
    return (*own, shipped_templates())


def find(name: str, places: Iterable[Path]) -> Role:
    """The role `name`, which is one component of a path. TopologyError where there is none, or where it is wrong."""
    places = tuple(places)
    for place in places:
        if (place / name / DECLARATION).exists():
            return read_role(place / name)
    searched = "searched for " + " and ".join(str(place / name / DECLARATION) for place in places)
    near = did_you_mean(name, sorted(_names(places)))
    raise TopologyError(f"there is no role {name!r}", "; ".join(part for part in (near, searched) if part))


def _names(places: Iterable[Path]) -> set[str]:
    return {path.parent.name for place in places for path in place.glob(f"*/{DECLARATION}")}
