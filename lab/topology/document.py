"""What the text stage hands on: plain data whose every part knows its place in the user's own file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.errors import Place, Problem
from lab.topology.places import Plain, Rendered
from lab.topology.source import Source

if TYPE_CHECKING:
    from lab.topology.yaml12 import Spot


@dataclass(frozen=True)
class Document:
    """A topology as plain data (dicts with str keys, lists, scalars), not to be changed: aliases share their targets.

    `rendered` is the text that was parsed, `params` the effective parameters. `notes` name what the file says and what has no
    effect here.
    """

    data: object
    rendered: str
    params: Mapping[str, object]
    source: Source
    spot: Spot = field(repr=False, compare=False)
    places: Plain | Rendered = field(repr=False, compare=False)
    notes: tuple[Problem, ...] = ()

    def place(self, path: Sequence[str | int], key: bool = False) -> Place:
        """Where the value at `path` into `data` begins in the user's file, or with `key` its key.

        A path that leads beyond the data gives the place of the last value on its way.
        """
        spot = self.spot
        for step in path:
            below = _below(spot, step)
            if below is None:
                return self.places.place(spot.at)
            spot = below
        return self.places.place(spot.key_at if key else spot.at)


def _below(spot: Spot, step: str | int) -> Spot | None:
    below: Spot | None = None
    if isinstance(spot.branch, dict):
        below = spot.branch.get(str(step))
    elif isinstance(spot.branch, list) and isinstance(step, int) and 0 <= step < len(spot.branch):
        below = spot.branch[step]
    return below
