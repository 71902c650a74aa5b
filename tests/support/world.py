"""What a lab could leave on a host, listed before and after: the leak check of every test that makes one.

Looks only from outside, at /proc, /sys and /run, and uses nothing of `lab`. Network namespaces are counted whether or not
anything names them: a socket, a descriptor or a thread can keep one alive that no list shows. The kernel frees them in the
background and tells nobody, so what must be gone is waited for, with a deadline. What another run of these tests makes at
the same time is told apart by its run directory.
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
RUN_DIRECTORIES = "/run/lab-test-"
"""What the run directories of these tests begin with."""
TEMPORARY = "LAB_TEST_TEMPORARY"
"""The variable that has this run's own temporary directory of pytest's; without it none is another run's."""
DOCKER = "lab-test-docker-"
"""What the control groups of these tests' Docker daemons begin with."""
_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_SLAB = Path("/sys/kernel/slab/net_namespace")
_GONE_WITHIN = 15.0  # seconds; the kernel needs some hundredths, but shares the processors
_LOOK_AGAIN = 0.005
_AT_REST = 0.15  # seconds without a change: several times what the kernel needs to end a namespace
_HELPERS = (b"nodeinit.py", b"lab.topology.render")


class LeakError(AssertionError):
    """Something is there that was not there before."""


def run_directory() -> Path:
    return Path(os.environ.get("LAB_RUN_DIR") or "/run/lab")


def _of_another_run(path: str) -> bool:
    """Below a run directory or a temporary directory (…/pytest-of-USER/pytest-NUMBER/popen-WORKER) that is not ours."""
    if path.startswith(RUN_DIRECTORIES):
        return not f"{path}/".startswith(f"{run_directory()}/")
    own = os.environ.get(TEMPORARY, "")
    return bool(own) and "/pytest-of-" in path and not f"{path}/".startswith(f"{own}/")


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
    """Everything that can be listed, but for what lies below the run directory of another run."""
    mounts = _mounts()
    others = {root for point, root in mounts if _of_another_run(point)}
    return World(
        mounts=frozenset(point for point, _ in mounts if not _of_another_run(point)),
        homes=frozenset(str(path) for root in (run_directory(), Path("/run/lab")) for path in _inside(root)),
        names=frozenset(path.name for path in _inside(NETNS) if not _of_another_run(_target(path))),
        links=frozenset(name for _, name in socket.if_nameindex()),
        processes=frozenset(_processes(others)),
    )


def _mounts() -> list[tuple[str, str]]:
    """Place and root of every mount; the root of a network namespace's is net:[INODE] (proc(5), fields five and four)."""
    lines = [line.split(" ", 5) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [(line[4], line[3]) for line in lines]


def _inside(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def _target(link: Path) -> str:
    with contextlib.suppress(OSError):
        return str(link.readlink())
    return ""


def _pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - for every process: no Path each


def _processes(others: set[str]) -> Iterator[str]:
    own = _namespace("self")
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError):
            namespace, said = _namespace(pid), Path(f"/proc/{pid}/cmdline").read_bytes()
            helper = namespace == own and any(name in said for name in _HELPERS) and _is_ours(pid)
            if (helper or (namespace not in (own, *others) and not _of_another_test(pid))) and not _of_docker(pid):
                yield f"{pid} {said.replace(bytes(1), b' ').decode(errors='replace')}"


def _of_docker(pid: str) -> bool:
    """Of a container of tests, from before its namespace has a name; the test that has it asks Docker what is left."""
    return DOCKER.encode() in Path(f"/proc/{pid}/cgroup").read_bytes()


def _namespace(pid: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")  # noqa: PTH115


def _is_ours(pid: str) -> bool:
    """A descendant of this process, or an orphan."""
    ancestors = list(_ancestors(pid))
    return str(os.getpid()) in ancestors or ancestors[:1] == ["1"]


def _of_another_test(pid: str) -> bool:
    """A descendant of another run of pytest, or of another worker of this one, whose command line does not say what it is."""
    mine = {str(os.getpid()), *_ancestors(str(os.getpid()))}
    controller = str(os.getppid()) if "PYTEST_XDIST_WORKER" in os.environ else ""
    above = [pid, *_ancestors(pid)]
    if str(os.getpid()) in above:
        return False
    return controller in above or any(_is_pytest(each) for each in above if each not in mine)


def _is_pytest(pid: str) -> bool:
    """By a word of its own: a path below pytest's temporary directory is none."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return any(word.rpartition(b"/")[2] in (b"pytest", b"py.test") for word in words)


def _ancestors(pid: str) -> Iterator[str]:
    while pid not in ("0", "1"):
        pid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        yield pid


def can_count() -> bool:
    """Whether the kernel's allocator tells how many network namespaces there are."""
    return os.geteuid() == 0 and _SLAB.exists() and (_SLAB / "aliases").read_text().strip() == "0"


def others_at_work() -> bool:
    """Whether somebody else tests on this host now, another worker of pytest-xdist too: then a namespace may be theirs."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return True
    for pid in _pids():
        with contextlib.suppress(OSError):
            if _is_pytest(pid) and not _is_family(pid):
                return True
    return False


def _is_family(pid: str) -> bool:
    me = str(os.getpid())
    return pid == me or me in _ancestors(pid) or pid in _ancestors(me)


def namespaces() -> int:
    """How many network namespaces the kernel has in memory, those that nothing names too; ended ones until they are freed.

    The allocator counts right once it has given back what it keeps at hand (Documentation/ABI/testing/sysfs-kernel-slab)."""
    (_SLAB / "shrink").write_text("1")
    return int((_SLAB / "objects").read_text().split()[0])


def living_namespaces() -> int:
    """The same without those that have ended.

    Since 6.13 the memory of some of those that ended together is freed only when the next one ends (net/core/net_namespace.c,
    net_complete_free), and one that ends alone leaves nothing. So when the kernel has come to rest one is ended here, until
    it takes nothing with it any more."""
    deadline = time.monotonic() + _GONE_WITHIN
    count = _at_rest(deadline)
    while time.monotonic() < deadline:
        _end_a_namespace()
        before, count = count, _at_rest(deadline)
        if count >= before:
            break
    return count


def _at_rest(deadline: float) -> int:
    """The number of namespaces once it has stood still."""
    count, since = namespaces(), time.monotonic()
    while time.monotonic() < min(since + _AT_REST, deadline):
        time.sleep(_LOOK_AGAIN)
        if (now := namespaces()) != count:
            count, since = now, time.monotonic()
    return count


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

    Namespaces that nothing names are counted where `counted`: of a whole module, since the kernel wants half a second."""

    world: World
    namespaces: int | None

    @classmethod
    def begin(cls, counted: bool) -> Check:
        return cls(look(), living_namespaces() if counted and can_count() else None)

    def end(self) -> None:
        deadline = time.monotonic() + _GONE_WITHIN
        while found := self._found():
            if time.monotonic() > deadline:
                raise LeakError("left behind: " + "; ".join(f"{kind}: {', '.join(what)}" for kind, what in found.items()))
            time.sleep(_LOOK_AGAIN)

    def _found(self) -> dict[str, list[str]]:
        found = look().more_than(self.world)
        if found or self.namespaces is None or namespaces() <= self.namespaces:
            return found
        more = living_namespaces() - self.namespaces
        return {"network namespaces": [f"{more} more than before"]} if more > 0 and not others_at_work() else {}
