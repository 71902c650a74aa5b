"""The owner's and the clients' side of the sockets of nodeinit.py: make an init, reach a living one, start a process.

Descriptors go in and a `Running` comes out; what flows through the descriptors is processes.py's and terminal.py's
matter, what is remembered of an init is the caller's (through `record`), and its end is endings.py's. Threads may share
all of it: namespaces are entered only in the helper process, and this one is never forked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lab.errors import HostError, LabError, StepError
from lab.substrate.contained import Contained, ContainerError
from lab.substrate.endings import InitRecord, end, readable

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

    def start(self) -> None:
        """Starts the helper without waiting for it, so that the first `init` finds it ready."""
        self._started()

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


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """One helper serves all labs of the block, from the first need on: its start is much of what a small lab takes."""
    with Spawner() as spawner:
        _kept.append(spawner)
        try:
            yield
        finally:
            _kept.remove(spawner)


def spawner(undo: contextlib.ExitStack) -> Spawner:
    """The one that is kept, or one that ends with `undo`."""
    return _kept[-1] if _kept else undo.enter_context(Spawner())


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


@dataclass(frozen=True, slots=True)
class Init:
    """A living init, reached through `directory`/init.sock. `environment` and `cwd` are what a process has where nothing else
    is said; those of the caller where None."""

    node: str
    directory: Path
    environment: Mapping[str, str] | None = None
    cwd: str | None = None

    @classmethod
    def attach(cls, node_dir: Path) -> Init | None:
        """The init that listens in a node's directory, whoever made it; None where none does."""
        try:
            _connected(node_dir).close()
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return cls(node_dir.name, node_dir)

    def spawn(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        tty: bool = False,
        keep: bool = False,
        name: str | None = None,
    ) -> Running:
        """Starts a process in a session of its own; the three descriptors stay the caller's.

        `env` is the whole environment, `cwd` a directory as the node sees it; both are this process's where None, or those of
        the container. With
        `tty`, stdin becomes the controlling terminal. The session ends with the `Running`, unless it is told to `keep`
        it. Under its `name`, if it has one, others `find` it. Raises OSError as exec(2) and chdir(2) do, with argv[0] or cwd
        as its file name, and EEXIST where the name is that of a living process; StepError where the init is gone or does not
        answer.
        """
        env, cwd = self.environment if env is None else env, self.cwd if cwd is None else cwd
        request = _request(argv, env, cwd, tty, keep, name)
        connection = self._reached()
        with _closed_on_failure(connection), _in_memory(request) as memory:
            answer, pidfd = self._exchange(connection, b"{}", [memory, stdin, stdout, stderr], "start a process")
            assert pidfd is not None
            return Running(connection, answer["pid"], pidfd)

    def find(self, name: str) -> Running | int | None:
        """The process that was started under this name: itself while it lives, its exit status afterwards; None where no
        process was. Closing what is found ends nothing. Raises StepError as `spawn`."""
        connection = self._reached()
        with _closed_on_failure(connection):
            try:
                answer, pidfd = self._exchange(connection, json.dumps({"find": name}).encode(), (), "find a process")
            except FileNotFoundError:
                connection.close()
                return None
            if pidfd is not None:
                return Running(connection, answer["pid"], pidfd)
            connection.close()
            return int(answer["status"])

    def _reached(self) -> socket.socket:
        try:
            return _connected(self.directory)
        except OSError as error:
            raise StepError(f"reach the init of node {self.node}", self.node, error.errno or 0) from error

    def _exchange(
        self, connection: socket.socket, message: bytes, fds: Sequence[int], doing: str
    ) -> tuple[dict[str, Any], int | None]:
        """The answer and, of a living process, its pidfd; raises OSError where the answer is a failure."""
        connection.settimeout(_PATIENCE)
        try:
            socket.send_fds(connection, [message], fds)
            # Not recv_fds, which loses its flags in Python 3.11: another thread's child would get the pidfd.
            data, sent, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except TimeoutError:
            raise StepError(doing, self.node, why=f"its init did not answer within {_PATIENCE:.0f} s") from None
        except ConnectionError:
            data, sent = b"", []
        if not data:
            raise StepError(doing, self.node, why="its init ended meanwhile")
        answer = json.loads(data)
        if "errno" in answer:
            what = f"node {self.node}: {answer['message']}"
            raise OSError(answer["errno"], what, answer["path"] or None)
        return answer, struct.unpack("i", sent[0][2])[0] if sent else None


