"""The clients' side of the sockets of nodeinit.py: reach a living init, start a process.

Descriptors go in and a `Running` comes out; what flows through the descriptors is processes.py's and terminal.py's matter, how
an init is made spawner.py's, and how it ends endings.py's. Threads may share all of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import StepError
from lab.substrate.endings import readable

_PATIENCE = 30.0
"""Seconds that an init may take to answer: it does so in milliseconds on an idle host."""


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
            at = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, at)
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
