"""Scratch nodes for tests of what runs on them: labs below a root of their own, laid out with the host's tools."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lab.substrate.endings import readable
from lab.substrate.processes import (
    Init,
    InitRecord,
    Spawner,
    end_all,
)

REPOSITORY = Path(__file__).parents[2]
SECONDS = 40.0
_LOOK_AGAIN = 0.002


def soon() -> float:
    return time.monotonic() + SECONDS


def host(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=SECONDS).stdout


def until(what: str, condition: Callable[[], bool]) -> None:
    """Looks again and again at what has no event to wait for: the end of the kernel's own work."""
    deadline = soon()
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(_LOOK_AGAIN)


@contextlib.contextmanager
def started(argv: Sequence[str], **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of the host that the end of the block kills."""
    with subprocess.Popen(argv, cwd=REPOSITORY, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


class Scratch:
    """Labs below a root of their own: tmpfs, namespace mounts and node directories as `lab up` lays them out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records: list[InitRecord] = []
        self.spawner = Spawner()

    def lab(self, name: str = "one") -> Path:
        lab = self.root / name
        if not lab.is_mount():
            lab.mkdir()
            host("mount", "-t", "tmpfs", "lab", lab)
            (lab / "ns").mkdir()
        return lab

    def netns(self, node: str, lab: str = "one") -> Path:
        netns = self.lab(lab) / "ns" / node
        if not netns.exists():
            netns.touch()
            host("unshare", f"--net={netns}", "true")
        return netns

    def directory(self, node: str, lab: str = "one") -> Path:
        directory = self.lab(lab) / "nodes" / node
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def init(
        self, node: str = "a", lab: str = "one", detached: bool = False, own: Mapping[str, Path] = MappingProxyType({})
    ) -> Init:
        netns, directory = self.netns(node, lab), self.directory(node, lab)
        return self.spawner.init(node, netns, self.lab(lab), directory, self.records.append, detached, own)

    def close(self) -> None:
        assert end_all(self.records, soon()) == ()
        self.spawner.close()
        for lab in self.root.iterdir():
            self.end_lab(lab.name)

    def end_lab(self, name: str) -> None:
        host("umount", "-l", self.root / name)
        (self.root / name).rmdir()


def inhabitants(record: InitRecord) -> set[int]:
    """The pids, as the host sees them, of everything in an init's PID namespace, zombies too."""
    return living_in(Path(f"/proc/{record.pid}/ns/pid").stat().st_ino)


def living_in(namespace: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "ns" / "pid").stat().st_ino == namespace:
                    found.add(int(entry.name))
    return found


def connected(init: Init) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(init.directory / "init.sock"))
    return connection


def wait_until_alone(record: InitRecord, kept: int = 0) -> None:
    """Until an init has nothing (but `kept` processes) left, zombies neither."""
    deadline = soon()
    while len(others := inhabitants(record) - {record.pid}) > kept:
        for pid in others if not kept else ():
            with contextlib.suppress(ProcessLookupError), pidfd_of(pid) as pidfd:
                assert readable(pidfd, deadline), f"process {pid} goes on"
        assert time.monotonic() < deadline, f"still there: {others}"


@contextlib.contextmanager
def pidfd_of(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)
