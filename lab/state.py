"""What exists, on disk: one directory a lab under the root, a tmpfs of its own, and in it the record of what was made.

    /run/lab/<uuid>/lab.json       what was deployed: name, file, parameters, nodes; written once, whole
                    journal        one JSON object a line: an intent before a thing is made, its confirmation after
                    topology.yaml  the rendered file
                    lock           held by whoever works on the lab; of an ephemeral lab by its owner for all its life
                    ns/<node>      the network namespaces        nodes/<node>/   what belongs to one node
    /run/netns/<lab>.<node>        symbolic links into it: what `ip netns` sees; the target proves whose a link is

The root itself is locked while a name is claimed and a tree is mounted, so what is found half made under that lock was
left by somebody who died. A lock dies with its process, whatever happens to pids and clocks; those on `lock` belong to the
open file (fcntl(2), F_OFD_SETLK), so that anybody can ask for their holder without taking them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import struct
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import HostError, Problem, TopologyError
from lab.substrate import mounts

NETNS = Path("/run/netns")
_HOME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")  # as uuid4 prints it
LAB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
_LOOK_AGAIN = 0.02  # seconds; the kernel tells nobody when a lock becomes free without queueing for it
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of fcntl(2) with 64-bit offsets; l_pid must be 0


def root() -> Path:
    """LAB_RUN_DIR, or /run/lab."""
    return Path(os.environ.get("LAB_RUN_DIR") or "/run/lab").absolute()


@dataclass(frozen=True, slots=True)
class Record:
    """lab.json. `ephemeral`: ends with the process that made it."""

    name: str
    uuid: str
    source: str
    params: Mapping[str, object]
    nodes: Mapping[str, str]
    created: float
    ephemeral: bool
    version: int = 1


@dataclass(slots=True)
class Home:
    """A lab's directory, and the lock on it while this process holds it."""

    path: Path
    _lock: int | None = None
    _journal: int | None = field(default=None, repr=False)

    def ns(self, node: str) -> Path:
        return self.path / "ns" / node

    def node(self, node: str) -> Path:
        return self.path / "nodes" / node

    def record(self) -> Record:
        return Record(**json.loads((self.path / "lab.json").read_text()))

    def note(self, event: str, **what: object) -> None:
        """Adds a line to the journal. Raises FileNotFoundError where the home is gone: never makes one."""
        if self._journal is None:
            self._journal = os.open(self.path / "journal", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            size = os.fstat(self._journal).st_size
            if size and os.pread(self._journal, 1, size - 1) != b"\n":
                os.write(self._journal, b"\n")
        os.write(self._journal, json.dumps({"event": event, **what}).encode() + b"\n")

    def journal(self) -> list[dict[str, Any]]:
        """Every whole line. One longer than a page is cut short where its writer was killed in the middle of it."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.path / "journal").read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def is_up(self) -> bool:
        events = [entry["event"] for entry in self.journal()]
        return "up" in events and "down" not in events

    def lock(self) -> bool:
        """Takes the lock without waiting; false where somebody else works on this lab, or it is gone."""
        if self._lock is not None:
            return True
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
        except OSError:
            os.close(fd)
            return False
        self._lock = fd
        return True

    def lock_within(self, seconds: float) -> bool:
        """Takes the lock once its holder lets go of it; false where that does not happen in time."""
        deadline = time.monotonic() + seconds
        while not self.lock():
            if time.monotonic() >= deadline or not self.path.exists():
                return False
            select.select([], [], [], _LOOK_AGAIN)
        return True

    def busy(self) -> bool:
        """Whether another process holds the lock; takes nothing."""
        if self._lock is not None:
            return False
        try:
            with (self.path / "lock").open("rb") as file:
                answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
        except FileNotFoundError:
            return False
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def release(self) -> None:
        for fd in (self._lock, self._journal):
            if fd is not None:
                os.close(fd)
        self._lock = self._journal = None


def _whole_file(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


class _Nesting(threading.local):
    depth = 0


_among_threads = threading.RLock()
_nesting = _Nesting()


@contextlib.contextmanager
def locked_root(make: bool = True) -> Iterator[Path]:
    """The root, locked; made where missing and removed again where nothing is left in it. May be nested in one thread."""
    path = root()
    with _among_threads:
        fd = None if _nesting.depth else _lock_root(path, make)
        _nesting.depth += 1
        try:
            yield path
        finally:
            _nesting.depth -= 1
            if fd is not None:
                with contextlib.suppress(OSError):
                    path.rmdir()
                os.close(fd)


def _lock_root(path: Path, make: bool) -> int | None:
    """Another process may remove the empty root between our open and our lock: what is locked must be what the path names."""
    while True:
        if make:
            _make_root(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if make:
                continue
            return None
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        os.close(fd)


def _make_root(path: Path) -> None:
    """Not with exist_ok, which looks once more at what was there, and fails where another process has removed it meanwhile."""
    try:
        path.mkdir(mode=0o755, parents=True)
    except FileExistsError:
        return
    except PermissionError as error:
        raise HostError(f"no permission to make {path}", "run it as root, for example with sudo") from error


def homes() -> list[Home]:
    """Every home under the root, whole or half made; what is not called like one is somebody else's."""
    with contextlib.suppress(FileNotFoundError):
        return [Home(path) for path in sorted(root().iterdir()) if _HOME.match(path.name) and path.is_dir()]
    return []


def find(name: str) -> Home | None:
    """The home of the lab of that name, whatever its state."""
    return next((home for home in homes() if (record := _record(home)) and record.name == name), None)


def _record(home: Home) -> Record | None:
    try:
        return home.record()
    except (FileNotFoundError, NotADirectoryError):
        return None


def claim(record: Record, rendered: str) -> Home:
    """Makes the home of a new lab and takes its name, or raises TopologyError where the name is taken.

    The caller holds the root's lock and has removed what a dead process left of that name."""
    home = Home(root() / record.uuid)
    if find(record.name):
        raise TopologyError([name_in_use(record.name)])
    home.path.mkdir(mode=0o755)
    try:
        _mount(home)
        _furnish(home, record, rendered)
    except BaseException:
        remove_home(home)
        raise
    return home


def _mount(home: Home) -> None:
    try:
        mounts.mount_tree(home.path)
    except PermissionError as error:  # unmounting is not permitted either, so nothing is mounted
        home.path.rmdir()
        hint = "does a security module forbid it? In a container: --privileged, or --security-opt apparmor=unconfined"
        raise HostError(f"no permission to mount a tmpfs on {home.path}", hint) from error


def _furnish(home: Home, record: Record, rendered: str) -> None:
    """The lock comes first, for its owner is at work; lab.json last and at once, for a home without it has no name yet."""
    for name in ("lock", "journal"):
        (home.path / name).touch(mode=0o600)
    home.lock()
    for folder in ("ns", "nodes"):
        (home.path / folder).mkdir()
    (home.path / "topology.yaml").write_text(rendered)
    draft = home.path / "lab.json.new"
    draft.write_text(json.dumps(_as_json(record)))
    draft.rename(home.path / "lab.json")


def _as_json(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in Record.__dataclass_fields__}


def name_in_use(name: str) -> Problem:
    hint = f"end it with `lab down {name}`, or choose another name with --name"
    return Problem(f"a lab named {name!r} exists already", hint)


def new_uuid() -> str:
    return str(uuid.uuid4())


def announce_containers(home: Home, images: Mapping[str, str], docker: Mapping[str, str]) -> None:
    """Journals the containers that are about to be made: name -> image, and which daemon is asked."""
    home.note("containers", images=dict(images), docker=dict(docker))


def announce_links(home: Home, name: str, nodes: Iterable[str]) -> list[Path]:
    """Journals the links that are about to be made; an unconfirmed one is removed later only if its target is ours.

    Raises FileExistsError where a stranger's object has such a name already."""
    links = [NETNS / f"{name}.{node}" for node in nodes]
    for link in links:
        if os.path.lexists(link):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(link))
    home.note("links", names=[link.name for link in links])
    return links


