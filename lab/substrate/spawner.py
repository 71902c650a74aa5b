"""The owner's side of the sockets of nodeinit.py: the helper process that forks the inits of nodes.

An `Init` comes out (inits.py); what is remembered of it is the caller's matter (through `record`), and its end is endings.py's.
Threads may share all of it: namespaces are entered only in the helper process, and this one is never forked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from lab.errors import HostError, LabError, StepError
from lab.substrate.contained import Contained, ContainerError
from lab.substrate.endings import InitRecord, end
from lab.substrate.inits import Init

_SCRIPT = Path(__file__).with_name("nodeinit.py")
_PATIENCE = 30.0
"""Seconds that a helper or an init may take to answer: both do so in milliseconds on an idle host."""


class Spawner:
    """Forks the inits of this process's labs from one small helper process, which the first need starts.

    The helper ends with `close`, with the `with` block, with the interpreter and with a SIGKILL of this process. The
    inits do not depend on it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helper: _Helper | None = None

    def __enter__(self) -> Spawner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the helper; a later `init` starts another."""
        with self._lock:
            if self._helper is not None:
                self._helper.close()
                self._helper = None

    def _started(self) -> _Helper:
        with self._lock:
            if self._helper is not None and not self._helper.usable():
                self._helper.close()
                self._helper = None
            if self._helper is None:
                self._helper = _Helper()
            return self._helper

    def init(
        self,
        node: str,
        netns: Path,
        lab_dir: Path,
        node_dir: Path,
        record: Callable[[InitRecord], None],
        detached: bool,
        own: Mapping[str, Path] = MappingProxyType({}),
    ) -> Init:
        """The init that lives on `node`, made first where none does.

        `netns` is a mount of the node's network namespace; `lab_dir` the lab's directory, whose parent holds all labs;
        `node_dir`, below it, gets `init.sock`, `init.log` and `run`, which is what the node sees as /run. `own` are further
        places of which the node has a directory of its own. `record` is called once per new init and must have made
        it durable when it returns: only then does the init serve, and it ends where `record` raises or this process
        dies. Later it ends with this process too, unless it is `detached`. Raises HostError and StepError.
        """
        with _turn(node_dir):
            return Init.attach(node_dir) or self._make(node, netns, lab_dir, node_dir, record, detached, own)

    def join(self, contained: Contained, folder: Path, record: Callable[[InitRecord], None], detached: bool) -> Init:
        """The same inside a container: an init beside its first process, in its namespaces, whose socket lies in `folder`. What
        it starts gets the container's user, environment, directory, capabilities and control groups. Raises HostError and
        StepError, also where the container has ended."""
        node = contained.process.node
        wish = {key: getattr(contained, key) for key in ("uid", "gid", "groups", "cgroups", "bounding")}
        request = {"node": node, "node_dir": os.path.realpath(folder), "join": wish}
        with _turn(folder), contextlib.ExitStack() as opened:
            if Init.attach(folder) is None:
                try:
                    first = _opened(opened, contained.open())
                except ContainerError as error:
                    raise StepError(_START, node, why=f"its container: {error}") from error
                self._made(node, request, first, record, detached)
        return Init(node, folder, contained.environment, contained.directory)

    def _make(
        self,
        node: str,
        netns: Path,
        lab_dir: Path,
        node_dir: Path,
        record: Callable[[InitRecord], None],
        detached: bool,
        own: Mapping[str, Path],
    ) -> Init:
        (node_dir / "run").mkdir(exist_ok=True)
        seen = {"/run": node_dir / "run", **own}
        request = {
            "node": node,
            "labs": os.path.realpath(lab_dir.parent),
            "node_dir": os.path.realpath(node_dir),
            "own": [(os.path.realpath(source), place) for place, source in seen.items()],
        }
        with contextlib.ExitStack() as opened:
            self._made(node, request, _opened(opened, os.open(netns, os.O_RDONLY | os.O_CLOEXEC)), record, detached)
        return Init(node, node_dir)

    def _made(
        self, node: str, request: Mapping[str, object], where: int, record: Callable[[InitRecord], None], detached: bool
    ) -> None:
        """`where` is a descriptor of what the init enters."""
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with channel:
            # The kernel then tells the pid of who writes, in this process's own PID namespace (SCM_CREDENTIALS).
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            with theirs:
                helper = self._ask(request, where, theirs, detached)
            made = InitRecord.of(node, _pid_of_ready(channel, node, helper))
            try:
                record(made)
                _open_gate(channel, node)
            except BaseException:
                end(made, time.monotonic() + _PATIENCE)
                raise

    def _ask(self, request: Mapping[str, object], where: int, channel: socket.socket, detached: bool) -> _Helper:
        """Sends what an init needs; what is on its way holds its own references to the descriptors."""
        helper = self._started()
        with contextlib.ExitStack() as opened:
            fds = [where, channel.fileno()]
            if not detached:
                fds.append(_opened(opened, os.pidfd_open(os.getpid())))
            try:
                socket.send_fds(helper.control, [json.dumps(request).encode()], fds)
            except ConnectionError as error:
                raise helper.failure() from error
        return helper


_kept: list[Spawner] = []
_keeping = threading.Lock()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """One helper serves all labs of the block, from the first need on: its start is much of what a small lab takes. Another
    thread's block meanwhile has the same."""
    with _keeping:
        _kept.append(_kept[0] if _kept else Spawner())
    try:
        yield
    finally:
        with _keeping:
            spawner = _kept.pop()
            if not _kept:
                spawner.close()


