"""Jinja2 in a process of its own: started early, bounded in time, memory and output, and always reaped.

The parent never imports Jinja2; render.py is the child and says what passes between the two. Request and answer are
memory files, so that neither side can block on the other, and the child is waited for through a pidfd.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal, Self, cast

from lab.topology import limits

_PROGRAM = "import sys; sys.path += sys.argv[1:]; from lab.topology.render import main; main()"
_ABOVE_STDIO = 10
_RESET = (signal.SIGIO, signal.SIGALRM, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGPIPE)

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
    """One child, from its start to its only answer. A context manager: whatever happens, it is gone at the end."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        with ExitStack() as undo:
            leash, self._leash = _kept(undo, os.pipe2(os.O_CLOEXEC))
            self._request, self._answer = _kept(undo, (os.memfd_create("request"), os.memfd_create("answer")))
            self._child = _Child(leash, self._request, self._answer)
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
            if not self._child.ended(self._deadline):
                return Fault("time")
            status = self._child.reap()
            return _read(os.pread(self._answer, os.fstat(self._answer).st_size, 0), status)

    def close(self) -> None:
        """Kill the child if it still runs, reap it, and close what was opened for it. May be called again."""
        self._undo.close()

    def __del__(self) -> None:
        self.close()


class _Child:
    """The process behind a renderer, until it is reaped."""

    def __init__(self, leash: int, request: int, answer: int) -> None:
        self._parent = os.getpid()
        self.pidfd: int | None = _spawn(leash, request, answer)

    def ended(self, deadline: float) -> bool:
        """Wait until it ended or until `deadline`, by the monotonic clock; whether it did."""
        assert self.pidfd is not None
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - monotonic()) * 1000))

    def end(self) -> None:
        """Kill and reap it, unless that is done, or we are a fork of its parent."""
        if self.pidfd is not None and self._parent == os.getpid():
            with suppress(ProcessLookupError):  # somebody else reaped it
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self.reap()

    def reap(self) -> int:
        """Its exit status, or minus the signal that ended it; 0 where somebody else reaped it."""
        assert self.pidfd is not None
        pidfd, self.pidfd = self.pidfd, None
        try:
            result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        except ChildProcessError:
            return 0
        finally:
            os.close(pidfd)
        assert result is not None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def _spawn(leash: int, request: int, answer: int) -> int:
    """Start the child and give its pidfd: -I and -S spare it the site's start-up files, so it is told where things are.

    A process group of its own keeps the terminal's Ctrl-C from it: its parent ends it.
    """
    home = str(Path(__file__).resolve().parents[2])
    paths = [home, *(path for path in sys.path if path != home and Path(path).is_absolute())]
    argv = [sys.executable, "-I", "-S", "-c", _PROGRAM, *paths]
    environment = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
    duplicates = ((leash, 0), (answer, 1), (answer, 2), (request, 3))
    actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in duplicates]
    pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=_RESET)
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _kept(undo: ExitStack, descriptors: tuple[int, int]) -> list[int]:
    """The same files, until `undo`, on descriptors that the child's own cannot overwrite; closed on exec."""
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
