"""What a lab has on this host, and what of it is still there once it is said to be gone: a leak is a failed test.

Looks from outside (mounts, links, processes), and not through the record that the teardown works from.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_NETNS = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one lab while it is up. The kernel gives a namespace's number out again once nobody lives there any more."""

    directory: Path
    namespaces: frozenset[int]
    processes: frozenset[int]

    @classmethod
    def of(cls, directory: Path, mounts: Iterable[Path]) -> Footprint:
        """`mounts` are those of the nodes' network namespaces; one that is gone already has no footprint."""
        inodes = frozenset(path.stat().st_ino for path in mounts if path.exists())
        pids = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
        return cls(directory, inodes, frozenset(pid for pid in pids if _lives_in(pid, inodes)))

    def remains(self) -> list[str]:
        """In words; empty where nothing is left."""
        return [*_mounts(self.directory), *_links(self.directory), *self._living()]

    def _living(self) -> Iterator[str]:
        for pid in sorted(self.processes):
            if _lives_in(pid, self.namespaces):
                yield f"process {pid} still lives in a namespace of the lab"


def _lives_in(pid: int, namespaces: Collection[int]) -> bool:
    """Not true of a zombie, which has no namespaces any more."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino in namespaces  # noqa: PTH116 - for every process of the host
    except OSError:
        return False


def _mounts(directory: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split(" ")[4])
        if point == directory or directory in point.parents:
            yield f"{point} is still mounted"
    if directory.exists():
        yield f"{directory} still exists"


def _links(directory: Path) -> Iterator[str]:
    for link in _NETNS.iterdir() if _NETNS.is_dir() else ():
        with contextlib.suppress(OSError):  # no link, or another lab's that goes just now
            if directory in link.readlink().parents:
                yield f"{link} still leads into the lab"