def _connected(directory: Path) -> socket.socket:
    """By way of a descriptor of the directory: a Unix address holds 108 bytes only, whatever the path is."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with contextlib.ExitStack() as opened:
            at = _opened(opened, os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            connection.connect(f"/proc/self/fd/{at}/init.sock")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _closed_on_failure(connection: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _request(
    argv: Sequence[str | os.PathLike[str]],
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    tty: bool,
    keep: bool,
    name: str | None,
) -> bytes:
    """Byte for byte what exec(2) shall see: the script reads UTF-8, whatever this process's locale is."""

    def text(value: str | os.PathLike[str]) -> str:
        return os.fsencode(value).decode("utf-8", "surrogateescape")

    if not argv:
        raise ValueError("there is no command: argv is empty")
    whole = {text(name): text(value) for name, value in (os.environ if env is None else env).items()}
    words = [text(word) for word in argv]
    where = text(Path.cwd() if cwd is None else cwd)
    return json.dumps({"argv": words, "env": whole, "cwd": where, "tty": tty, "keep": keep, "name": name}).encode()


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """A file of memory: a command line may be longer than any message."""
    memory = os.memfd_create("lab-request")
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(data)
        yield memory
    finally:
        os.close(memory)


class Running:
    """A process on a node, from its start until `close`, which kills it (its whole session) where it still runs.

    Threads may wait for it side by side. `fileno` becomes readable when its exit status has come.
    """

    def __init__(self, connection: socket.socket, ns_pid: int, pidfd: int) -> None:
        self.ns_pid = ns_pid
        """Its pid as the node's processes see it."""
        self.pidfd = pidfd
        # A bare descriptor: a socket object would warn where a cycle of garbage frees it before this object.
        self._connection = connection.detach()
        os.set_blocking(self._connection, False)
        self._lock = threading.Lock()
        self._status: int | None = None

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Gives the descriptors back; the init then ends what is left of the session, unless it was to keep it."""
        if not self.closed:
            os.close(self.pidfd)
            os.close(self._connection)
            self.pidfd = self._connection = -1

    @property
    def closed(self) -> bool:
        return self._connection == -1

    def pid(self) -> int:
        """Its pid as this process sees it, the number of its session; -1 once it has ended (proc(5), fdinfo of a pidfd)."""
        lines = Path(f"/proc/self/fdinfo/{self.pidfd}").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))

    def fileno(self) -> int:
        """Raises ValueError once closed."""
        if self.closed:
            raise ValueError("this process is closed")
        return self._connection

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs. Where the node ended, it was killed."""
        with self._lock:
            if self._status is None and not self.closed:
                self._status = self._read_status()
            return self._status

    def _read_status(self) -> int | None:
        try:
            data = os.read(self._connection, 4096)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # once: the init has not read our last word, but its own is still to come
            return self._read_status()
        return int(json.loads(data)["status"]) if data else -signal.SIGKILL

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the exit status; raises TimeoutError after `timeout` seconds, without touching the process."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if not readable(self.fileno(), deadline):
                raise TimeoutError(f"process {self.ns_pid} still runs after {timeout} s")
        return status

    def signal(self, number: int) -> None:
        """To this process alone; nothing where it has ended."""
        if not self.closed:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def signal_group(self, number: int) -> None:
        """To its process group, as a terminal would; nothing where it has ended."""
        self._tell({"signal": int(number)})

    def kill(self) -> None:
        """SIGKILL to its whole session, the children of its children too; nothing where it has ended."""
        self._tell({"end": True})

    def _tell(self, message: Mapping[str, object]) -> None:
        if not self.closed:
            with contextlib.suppress(ConnectionError):
                os.write(self._connection, json.dumps(message).encode())
