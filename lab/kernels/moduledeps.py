"""The modules that a module needs, in the order in which they are loaded: depmod(8)'s lists read; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class Modules:
    """`needs` maps a module's path below /lib/modules/RELEASE to the paths of what it needs; `builtin` are names."""

    needs: Mapping[str, tuple[str, ...]]
    builtin: frozenset[str]

    def closure(self, wanted: Iterable[str]) -> list[str]:
        """Paths, each behind all that it needs. Raises KeyError with the name of one that there is not."""
        by_name = {name_of(path): path for path in self.needs}
        order: dict[str, None] = {}
        for name in map(_plain, wanted):
            if name in by_name:
                self._add(by_name[name], order)
            elif name not in self.builtin:
                raise KeyError(name)
        return list(order)

    def _add(self, path: str, order: dict[str, None]) -> None:
        """modules.dep has what a module needs the other way round: what is loaded first stands last."""
        for each in reversed(self.needs[path]):
            order.setdefault(each)
        order.setdefault(path)


def read(dep: str, builtin: str) -> Modules:
    """From the texts of modules.dep and modules.builtin."""
    needs = {}
    for line in dep.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = tuple(rest.split())
    return Modules(needs, frozenset(map(name_of, builtin.split())))


def name_of(path: str) -> str:
    """8021q of kernel/net/8021q/8021q.ko.xz."""
    return _plain(PurePosixPath(path).name.split(".ko")[0])


def _plain(name: str) -> str:
    return name.replace("-", "_")
