"""YAML 1.2 text -> plain data, and where in the text each piece of it stands.

PyYAML's C scanner gives the events; the tree is built here, on a stack of our own, because its composer recurses on
the C stack and ends the process on deep nesting. Places are indexes into the text, in characters; what they mean in
the user's file is not known here. Nothing recurses, and every limit below is met while reading, so that hostile text
costs no more than honest text of its size.

Beyond the core schema: merge keys (`<<`) are honoured as YAML 1.1 defined them, since users rely on them. Every key is
a string; a plain `7:` is the key "7".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import yaml

from lab.topology.scalars import resolve, tagged
from lab.topology.words import did_you_mean, shown
from lab.topology.yamlhints import Fault, explain

DEEPEST = 64  # collections inside each other
MOST_VALUES = 500_000  # nodes, an alias counting as many as its target has
MOST_FAULTS = 100

_PREFIX = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset(("str", "int", "float", "bool", "null"))

Branch = dict[str, "Spot"] | list["Spot"]


class Spot(NamedTuple):
    """Where a node stands: the index of its key (in a sequence its own), its index, and the same for its children."""

    key_at: int
    at: int
    branch: Branch | None


@dataclass(frozen=True)
class Parsed:
    """`value` is plain dicts, lists and scalars; aliased collections are one object. With `faults` it is incomplete."""

    value: Any
    spot: Spot
    faults: tuple[Fault, ...]


def parse(text: str) -> Parsed:
    """Parse `text`, which must be one document. Faults are ordered by where they stand; a syntax error is the last."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=yaml.CLoader):
            builder.take(event)
    except _EnoughError:
        pass
    except UnicodeEncodeError as error:  # a lone surrogate, which the C library cannot even be given
        builder.fault(error.start, "a lone surrogate is no character")
    except yaml.YAMLError as error:
        builder.faults.append(explain(error, text))
    value, spot = builder.root or (None, Spot(0, 0, None))
    if value is None and not builder.faults:
        builder.fault(spot.at, "the file describes nothing", "the least topology is `nodes: {a: {}}`")
    return Parsed(value, spot, tuple(sorted(builder.faults, key=lambda fault: fault.index)))


class _EnoughError(Exception):
    """Reading on would only cost time; the reason is the last fault."""


