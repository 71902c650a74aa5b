"""A container that was started behind its gate, as processes of this host see it: no word of Docker's here.

It is known by its first process, and so that it lives, or has ended, is asked of the kernel. What Docker gave to that process
is written beside the node's things, for commands on the node, which get the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.substrate import gate
from lab.substrate.endings import InitRecord, lives, readable

if TYPE_CHECKING:
    from lab.model.container import Container

SOCKET = "/var/run/docker.sock"
_WHICH = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
_RELEASED_WITHIN = 30.0  # seconds
_LOOK_AGAIN = 0.005


class ContainerError(Exception):
    """Docker refused something, or a container ended; the message says why, and what it said last."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A container to be started. `folder` is the node's of the lab, `sources` are the real paths of its binds, in their order;
    `lacking` capabilities that a privileged one cannot have."""

    name: str
    node: str
    labels: Mapping[str, str]
    container: Container
    folder: Path
    sources: tuple[Path, ...] = ()
    lacking: tuple[str, ...] = ()
    words: str = ""
    """Of the step, for who is told that it failed."""


@dataclass(frozen=True, slots=True)
class Contained:
    """A container as it was behind its gate: its first process, and what Docker gave to that, which commands on the node get
    as well. `docker` says which daemon. `bounding` is a mask of capabilities; `cgroups` are files that a process joins by."""

    name: str
    id: str
    process: InitRecord
    environment: Mapping[str, str]
    directory: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    bounding: int
    cgroups: tuple[str, ...]
    docker: Mapping[str, str]

    @property
    def netns(self) -> Path:
        return Path(f"/proc/{self.process.pid}/ns/net")

    def lives(self) -> bool:
        return lives(self.process)

    def open(self) -> int:
        """A pidfd of its first process. Raises ContainerError where it has ended."""
        return _open(self)

    def write(self, folder: Path) -> None:
        """At once or not at all."""
        draft = folder / "container.new"
        draft.write_text(json.dumps(asdict(self)))
        draft.rename(folder / "container.json")

    @classmethod
    def read(cls, folder: Path) -> Contained:
        """Raises FileNotFoundError where none was started."""
        data = json.loads((folder / "container.json").read_text())
        lists = {key: tuple(data[key]) for key in ("groups", "cgroups")}
        return cls(**{**data, **lists, "process": InitRecord.from_dict(data["process"])})


def lacking_capabilities() -> tuple[str, ...]:
    """Those that this kernel knows and not even root has here: a privileged container cannot be given them."""
    from lab.model.container import CAPABILITIES

    known = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    mask = int(_status(os.getpid())["CapBnd"], 16)
    return tuple(name for bit, name in enumerate(CAPABILITIES) if bit <= known and not mask & 1 << bit)


def container_name(uuid: str, node: str) -> str:
    return f"lab-{uuid}-{node}"


def release(contained: Contained, folder: Path) -> None:
    """Lets a container go on to its own command, and waits until it has. Raises ContainerError where it ended before that;
    how the command fares is another question."""
    pidfd = contained.open()
    try:
        deadline, ours = time.monotonic() + _RELEASED_WITHIN, (folder / "gate" / "gate").stat()
        opened = False
        while not readable(pidfd, time.monotonic()):
            opened = opened or _opened(folder / "gate" / "fifo")
            if opened and not executes(contained.process.pid, ours):
                return
            if time.monotonic() >= deadline:
                raise ContainerError(f"its gate did not open within {_RELEASED_WITHIN:g} s")
            readable(pidfd, time.monotonic() + _LOOK_AGAIN)
        if not opened:
            raise ContainerError("it has ended")
    finally:
        os.close(pidfd)


def _opened(fifo: Path) -> bool:
    """Nobody waits at it yet: ENXIO (fifo(7))."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _open(contained: Contained) -> int:
    try:
        pidfd = os.pidfd_open(contained.process.pid)
    except OSError as error:
        raise ContainerError("it has ended") from error
    if contained.lives():
        return pidfd
    os.close(pidfd)
    raise ContainerError("it has ended")


def build_gate(folder: Path) -> None:
    """A folder that any user of the container may look into."""
    place = folder / "gate"
    place.mkdir(parents=True)
    place.chmod(0o755)
    program, fifo = place / "gate", place / "fifo"
    try:
        program.write_bytes(gate.made_for())
    except KeyError as error:
        raise ContainerError(f"there is no gate for machines of the kind {error}") from None
    program.chmod(0o555)
    os.mkfifo(fifo)
    fifo.chmod(0o444)


def executes(pid: int, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/exe"), file)  # noqa: PTH116 - asked often
    except OSError:
        return False


def read_of(wish: Wish, number: str, pid: int, docker: Mapping[str, str]) -> Contained:
    """Reads what Docker gave to the gate; what has ended meanwhile raises ContainerError."""
    try:
        process = InitRecord.of(wish.node, pid)
        status, environ = _status(pid), Path(f"/proc/{pid}/environ").read_bytes()
        directory = str(Path(f"/proc/{pid}/cwd").readlink())
        cgroups = tuple(_cgroups(Path(f"/proc/{pid}/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()))
    except OSError as error:
        raise ContainerError("it ended behind its gate") from error
    words = [os.fsdecode(each) for each in environ.split(b"\0") if b"=" in each]
    return Contained(
        name=wish.name,
        id=number,
        process=process,
        environment=pairs(words),
        directory=directory,
        uid=int(status["Uid"].split()[1]),
        gid=int(status["Gid"].split()[1]),
        groups=tuple(map(int, status["Groups"].split())),
        bounding=int(status["CapBnd"], 16),
        cgroups=cgroups,
        docker=docker,
    )


def pairs(words: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _status(pid: int) -> dict[str, str]:
    """/proc/PID/status (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _cgroups(of_process: str, mountinfo: str) -> Iterator[str]:
    """The cgroup.procs of each control group of a process, of version 1 and 2 (cgroups(7)): from its /proc/PID/cgroup, whose
    lines are ID:CONTROLLERS:PATH, and from where those hierarchies are mounted."""
    mounts: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        if kind in ("cgroup", "cgroup2"):
            point = before.split(" ")[4]
            names = options.split(" ")[-1].split(",") if kind == "cgroup" else [""]
            mounts.update((name, point) for name in names)
    for line in of_process.splitlines():
        _, controllers, path = line.split(":", 2)
        points = [mounts[name] for name in controllers.split(",") if name in mounts]
        if points and path != "/" and not path.startswith("/.."):
            yield f"{points[0]}{path}/cgroup.procs"


def which(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What says which daemon is meant."""
    environment = os.environ if environment is None else environment
    return {key: environment[key] for key in _WHICH if environment.get(key)}


def address(which: Mapping[str, str]) -> str:
    return which.get("DOCKER_HOST", f"unix://{SOCKET}")


def daemon_may_be_there() -> bool:
    """Told without loading the SDK, which takes its time."""
    said = address(which())
    return not said.startswith("unix://") or Path(said.removeprefix("unix://")).exists()
