"""Watches a lab, and says of each packet that the kernel dropped in it meanwhile: node, interface, packet, reason and cause.

    with lab.explain() as explained:
        client.run(["ping", "-c1", "-W1", "10.0.0.9"], check=False)
    print(explained)

Drops are traced where the kernel and the caller's privileges allow it (`lab.substrate.drops`). Where not, counters that moved
and the settings that go with them stand in, beside the filters that may drop without counting; they have neither packet nor
interface, and `untraced` says why.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from lab.errors import HostError
from lab.observe import counters
from lab.observe.explain import packet, reasons
from lab.observe.explain.reasons import Case, Cause
from lab.observe.explain.settings import Settings
from lab.substrate import namespaces
from lab.substrate.drops import Dropped, Drops

_LOOK_AGAIN = 0.01  # seconds
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Drop:
    """Packets that look the same and were dropped for the same reason, `times` of them, the first at `time` (seconds of
    time.monotonic()). `device` is empty where the packet had none, as on its way out before a device is found; `packet` is one
    line; `reason` the kernel's name; `cause` None where the reason is not known here; `where` then the kernel's function."""

    time: float
    node: str
    device: str
    packet: str
    reason: str
    cause: Cause | None
    where: str = ""
    times: int = 1

    @property
    def harmless(self) -> bool:
        return self.cause is not None and self.cause.harmless

    def __str__(self) -> str:
        times = f"  ({self.times} times)" if self.times > 1 else ""
        place = f"{self.node}:{self.device}" if self.device else self.node
        return "\n    ".join((f"{place}  {self.packet}{times}", *self._because()))

    def _because(self) -> Iterator[str]:
        if self.cause is None:
            yield f"{self.reason}{f', in {self.where}' if self.where else ''}"
            return
        yield f"{self.reason}{': ' if self.cause.why else ''}{self.cause.why}"
        if self.cause.setting:
            yield f"{self.cause.setting}{': ' if self.cause.value else ''}{self.cause.value}"
        if self.cause.change:
            yield f"to change: {self.cause.change}"


class DropTimeout(AssertionError):  # noqa: N818 - an expectation that did not hold, as lab.observe.wire.WireError
    """A drop that was expected did not come; the message lists those that did."""


class Explainer:
    """A context manager over namespaces by the names of their nodes; `drops`, where given, is one that stays."""

    def __init__(self, namespaces: Mapping[str, Path], drops: Drops | None = None, untraced: str = "") -> None:
        """`untraced`: the reason, where it is known already that drops cannot be traced."""
        self._namespaces, self._shared, self.untraced = dict(namespaces), drops, untraced
        self._undo = contextlib.ExitStack()
        self._drops: Drops | None = None
        self._found: list[Dropped] = []
        self._nodes: dict[int, str] = {}
        self._before: dict[str, Mapping[str, int]] = {}
        self._after: list[Drop] | None = None
        self._lost = 0

    def __enter__(self) -> Self:
        self._nodes = {namespaces.inode(ns): node for node, ns in self._namespaces.items()}
        if not self.untraced:
            try:
                self._trace(self._shared or self._undo.enter_context(Drops()))
            except HostError as error:
                self.untraced = str(error)
        if self.untraced:
            self._before = {node: counters.read(ns) for node, ns in self._namespaces.items()}
        return self

    def _trace(self, drops: Drops) -> None:
        drops.take()
        self._undo.callback(drops.leave, list(self._nodes))
        drops.watch(self._nodes)
        self._drops, self._lost = drops, -drops.lost

    def __exit__(self, *_: object) -> None:
        self._take()
        if self.untraced:
            self._after = self._moved()
        self._lost, self._drops = self.lost, None
        self._undo.close()

    @property
    def lost(self) -> int:
        """How many drops found no room to be kept."""
        return self._lost + (self._drops.lost if self._drops else 0)

    @property
    def set_now(self) -> list[str]:
        """Where drops are not traced: what of the nodes' filters may drop, whether or not it has, since no counter tells."""
        if not self.untraced:
            return []
        settings = {node: Settings(ns) for node, ns in self._namespaces.items()}
        return [f"{node}  {each}" for node, its in settings.items() for each in (*its.filters(), *its.rules())]

    @property
    def drops(self) -> list[Drop]:
        """What came until now, in order, those that look the same told once; causes as the nodes are set at this moment."""
        self._take()
        if self.untraced:
            return self._moved() if self._after is None else self._after
        settings = {node: Settings(ns) for node, ns in self._namespaces.items()}
        found: dict[tuple[str, ...], Drop] = {}
        for dropped in self._found:
            drop = self._explained(dropped, settings)
            key = (drop.node, drop.device, drop.packet, drop.reason)
            found[key] = replace(found[key], times=found[key].times + 1) if key in found else drop
        return [_placed(drop) for drop in found.values()]

    def expect(self, node: str, reason: str, within: float = 5.0) -> Drop:
        """The first drop on the node for that reason, waited for `within` seconds. Raises DropTimeout."""
        deadline = time.monotonic() + within
        while True:
            if self.untraced or self._has(node, reason):
                for drop in self.drops:
                    if (drop.node, drop.reason) == (node, reason):
                        return drop
            if time.monotonic() > deadline:
                raise DropTimeout(f"{node} dropped nothing for {reason} within {within:g} s; dropped were:\n{self}")
            time.sleep(_LOOK_AGAIN)

    def __str__(self) -> str:
        return "\n".join(self.told())

    def told(self, every: bool = False) -> list[str]:
        """In lines; the harmless ones only counted, unless `every`. Empty where nothing is to be told."""
        lines = told(self.drops, every)
        lines += [f"{self.lost} more found no room to be kept"] if self.lost else []
        if self.untraced:
            lines += [f"only counters are told, without packets and interfaces: {self.untraced}"]
            lines += ["filters that may drop as well:", *(f"    {each}" for each in now)] if (now := self.set_now) else []
        return lines

    def _has(self, node: str, reason: str) -> bool:
        self._take()
        return any(each.reason == reason and self._nodes[each.namespace] == node for each in self._found)

    def _take(self) -> None:
        if self._drops is not None:
            self._found += [each for each in self._drops.take() if each.namespace in self._nodes]

    def _explained(self, dropped: Dropped, settings: Mapping[str, Settings]) -> Drop:
        node = self._nodes[dropped.namespace]
        facts = packet.facts(dropped.protocol, dropped.mac, dropped.packet)
        cause = reasons.cause(Case(dropped.reason, dropped.device, facts, settings[node]))
        where = f"{dropped.location:#x}" if cause is None else ""
        return Drop(dropped.time, node, dropped.device, facts.line, dropped.reason, cause, where)

    def _moved(self) -> list[Drop]:
        return [drop for node, ns in self._namespaces.items() for drop in _counted(node, ns, self._before.get(node, {}))]


