"""What a lab could leave on a host, listed before and after: the leak check of every test that makes one.

Looks only from outside, at /proc, /sys and /run, and uses nothing of `lab`. Network namespaces are counted whether or not
anything names them: a socket, a descriptor or a thread can keep one alive that no list shows. The kernel frees them in the
background and tells nobody, so what must be gone is waited for, with a deadline.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from dataclasses import dataclass, fields
from pathlib import Path

NETNS = Path("/run/netns")
SHARED = bool(os.environ.get("LAB_SHARED_HOST"))
"""Others make namespaces on this host too: only what lies below this run's own directory is compared."""
_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_SLAB = Path("/sys/kernel/slab/net_namespace")
_GONE_WITHIN = 15.0  # seconds; the kernel needs some hundredths, but shares the processors
_LOOK_AGAIN = 0.005
_KEPT = 8  # ended namespaces whose memory the kernel may still hold
_HELPERS = (b"nodeinit.py", b"lab.topology.render")


class LeakError(AssertionError):
    """Something is there that was not there before."""


@dataclass(frozen=True, slots=True)
class World:
    """What there is. `processes` are those in other network namespaces than this one, and helpers of lab's."""

    mounts: frozenset[str]
    homes: frozenset[str]
    names: frozenset[str]
    links: frozenset[str]
    processes: frozenset[str]

    def more_than(self, before: World) -> dict[str, list[str]]:
        """What this one has and `before` had not, by kind."""
        found = {each.name: sorted(getattr(self, each.name) - getattr(before, each.name)) for each in fields(self)}
        return {kind: things for kind, things in found.items() if things}


def look() -> World:
    """Everything that can be listed; only what is this run's own where the host is shared."""
    root = run_directory()
    return World(
        mounts=frozenset(point for point in _mount_points() if not SHARED or root in Path(point).parents),
        homes=frozenset(_names_in(root) if SHARED else (*_names_in(root), *_names_in(Path("/run/lab")))),
        names=frozenset(name for name in _names_in(NETNS) if not SHARED or root in _target(NETNS / name).parents),
        links=frozenset() if SHARED else frozenset(name for _, name in socket.if_nameindex()),
        processes=frozenset() if SHARED else frozenset(_processes()),
    )


def run_directory() -> Path:
    return Path(os.environ.get("LAB_RUN_DIR") or "/run/lab")


def _mount_points() -> list[str]:
    return [line.split(" ", 5)[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _names_in(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [str(path) if folder != NETNS else path.name for path in folder.iterdir()]
    return []


def _target(link: Path) -> Path:
    with contextlib.suppress(OSError):
        return link.readlink()
    return link


def _processes() -> Iterator[str]:
    own = Path("/proc/self/ns/net").stat().st_ino
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                said = (entry / "cmdline").read_bytes()
                if (entry / "ns" / "net").stat().st_ino != own or any(helper in said for helper in _HELPERS):
                    yield f"{entry.name} {said.replace(bytes(1), b' ').decode(errors='replace')}"


def can_count() -> bool:
    """Whether the kernel's allocator tells how many network namespaces there are, and nobody else makes some meanwhile."""
    return not SHARED and os.geteuid() == 0 and _SLAB.exists() and (_SLAB / "aliases").read_text().strip() == "0"


def namespaces() -> int:
    """How many network namespaces the kernel has in memory, those that nothing names too; ended ones until they are freed.

    The allocator counts right once it has given back what it keeps at hand (Documentation/ABI/testing/sysfs-kernel-slab)."""
    (_SLAB / "shrink").write_text("1")
    return int((_SLAB / "objects").read_text().split()[0])


def settled_namespaces() -> int:
    """The same when nothing is left to free but the last one that ended.

    Since 6.13 the memory of those that ended together is freed when the next ones end (net/core/net_namespace.c,
    net_complete_free). So one is ended here and waited for, until two in a row have taken nothing else with them: the
    first may have ended together with others."""
    before, alike, deadline = namespaces(), 0, time.monotonic() + _GONE_WITHIN
    while alike < 2 and time.monotonic() < deadline:
        _end_a_namespace()
        while (now := namespaces()) > before and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN)
        alike = alike + 1 if now == before else 0
        before = now
    return before


def _end_a_namespace() -> None:
    libc = CDLL(None, use_errno=True)
    with ThreadPoolExecutor(max_workers=1) as thread:
        assert thread.submit(libc.unshare, _CLONE_NEWNET).result() == 0


def until_as(before: World, what: str = "") -> None:
    """Until nothing that can be listed is there that was not before: a process that must end does so in its own time."""
    deadline = time.monotonic() + _GONE_WITHIN
    while more := look().more_than(before):
        if time.monotonic() > deadline:
            raise LeakError(f"{what}: {more}")
        time.sleep(_LOOK_AGAIN)


@dataclass(frozen=True, slots=True)
class Check:
    """What there was at the beginning; `end` waits until there is nothing more, or raises LeakError with what there is.

    Namespaces that nothing names are counted too where `counted`, but for a few: the kernel keeps the memory of the last that
    ended together until others end, and how many those are is chance. What makes a hundred labs and leaks one namespace of
    each is seen; so a count is of a whole module."""

    world: World
    namespaces: int | None

    @classmethod
    def begin(cls, counted: bool) -> Check:
        return cls(look(), settled_namespaces() if counted and can_count() else None)

    def end(self) -> None:
        deadline = time.monotonic() + _GONE_WITHIN
        while found := self._found():
            if time.monotonic() > deadline:
                raise LeakError("left behind: " + "; ".join(f"{kind}: {', '.join(what)}" for kind, what in found.items()))
            time.sleep(_LOOK_AGAIN)

    def _found(self) -> dict[str, list[str]]:
        found = look().more_than(self.world)
        if found or self.namespaces is None or namespaces() <= self.namespaces + _KEPT:
            return found
        more = settled_namespaces() - self.namespaces
        return {"network namespaces": [f"{more} more than before"]} if more > _KEPT else {}
