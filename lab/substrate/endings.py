"""Ends processes of a lab on proof that they are its own, never by a bare number.

Takes records (of inits) and inode numbers (of network namespaces) and knows nothing of journals, sockets or how either
came to be. What is gone already is a success. Every signal goes through a pidfd that was proven after it was opened
(pidfd_open(2)), so that a recycled pid is never hit.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

_AT_ONCE = 128
"""Pidfds held open at a time: well below the 1024 descriptors that a process usually may have."""


@dataclass(frozen=True, slots=True)
class InitRecord:
    """Who the init of a node is. `pid` as the lab's owner sees it; `starttime` in clock ticks since boot (proc(5), field
    22 of /proc/PID/stat); `boot_id` the kernel's random name for this boot."""

    node: str
    pid: int
    starttime: int
    boot_id: str

    @classmethod
    def of(cls, node: str, pid: int) -> InitRecord:
        """Of a living process; raises ProcessLookupError where there is none."""
        starttime = _starttime(pid)
        if starttime is None:
            raise ProcessLookupError(errno.ESRCH, f"the init of node {node} is gone", str(pid))
        return cls(node, pid, starttime, boot_id())

    def to_dict(self) -> dict[str, str | int]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, str | int]) -> InitRecord:
        """Back from `to_dict`; raises KeyError or ValueError where a field is missing or not a number."""
        return cls(str(data["node"]), int(data["pid"]), int(data["starttime"]), str(data["boot_id"]))


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def lives(record: InitRecord) -> bool:
    """Whether the very process is there, and no zombie."""
    return record.boot_id == boot_id() and _starttime(record.pid) == record.starttime and _stat(record.pid)[:1] != [b"Z"]


def end(record: InitRecord, deadline: float) -> bool:
    """Kills an init, and with it every process of its node, and waits for its end until `deadline` (time.monotonic())."""
    return not end_all([record], deadline)


def end_all(records: Sequence[InitRecord], deadline: float) -> tuple[InitRecord, ...]:
    """Kills inits side by side; returns those that still live at `deadline` (time.monotonic()).

    An init is seen to end only after the kernel has ended and reaped every process of its PID namespace
    (zap_pid_ns_processes() in kernel/pid_namespace.c).
    """
    living: list[InitRecord] = []
    for start in range(0, len(records), _AT_ONCE):
        some = records[start : start + _AT_ONCE]
        proven = [(record, pidfd) for record in some if (pidfd := _prove(record)) is not None]
        left = _end_pidfds([pidfd for _, pidfd in proven], deadline)
        living += [record for record, pidfd in proven if pidfd in left]
    return tuple(living)


def end_strays(namespaces: Collection[int], deadline: float) -> tuple[int, ...]:
    """Kills the processes that live in one of these network namespaces; returns the pids that are left at `deadline`.

    `namespaces` are inode numbers, read from mounts that still exist: the kernel gives a number out again later. For
    what was started past the inits (`ip netns exec`). Never touches this process, nor any other that shares its own
    network namespace or that of PID 1.
    """
    ours = frozenset(namespaces) - {_net_namespace(os.getpid()), _net_namespace(1)}
    left: set[int] = set()
    while found := dict(islice(_stray_pidfds(ours), _AT_ONCE)):
        still = _end_pidfds(list(found.values()), deadline)
        left = {pid for pid, pidfd in found.items() if pidfd in still}
        if left or time.monotonic() >= deadline:
            break
    else:
        left = set()
    return tuple(sorted(left))


def _prove(record: InitRecord) -> int | None:
    """A pidfd of the very process that `record` names; None where it is gone and its number stands for another."""
    if record.boot_id != boot_id():
        return None
    pidfd = _pidfd(record.pid)
    if pidfd is None or _starttime(record.pid) == record.starttime:
        return pidfd
    os.close(pidfd)
    return None


def _pidfd(pid: int) -> int | None:
    """None where no process has this number; EINVAL and ENOENT say that it is a thread's by now."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise


def _end_pidfds(pidfds: Iterable[int], deadline: float) -> set[int]:
    """SIGKILL to all, then one wait for each; closes them and returns (the numbers of) those that live on."""
    pidfds = list(pidfds)
    try:
        for pidfd in pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return {pidfd for pidfd in pidfds if not readable(pidfd, deadline)}
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def readable(fd: int, deadline: float | None) -> bool:
    """Waits until `fd` is readable or hung up: a pidfd is when its process has ended. False at the deadline."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(milliseconds(deadline)))


def session_ended(session: int, deadline: float) -> bool:
    """Waits until no process of a session is left, but zombies, which hold nothing any more. False at the deadline."""
    while members := _session_pids(session):
        for pid in members:
            pidfd = _pidfd(pid)
            if pidfd is None:
                continue
            try:
                if not readable(pidfd, deadline):
                    return False
            finally:
                os.close(pidfd)
    return True


def _session_pids(session: int) -> list[int]:
    """Fields 3 and 6 of /proc/PID/stat, counted behind the name."""
    found = []
    for pid in (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()):
        fields = _stat(pid)
        if fields and int(fields[3]) == session and fields[0] not in (b"Z", b"X"):
            found.append(pid)
    return found


def milliseconds(deadline: float | None) -> int | None:
    """What poll(2) shall wait until `deadline` (time.monotonic()), rounded up; None is for ever."""
    return None if deadline is None else max(0, math.ceil((deadline - time.monotonic()) * 1000))


def _starttime(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on, behind the name, which may hold spaces and brackets; none where there is
    no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _net_namespace(pid: int) -> int | None:
    """Inode number of the network namespace of a process; None where it has ended (a zombie has none either)."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116 - for every process of the host: no Path each
    except OSError:
        return None


def _stray_pidfds(namespaces: Collection[int]) -> Iterator[tuple[int, int]]:
    """(pid, pidfd) of each process that lives in one of them, seen to do so again once its pidfd holds it."""
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    for pid in pids:
        if _net_namespace(pid) in namespaces and (pidfd := _pidfd(pid)) is not None:
            if _net_namespace(pid) in namespaces:
                yield pid, pidfd
            else:
                os.close(pidfd)
