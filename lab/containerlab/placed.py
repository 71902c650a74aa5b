"""Plain data whose every part knows where it stands in the text, and what is found about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lab.topology.scalars import resolve
from lab.topology.yaml12 import MOST_FAULTS, Spot
from lab.topology.yamlhints import Fault

_SCALAR = re.compile(r"(?:[&!]\S*\s+)*([^\s,\[\]{}]+)")  # an anchor and a tag may stand before it


class Placed(NamedTuple):
    """`value` is dicts with str keys, lists and scalars; `spot` has the indexes of it and of all that is in it."""

    value: Any
    spot: Spot

    def items(self) -> Iterator[tuple[str, Placed]]:
        """Of a mapping."""
        branch = self.spot.branch
        assert isinstance(branch, dict)
        for key, value in self.value.items():
            yield key, Placed(value, branch[key])

    def each(self) -> list[Placed]:
        """Of a list."""
        branch = self.spot.branch
        assert isinstance(branch, list)
        return [Placed(value, spot) for value, spot in zip(self.value, branch, strict=True)]

    def get(self, key: str) -> Placed | None:
        """What a mapping has for `key`, where that is not null."""
        branch = self.spot.branch
        value = self.value.get(key)
        return None if value is None or not isinstance(branch, dict) else Placed(value, branch[key])

    def like(self, value: object) -> Placed:
        """Another value, whole in the place of this one."""
        return Placed(value, Spot(self.spot.key_at, self.spot.at, None))

    def mapping(self, entries: Mapping[str, Placed]) -> Placed:
        """A mapping in the place of this value, each entry of which has its own."""
        spots = {key: each.spot for key, each in entries.items()}
        return Placed({key: each.value for key, each in entries.items()}, Spot(self.spot.key_at, self.spot.at, spots))

    def listing(self, items: Iterable[Placed]) -> Placed:
        """A list in the place of this value, each item of which has its own."""
        every = list(items)
        return Placed([each.value for each in every], Spot(self.spot.key_at, self.spot.at, [each.spot for each in every]))


@dataclass
class Findings:
    """What is wrong, and what only has no effect here, the first hundred of each; indexes are into the text that was parsed."""

    problems: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)

    def wrong(self, where: Placed, message: str, hint: str | None = None, key: bool = False) -> None:
        if len(self.problems) < MOST_FAULTS:
            self.problems.append(Fault(where.spot.key_at if key else where.spot.at, message, hint))

    def note(self, where: Placed, message: str, hint: str | None = None) -> None:
        if len(self.notes) < MOST_FAULTS:
            self.notes.append(Fault(where.spot.key_at, message, hint))


def as_written(placed: Placed, text: str) -> Placed:
    """Every scalar but null as the text that was written: containerlab reads `VERSION: 1.10` as 1.10 where it wants a text."""
    if isinstance(placed.value, dict):
        return placed.mapping({key: as_written(each, text) for key, each in placed.items()})
    if isinstance(placed.value, list):
        return placed.listing(as_written(each, text) for each in placed.each())
    return Placed(_written(placed, text), placed.spot)


def _written(placed: Placed, text: str) -> str | None:
    value = placed.value
    if value is None or isinstance(value, str):
        return value
    found = _SCALAR.match(text, placed.spot.at)
    if found and repr(resolve(found[1])) == repr(value):
        return found[1]
    return str(value).lower() if isinstance(value, bool) else str(value)  # an alias: its target is elsewhere
