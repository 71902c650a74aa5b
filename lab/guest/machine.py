"""The process of a guest: started with its channel and its console, watched, and ended.

It dies with the process that started it, whatever happens to that (PR_SET_PDEATHSIG), and is in a session of its own, so that
no key of a terminal reaches it. Its console is a file without a name: nothing is left of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from lab.errors import HostError
from lab.guest import qemu, uml
from lab.guest.spec import Guest, Substrate, Tree
from lab.substrate import signals
from lab.substrate.syscalls import signal_at_parents_death

_CONFINE, _SEAL = (Path(__file__).with_name(name) for name in ("confine.py", "seal.py"))
_NOTHING = {"PATH": "/usr/bin:/bin"}
"""The environment of a machine that is sealed."""
_UNIX, _ACCEPTS = Path("/proc/net/unix"), "00010000"
_TAIL = 64 * 1024  # bytes of the console
_GONE_WITHIN = 10.0  # seconds after SIGKILL
_MOMENT = 0.5  # seconds
_BUFFER = 1024 * 1024  # bytes that the channel's sockets hold


class Machine:
    """A guest that runs. A context manager: it is gone at the end of the block. `channel` is the host's end of its channel,
    `fileno` a descriptor that is readable once its process has ended."""

    def __init__(self, guest: Guest) -> None:
        """Raises HostError where the program is not there."""
        self.guest = guest
        with contextlib.ExitStack() as undo:
            self._console, self._complaints = (_kept(undo, os.memfd_create(name)) for name in ("console", "complaints"))
            self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            undo.callback(self.channel.close)
            with theirs, contextlib.closing(_Appending(self._console)) as console:
                for end in (self.channel, theirs):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                self._process = self._started(theirs.fileno(), console.fd)
            undo.callback(self._end)
            self._pidfd = _kept(undo, os.pidfd_open(self._process.pid))
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it, at once: nothing in it is worth a shutdown."""
        with signals.held_back():
            self._undo.close()

    def fileno(self) -> int:
        return self._pidfd

    @property
    def pid(self) -> int:
        return self._process.pid

    def console(self) -> str:
        """What the kernel has said, the last of it."""
        return _tail(self._console)

    def listens(self, socket: Path) -> bool:
        """Whether it accepts connections to that Unix socket (net/unix/af_unix.c, unix_seq_show)."""
        lines = map(str.split, _UNIX.read_text(errors="surrogateescape").splitlines())
        return any(words[7:] == str(socket).split() and words[3] == _ACCEPTS for words in lines)

    def await_end(self) -> None:
        """A moment for a process that is about to end: its last words come first. A guest that only hangs is not waited for."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_MOMENT)

    def complaints(self) -> str:
        """What the program that runs the kernel has said."""
        return _tail(self._complaints)

    def _started(self, channel: int, console: int) -> subprocess.Popen[bytes]:
        with signals.held_back(), _written_down(self.guest.tree) as tree:
            return subprocess.Popen(
                self._argv(channel, console, tree),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=self._complaints,
                env=_NOTHING if self.guest.tree else None,
                pass_fds=(channel, console, *(() if tree is None else (tree,))),
                start_new_session=True,
                preexec_fn=_as_a_child,  # noqa: PLW1509 - no thread runs yet
            )

    def _argv(self, channel: int, console: int, tree: int | None) -> list[str]:
        try:
            if self.guest.substrate is Substrate.UML:
                return [sys.executable, "-I", "-S", str(_CONFINE), *uml.argv(self.guest, channel)]
            words = qemu.argv(self.guest, channel, console)
        except ValueError as error:
            raise HostError(str(error), "move what has such a path") from error
        program = shutil.which(words[0])
        if program is None:
            raise HostError(f"{words[0]} is not installed: it runs guest kernels", f"apt-get install {qemu.PACKAGE}")
        if tree is None:
            return [program, *words[1:]]
        program = os.path.realpath(program)
        if not program.startswith("/usr/"):
            raise HostError(f"{program} is not below /usr, where --untrusted finds programs", f"apt-get install {qemu.PACKAGE}")
        return [sys.executable, "-I", "-S", str(_SEAL), str(tree), program, *words[1:]]

    def _end(self) -> None:
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GONE_WITHIN)


class _Appending:
    """A second descriptor of a memory file, for writing alone: QEMU takes no other one for a console."""

    def __init__(self, fd: int) -> None:
        self.fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.fd)


@contextlib.contextmanager
def _written_down(tree: Tree | None) -> Iterator[int | None]:
    """A descriptor of a file without a name."""
    if tree is None:
        yield None
        return
    with os.fdopen(os.memfd_create("tree"), "w+b") as file:
        file.write(json.dumps(dataclasses.asdict(tree)).encode())
        file.seek(0)
        yield file.fileno()


def _kept(undo: contextlib.ExitStack, fd: int) -> int:
    undo.callback(os.close, fd)
    return fd


def _as_a_child() -> None:
    signal_at_parents_death(signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, _TAIL, max(0, size - _TAIL)).decode(errors="replace").replace("\r", "")
