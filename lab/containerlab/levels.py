"""What a node takes from where: itself, its group, its kind, the defaults, the most specific first.

Source: containerlab's manual, "Topology definition" (groups, kinds, defaults) and "Nodes" (which keys are merged).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lab.containerlab import coverage
from lab.containerlab.placed import Findings, Placed
from lab.containerlab.shapes import known

Keys = Mapping[str, Placed]


@dataclass(frozen=True)
class Levels:
    """Of one node: its levels with their names, the most specific first, and the kind that was found."""

    node: str
    at: Placed
    kind: Placed | None
    all: tuple[tuple[str, Keys], ...]

    @property
    def own(self) -> Keys:
        return self.all[0][1]

    def one(self, key: str) -> Placed | None:
        """The most specific value; an empty text is none."""
        return next((keys[key] for _, keys in self.all if key in keys and keys[key].value != ""), None)

    def merged(self, key: str) -> dict[str, Placed]:
        """Of a mapping: each entry as the most specific level has it."""
        return {name: each for keys in self._upwards(key) for name, each in keys.items()}

    def every(self, key: str) -> list[Placed]:
        """Of a list: what all levels have, the least specific first."""
        return [each for level in self._upwards(key) for each in level.each()]

    def listed(self, key: str) -> list[Placed]:
        """The same, each value once, where it comes first."""
        found: dict[str, Placed] = {}
        for each in self.every(key):
            found.setdefault(each.value, each)
        return list(found.values())

    def size(self) -> int:
        """How many values there are to look through."""
        every = (each.value for _, keys in self.all for each in keys.values())
        return sum(len(value) if isinstance(value, (list, dict)) else 1 for value in every)

    def _upwards(self, key: str) -> Iterator[Placed]:
        return (keys[key] for _, keys in reversed(self.all) if key in keys)


@dataclass
class Inheritance:
    """All levels of a file, read once: each complaint is made where its text stands, however many nodes inherit it."""

    defaults: Keys
    kinds: Mapping[str, Keys]
    groups: Mapping[str, Keys]
    _told: set[str] = field(default_factory=set)

    def of(self, node: str, at: Placed, own: Keys) -> Levels:
        kind, group = self._kind(own), self._group(own)
        levels = (
            (f"node {node}", own),
            (f"group {group}", self.groups.get(group, {})),
            (f"kind {kind.value if kind else ''}", self.kinds.get(str(kind.value), {}) if kind else {}),
            ("the defaults", self.defaults),
        )
        return Levels(node, at, kind, levels)

    def tell(self, levels: Levels, findings: Findings) -> None:
        """What of the levels of a container is not covered, each level once."""
        for name, keys in levels.all:
            if name not in self._told:
                self._told.add(name)
                coverage.tell(name, keys, findings)

    def _kind(self, own: Keys) -> Placed | None:
        """A group may say the kind, and a kind the group: the group that the node names itself comes first."""
        for keys in (own, self.groups.get(_word(own, "group"), {}), self.groups.get(_word(self.defaults, "group"), {})):
            if _word(keys, "kind"):
                return keys["kind"]
        return self.defaults.get("kind")

    def _group(self, own: Keys) -> str:
        kind = self._kind(own)
        of_kind = self.kinds.get(str(kind.value), {}) if kind else {}
        return _word(own, "group") or _word(of_kind, "group") or _word(self.defaults, "group")


def read(topology: Keys, findings: Findings) -> Inheritance:
    """`topology` is the keys below `topology:`."""
    defaults = known(topology["defaults"], "the defaults", coverage.KEYS, findings) if "defaults" in topology else {}
    return Inheritance(defaults, _named(topology, "kinds", findings), _named(topology, "groups", findings))


def _named(topology: Keys, key: str, findings: Findings) -> dict[str, Keys]:
    levels = known_names(topology, key, findings)
    return {name: known(each, f"{key.removesuffix('s')} {name}", coverage.KEYS, findings) for name, each in levels}


def known_names(topology: Keys, key: str, findings: Findings) -> list[tuple[str, Placed]]:
    """The entries of a mapping whose keys the user chose."""
    if key not in topology:
        return []
    if not isinstance(topology[key].value, dict):
        findings.wrong(topology[key], f"{key}: a mapping is wanted here")
        return []
    return list(topology[key].items())


def _word(keys: Keys, key: str) -> str:
    return str(keys[key].value) if key in keys else ""