def taken(undo: contextlib.ExitStack) -> Spawner:
    """The one that is kept, or one that ends with `undo`."""
    with _keeping:
        return _kept[0] if _kept else undo.enter_context(Spawner())


class _Helper:
    """The running `nodeinit.py`; its complaints go to a file in memory that is read when it has died."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.complaints = os.memfd_create("lab-spawner")
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(_SCRIPT)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self.complaints,
                cwd="/",
                start_new_session=True,
            )
        self.owner = os.getpid()
        self.close = weakref.finalize(self, _stop, self.owner, self.control, self.process, self.complaints)

    def usable(self) -> bool:
        """Whether it lives and is this process's: a fork of this process must have one of its own."""
        return self.owner == os.getpid() and self.process.poll() is None

    def ended(self) -> bool:
        """Whether it has, or does so within a second: its sockets close a moment before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return self.process.returncode is not None

    def failure(self) -> LabError:
        self.ended()
        said = os.pread(self.complaints, 8192, 0).decode(errors="replace").strip()
        return HostError(
            f"the helper that starts a node's processes ended (status {self.process.returncode}): {said or 'no word'}",
            f"see what this says: {sys.executable} -I -S {_SCRIPT}",
        )


def _stop(owner: int, control: socket.socket, process: subprocess.Popen[bytes], complaints: int) -> None:
    control.close()
    os.close(complaints)
    if owner != os.getpid():
        return
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _opened(stack: contextlib.ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


@contextlib.contextmanager
def _turn(node_dir: Path) -> Iterator[None]:
    """One at a time makes the init of a node, over all processes (flock(2)); who dies holding the turn gives it back."""
    with contextlib.ExitStack() as opened:
        fcntl.flock(_opened(opened, os.open(node_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)), fcntl.LOCK_EX)
        yield


def _pid_of_ready(channel: socket.socket, node: str, helper: _Helper) -> int:
    """Waits until the init has made itself ready behind its gate; its pid as this process sees it."""
    channel.settimeout(_PATIENCE)
    try:
        data, ancillary, _, _ = channel.recvmsg(65536, socket.CMSG_SPACE(12))
    except TimeoutError:
        raise StepError(_START, node, why=f"it was not ready within {_PATIENCE:.0f} s") from None
    except ConnectionResetError:
        data, ancillary = b"", []
    if not data:
        raise helper.failure() if helper.ended() else StepError(_START, node, why="it ended at once")
    if failure := json.loads(data):
        raise _not_started(node, failure)
    pid, _, _ = struct.unpack("3i", ancillary[0][2])
    return int(pid)


_MAY_NOT = "run lab as root, with CAP_SYS_ADMIN; in a container nothing of its /proc and /sys may be hidden or read-only"
_START = "start the init that runs the node's processes"


def _not_started(node: str, failure: Mapping[str, str | int]) -> LabError:
    code, why = int(failure["errno"]), f"it could not {failure['path']}" if failure["path"] else str(failure["message"])
    if code == errno.EPERM:
        return HostError(f"node {node}: {_START}: {why}: not permitted", _MAY_NOT)
    if code == errno.EINVAL and failure["path"] == "mount /":
        hint = "in a chroot: bind its folder to itself before entering it (mount --bind DIR DIR)"
        return HostError(f"node {node}: {_START}: the root folder is not a mount point", hint)
    if code == errno.ENOSPC:
        return HostError(
            f"node {node}: {_START}: {why}: the limit of namespaces is reached",
            "raise it: sysctl user.max_pid_namespaces user.max_mnt_namespaces user.max_uts_namespaces",
        )
    return StepError(_START, node, code, why=why)


def _open_gate(channel: socket.socket, node: str) -> None:
    try:
        channel.send(b"open")
    except OSError as error:
        raise StepError(_START, node, error.errno or 0, why="it ended before it served anything") from error