def link_namespaces(home: Home, links: Iterable[Path]) -> None:
    """Makes `<lab>.<node>` visible to `ip netns`. Raises FileExistsError where somebody was faster."""
    for link in links:
        _symlink(link, home.ns(link.name.split(".", 1)[1]))


def _symlink(link: Path, target: Path) -> None:
    while True:
        try:
            return link.symlink_to(target)
        except FileNotFoundError:
            NETNS.mkdir(mode=0o755, parents=True, exist_ok=True)


def unlink_namespaces(home: Home) -> None:
    """Removes the links that lead into this home, and the folder where it is then empty."""
    for entry in home.journal():
        if entry["event"] == "links":
            for name in entry["names"]:
                _remove_if_ours(NETNS / name, home.path)
    _tidy_netns()


def unlink_orphans() -> list[str]:
    """Removes links into homes that no longer exist: their target's path lies below our root and nothing is there."""
    gone = []
    with contextlib.suppress(FileNotFoundError):
        for link in NETNS.iterdir():
            target = _target(link)
            if target is not None and root() in target.parents and not (root() / target.relative_to(root()).parts[0]).exists():
                link.unlink(missing_ok=True)
                gone.append(link.name)
    if gone:
        _tidy_netns()
    return gone


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None


def _remove_if_ours(link: Path, home: Path) -> None:
    target = _target(link)
    if target is not None and home in target.parents:
        link.unlink(missing_ok=True)


def _tidy_netns() -> None:
    """iproute2 makes the folder anew when it needs it, and mounts something on it: then it is busy and stays."""
    try:
        NETNS.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT, errno.EEXIST):
            raise


def remove_home(home: Home) -> None:
    """Lets go of the lab's whole tree; already gone is success. Under the root's lock: nobody sees it half removed."""
    with locked_root(make=False):
        home.release()
        mounts.unmount_tree(home.path)
        with contextlib.suppress(FileNotFoundError):
            home.path.rmdir()
