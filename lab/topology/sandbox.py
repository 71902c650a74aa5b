"""Jinja2 in a process of its own: started early, bounded in time, memory and output, and always reaped.

This process never imports Jinja2. The stock (stock.py) does, and forks a renderer (render.py) for each template; those two say
what passes between them and here. Request and answer are memory files, so that neither side can block on the other.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal, Self, cast

from lab.topology import limits

_PROGRAM = "import sys; sys.path += sys.argv[1:]; from lab.topology.stock import main; main()"
_ABOVE_STDIO = 10
_RESET = (signal.SIGIO, signal.SIGALRM, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGPIPE, signal.SIGCHLD)
_PATIENCE = 60.0  # seconds in which the stock has loaded Jinja2, and forks

Marks = Literal["all", "outer"]


@dataclass(frozen=True)
class Fault:
    """Why a template has no text. `line` counts from 1 in the template; `names` are undefined names and their lines.

    Kinds: syntax undefined unsafe loader time memory output failed; of a role's also refused, by a template itself.
    `template` is the file of a role that the line is in.
    """

    kind: str
    message: str = ""
    line: int | None = None
    name: str = ""
    names: Mapping[str, int] = field(default_factory=dict)
    template: str = ""


Filled = str | Fault


@dataclass(frozen=True, slots=True)
class Folder:
    """Templates of one role: `files` by name, which can include each other, and `words`, which have no file."""

    files: Mapping[str, str]
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One service: which files of its folder are wanted (the words always are), and what its templates see."""

    folder: str
    wanted: tuple[str, ...]
    context: Mapping[str, object]
    node: str


@dataclass(frozen=True, slots=True)
class Texts:
    """What became of an item: its wanted files and its words, in their order; fewer where the batch ended early."""

    files: tuple[Filled, ...]
    words: tuple[Filled, ...]


class Renderer:
    """One renderer, from its start to its only answer. A context manager: whatever happens, it is gone at the end."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        with ExitStack() as undo:
            leash, self._leash = _above_stdio(undo, os.pipe2(os.O_CLOEXEC))
            self._request, self._answer = _above_stdio(undo, (os.memfd_create("request"), os.memfd_create("answer")))
            self._child = _Child(undo.enter_context(_shelf.stock()), leash, self._request, self._answer)
            undo.callback(self._child.end)
            self._deadline = monotonic() + limits.DEADLINE
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, source: str, params: Mapping[str, object], marks: Marks | None = None) -> None:
        """Hand over the template; the deadline starts to run."""
        self._send({"source": source, "params": dict(params), "marks": marks})

    def send_batch(self, folders: Mapping[str, Folder], items: Sequence[Item], shared: Mapping[str, object]) -> None:
        """Hand over services; `shared` is what all their templates see, with `nodes`, of which `node` becomes the item's."""
        named = {name: {"files": dict(each.files), "words": each.words} for name, each in folders.items()}
        self._send({"batch": {"folders": named, "items": [_plain(item) for item in items], "shared": dict(shared)}})

    def _send(self, job: Mapping[str, object]) -> None:
        request = {**job, "seconds": limits.DEADLINE}
        with open(self._request, "wb", closefd=False) as file:
            file.write(json.dumps(request).encode())
        self._deadline = monotonic() + limits.DEADLINE + limits.GRACE
        os.write(self._leash, b"\n")

    def answer(self) -> str | Fault:
        """Wait for the text, or for the reason why there is none. RuntimeError for a fault of ours."""
        answer = self._wait()
        return answer if isinstance(answer, Fault) else str(answer["text"])

    def answer_batch(self) -> list[Texts] | Fault:
        """Wait for what became of the items, in their order; fewer where the batch ended early, at the last one's fault."""
        answer = self._wait()
        return answer if isinstance(answer, Fault) else [_texts(item) for item in answer["items"]]

    def _wait(self) -> Mapping[str, Any] | Fault:
        with self:
            status = self._child.status(self._deadline)
            if status is None:
                return Fault("time")
            return _read(os.pread(self._answer, os.fstat(self._answer).st_size, 0), status)

    def close(self) -> None:
        """Kill the renderer if it still runs, and close what was opened for it. May be called again."""
        self._undo.close()

    def __del__(self) -> None:
        self.close()