def _counted(node: str, ns: Path, before: Mapping[str, int]) -> Iterator[Drop]:
    settings = Settings(ns)
    for name, number in counters.delta(before, counters.read(ns)).items():
        if reason := reasons.COUNTERS.get(name):
            facts = packet.Facts(packet.IPV6 if "6" in name else packet.IPV4, f"counted in {name}")
            cause = reasons.cause(Case(reason, "", facts, settings))
            yield Drop(time.monotonic(), node, "", facts.line, reason, cause, times=number)


def _placed(drop: Drop) -> Drop:
    """With the function's name instead of its address."""
    if not drop.where:
        return drop
    from lab.substrate import symbols

    return replace(drop, where=symbols.name_of(int(drop.where, 16)))


def told(drops: Iterable[Drop], every: bool = False) -> list[str]:
    """Lines for a reader; what is harmless is only counted, unless `every`."""
    drops = list(drops)
    shown = [drop for drop in drops if every or not drop.harmless]
    lines = [str(drop) for drop in shown[:_SHOWN]]
    lines += [f"… and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    harmless = sum(drop.times for drop in drops if drop.harmless)
    missed = f"{harmless}{' more' if lines else ''} {'was' if harmless == 1 else 'were'} dropped and missed by nobody"
    return lines + ([missed] if harmless and not every else [])