class _Special(Enum):
    """What an open mapping may hold in the place of a key."""

    NONE = "no key yet"
    MERGE = "<<"
    REFUSED = "a key that is no string"


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been seen."""

    value: dict[str, Any] | list[Any]
    branch: Branch
    at: int
    before: int  # nodes counted before it
    anchor: str | None
    key: str | _Special = _Special.NONE
    key_at: int = 0
    merges: list[tuple[Any, Spot]] = field(default_factory=list)


@dataclass(slots=True)
class _Anchor:
    value: Any
    branch: Branch | None
    size: int  # nodes, itself included; 0 while it is still open


class _Builder:
    """Takes PyYAML's events one by one; `root` is the document once it is whole."""

    def __init__(self) -> None:
        self.root: tuple[Any, Spot] | None = None
        self.faults: list[Fault] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchor] = {}
        self._nodes = 0
        self._takers: dict[type, Callable[[Any, int], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: self._mapping,
            yaml.SequenceStartEvent: self._sequence,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.DocumentStartEvent: self._document,
        }

    def take(self, event: Any) -> None:
        taker = self._takers.get(type(event))
        if taker:
            taker(event, event.start_mark.index)

    def fault(self, index: int, message: str, hint: str | None = None, see: tuple[str, int] | None = None) -> None:
        self.faults.append(Fault(index, message, hint, see))
        if len(self.faults) >= MOST_FAULTS:
            raise _EnoughError

    def _stop(self, index: int, message: str, hint: str | None = None) -> None:
        self.fault(index, message, hint)
        raise _EnoughError

    # -- one taker for each event

    def _document(self, _event: Any, at: int) -> None:
        if self.root:
            hint = "a `---` line ends the document with the parameters, and nothing else"
            self._stop(at, "a second document begins here; a topology is one", hint)

    def _scalar(self, event: Any, at: int) -> None:
        top = self._stack[-1] if self._stack else None
        if top and top.key is _Special.NONE and isinstance(top.value, dict):
            self._key(top, event, at)
            return
        self._count(1, at)
        value = resolve(event.value) if event.implicit[0] and event.tag is None else self._explicit(event, at)
        if event.anchor:
            self._anchors[event.anchor] = _Anchor(value, None, 1)
        self._put(value, at, None)

    def _alias(self, event: Any, at: int) -> None:
        name = event.anchor
        target = self._anchors.get(name)
        if target is None:
            self.fault(at, f"*{name} refers to no anchor above it", did_you_mean(name, self._anchors, "anchors are: "))
            target = _Anchor(None, None, 1)
        elif not target.size:
            self._stop(at, f"*{name} refers to a value that contains it", "a value cannot be part of itself")
        self._count(target.size, at)
        self._put(target.value, at, target.branch)

    def _mapping(self, event: Any, at: int) -> None:
        self._tag(event, at, "map")
        self._open(event.anchor, at, {}, {})

    def _sequence(self, event: Any, at: int) -> None:
        self._tag(event, at, "seq")
        self._open(event.anchor, at, [], [])

    def _end(self, _event: Any, _at: int) -> None:
        done = self._stack.pop()
        if done.merges:
            _merge(done)
        if done.anchor:
            size = self._nodes - done.before
            self._anchors[done.anchor] = _Anchor(done.value, done.branch, size)
        self._put(done.value, done.at, done.branch)

    # -- their parts

    def _key(self, top: _Open, event: Any, at: int) -> None:
        top.key_at, top.key = at, event.value
        if event.implicit[0] and event.value == "<<":
            top.key = _Special.MERGE
        elif event.implicit[0] and not event.value:
            self._no_key(top, at)
        elif event.tag:
            self._explicit(event, at)
        if event.anchor:
            self._anchors[event.anchor] = _Anchor(event.value, None, 1)

    def _no_key(self, top: _Open, at: int) -> None:
        top.key, top.key_at = _Special.REFUSED, at
        self.fault(at, "a key must be a string", 'quote a text that holds `: `, `{` or `[`; an empty key is ""')

    def _open(self, anchor: str | None, at: int, value: dict[str, Any] | list[Any], branch: Branch) -> None:
        if len(self._stack) == DEEPEST:
            self._stop(at, f"more than {DEEPEST} collections inside each other", "a topology needs about eight")
        self._stack.append(_Open(value, branch, at, self._nodes, anchor))
        self._count(1, at)
        if anchor:
            self._anchors[anchor] = _Anchor(None, None, 0)

    def _put(self, value: Any, at: int, branch: Branch | None) -> None:
        """Hand a finished node to the collection it stands in."""
        if not self._stack:
            self.root = value, Spot(at, at, branch)
            return
        top = self._stack[-1]
        if isinstance(top.branch, list):
            top.branch.append(Spot(at, at, branch))
            top.value.append(value)  # type: ignore[union-attr]  # the two are lists together
        elif type(top.key) is str:
            self._entry(top, top.key, value, Spot(top.key_at, at, branch))
        elif top.key is _Special.MERGE:
            self._to_merge(top, value, Spot(top.key_at, at, branch))
        elif top.key is _Special.NONE:
            self._no_key(top, at)
            return
        top.key = _Special.NONE

    def _entry(self, top: _Open, key: str, value: Any, spot: Spot) -> None:
        assert isinstance(top.value, dict)
        assert isinstance(top.branch, dict)
        first = top.branch.get(key)
        if first is not None:
            self.fault(spot.key_at, f"the key {shown(key)} is given twice", "remove one", ("first at", first.key_at))
            return
        top.value[key] = value
        top.branch[key] = spot

    def _to_merge(self, top: _Open, value: Any, spot: Spot) -> None:
        parts, branch = (value, spot.branch) if isinstance(value, list) else ([value], [spot])
        if not isinstance(branch, list) or not all(isinstance(part, dict) for part in parts):
            self.fault(spot.at, "`<<` takes a mapping or a list of mappings", "such as `<<: *common`")
            return
        top.merges.extend(zip(parts, branch, strict=True))

    def _count(self, nodes: int, at: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_VALUES:
            self._stop(at, f"more than {MOST_VALUES} values, with every alias written out", None)

    def _explicit(self, event: Any, at: int) -> Any:
        """The value of a quoted or tagged scalar."""
        if event.tag is None:
            return event.value
        tag = event.tag.removeprefix(_PREFIX)
        if tag not in _SCALAR_TAGS or tag == event.tag:
            self._bad_tag(event.tag, at)
            return event.value
        try:
            return tagged(tag, event.value)
        except ValueError:
            self.fault(at, f"{shown(event.value)} is no {tag}, as its tag says", "remove the tag")
            return event.value

    def _tag(self, event: Any, at: int, kind: str) -> None:
        if event.tag not in (None, _PREFIX + kind):
            self._bad_tag(event.tag, at)

    def _bad_tag(self, tag: str, at: int) -> None:
        name = f"!!{tag.removeprefix(_PREFIX)}" if tag.startswith(_PREFIX) else tag
        self.fault(at, f"the tag {shown(name)} means nothing here", "remove it, or quote a text that begins with `!`")


def _merge(done: _Open) -> None:
    """Fold the merged mappings in: a key of the mapping's own wins, then the earlier of the merged ones."""
    assert isinstance(done.value, dict)
    assert isinstance(done.branch, dict)
    for value, spot in done.merges:
        for key, part in value.items():
            if key not in done.value:
                done.value[key] = part
                done.branch[key] = spot.branch[key]  # type: ignore[index]  # a mapping's branch is a mapping