class _Child:
    """The process behind a renderer, as the stock reports of it."""

    def __init__(self, stock: _Stock, leash: int, request: int, answer: int) -> None:
        self._owner, self._stock = os.getpid(), stock
        self._pidfd: int | None = None
        self._report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            stock.wish(leash, request, answer, theirs.fileno())

    def pidfd(self, seconds: float = _PATIENCE) -> int | None:
        """Once it was forked; None where that takes longer. RuntimeError where it could not be."""
        if self._pidfd is None and self._reported(seconds):
            # Not recv_fds, which loses its flags in Python 3.11: another thread's child would get the pidfd.
            _, sent, _, _ = self._report.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
            if not sent:
                raise self._stock.failure()
            (self._pidfd,) = struct.unpack("i", sent[0][2])
        return self._pidfd

    def status(self, deadline: float) -> int | None:
        """Its exit status, or minus the signal that ended it; None where it runs on at the deadline, by the monotonic clock."""
        if self.pidfd() is None or not self._reported(deadline - monotonic()):
            return None
        if not (said := self._report.recv(4)):
            raise self._stock.failure()
        return int.from_bytes(said, sys.byteorder, signed=True)

    def _reported(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._report, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def end(self) -> None:
        """Kill it, unless it has ended, or we are a fork of its owner. One that is still to be forked ends by itself at once:
        its leash has ended."""
        with self._report, suppress(ProcessLookupError, RuntimeError):
            if self._owner == os.getpid() and (pidfd := self.pidfd(0)) is not None:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if self._pidfd is not None:
            os.close(self._pidfd)


class _Stock:
    """The process that has Jinja2 loaded. A context manager: it is gone at the end."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        with ExitStack() as undo:
            self._complaints = os.memfd_create("stock")
            undo.callback(os.close, self._complaints)
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.enter_context(self._control)
            with theirs:
                self._pidfd = _spawn(theirs.fileno(), self._complaints)
            undo.callback(self._end)
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._undo.close()

    def _end(self) -> None:
        if self._owner == os.getpid():
            with suppress(ProcessLookupError, ChildProcessError):  # somebody else reaped it
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)

    def usable(self) -> bool:
        """Whether it lives and is this process's: a fork of this process must have one of its own."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return self._owner == os.getpid() and not poll.poll(0)

    def wish(self, *fds: int) -> None:
        """Has a renderer forked, by and by; what is on its way holds its own references to the descriptors."""
        with suppress(ConnectionError):  # it has ended: no report will come, and that is then told
            socket.send_fds(self._control, [b"\n"], fds)

    def failure(self) -> RuntimeError:
        said = os.pread(self._complaints, 8192, 0).decode(errors="replace").strip()
        return RuntimeError(f"the renderer could not be started: {said or 'no word'}")


class _Shelf:
    """Where one stock stands for all who keep it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keepers = 0
        self._stock: _Stock | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        with self._lock:
            self._keepers += 1
        try:
            yield
        finally:
            with self._lock:
                self._keepers -= 1
                if self._stock and not self._keepers:
                    self._stock.close()
                    self._stock = None

    def stock(self) -> AbstractContextManager[_Stock]:
        with self._lock:
            if not self._keepers:
                return _Stock()
            if self._stock and not self._stock.usable():
                self._stock.close()
                self._stock = None
            self._stock = self._stock or _Stock()
            return nullcontext(self._stock)


_shelf = _Shelf()


def kept() -> AbstractContextManager[None]:
    """One stock serves all renderers of the block, from the first on: loading Jinja2 takes longer than most templates."""
    return _shelf.kept()


def _spawn(control: int, complaints: int) -> int:
    """Start the stock and give its pidfd: -I and -S spare it the site's start-up files, so it is told where things are.

    A process group of its own keeps the terminal's Ctrl-C from it: its owner ends it.
    """
    home = str(Path(__file__).resolve().parents[2])
    paths = [home, *(path for path in sys.path if path != home and Path(path).is_absolute())]
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM, *paths]
    environment = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
    with ExitStack() as undo:
        ours = _above_stdio(undo, (os.dup(control), os.dup(complaints)))
        actions = [(os.POSIX_SPAWN_DUP2, ours[each], theirs) for each, theirs in ((0, 0), (1, 1), (1, 2))]
        pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=_RESET)
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _above_stdio(undo: ExitStack, descriptors: tuple[int, int]) -> list[int]:
    """The same files, until `undo`, on descriptors that a child's own cannot overwrite; closed on exec."""
    moved = []
    for descriptor in descriptors:
        moved.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STDIO))
        undo.callback(os.close, moved[-1])
        os.close(descriptor)
    return moved


def _plain(item: Item) -> dict[str, object]:
    return {"folder": item.folder, "wanted": item.wanted, "context": dict(item.context), "node": item.node}


def _texts(answer: Mapping[str, Any]) -> Texts:
    return Texts(tuple(map(_filled, answer["files"])), tuple(map(_filled, answer["words"])))


def _filled(answer: Any) -> Filled:
    return answer if isinstance(answer, str) else _fault(answer)


def _read(data: bytes, status: int) -> Mapping[str, Any] | Fault:
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        return Fault("time" if -status == signal.SIGXCPU else "memory")
    try:
        answer = json.loads(data)
    except ValueError:
        if status < 0:
            return Fault("failed", f"the renderer was ended by {signal.Signals(-status).name}")
        raise RuntimeError(f"the renderer ended with {status}: {data[-2000:].decode(errors='replace')}") from None
    if "fault" not in answer:
        return cast("Mapping[str, Any]", answer)
    if answer["fault"] == "ours":
        raise RuntimeError(f"the renderer failed: {answer['message']}")
    return _fault(answer)


def _fault(answer: Mapping[str, Any]) -> Fault:
    return Fault(*(answer[key] for key in ("fault", "message", "line", "name", "names", "template")))
