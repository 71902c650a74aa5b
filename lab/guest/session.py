"""One job in a guest, seen from the host: the caller's streams and signals on one side, the channel on the other.

The caller's streams are polled and never made non-blocking: others have them too. Of a terminal keys are read only where the
job wants them (`shell`, `exec`); then it is raw, for the guest's own terminal edits the lines. Elsewhere it stays as it is, so
that Ctrl-C reaches this process whatever becomes of the guest.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import ProblemsError
from lab.guest import allowed, share
from lab.guest.frames import (
    CHUNK,
    NARROW,
    UNLIMITED,
    WINDOW,
    Decoder,
    Frame,
    Kind,
    Window,
    credit_frame,
    of_json,
    resize_frame,
    signal_frame,
)
from lab.guest.harmless import Harmless

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PIPE = 4096  # bytes that a pipe takes whole once poll(2) says that it can be written
_ASK = 2.0  # seconds of silence after which the guest is asked whether it lives
_LONGEST = 60.0  # seconds of one poll(2), which knows no infinity
_MOST = 4 * WINDOW  # bytes that wait to be written; the agent waits for credit, and what is not UTF-8 becomes longer
_NUMBER = 1
_INHERITED = ("LAB_KERNEL", "LAB_MEMORY", "LAB_CPUS", "LAB_WARP", "LAB_UNTRUSTED", "PYTHONHOME")
"""Variables that must not reach the guest: they are meant for this side."""


class SilentError(Exception):
    """The guest has not answered for too long."""


class FailedError(ProblemsError):
    """The keeper says why the guest has ended."""


class GoneError(Exception):
    """The channel ended."""


class TamperedError(GoneError):
    """It brought what our agent does not say."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run. `keys`: whether it reads what the caller types or pipes in. `results` are files and folders of the
    host that it may write: they are written here, from what it wrote there."""

    argv: Sequence[str]
    keys: bool = False
    results: Sequence[Path] = ()
    env: Mapping[str, str] | None = None
    """More variables for it."""
    signals: bool = True
    """Whether signals to this process go to it. Else they end this process, and the guest with it: one that a debugger holds
    hears none."""
    untrusted: bool = False
    """It is a stranger's: told of this process only what is allowed, and its results are taken with care."""

    def said(self, release: str) -> dict[str, Any]:
        """As the agent is told: with everything that this process has and its own will lack."""
        streams = ["tty" if _is_terminal(fd) else "pipe" for fd in (0, 1, 2)]
        if not self.keys and streams[0] == "pipe":
            streams[0] = "null"
        results = [path.absolute() for path in self.results]
        seen = bare(["lab", *self.argv]) if self.untrusted else _of_this_process(["lab", *self.argv])
        return {
            **seen,
            "cwd": str(Path.cwd()),
            "env": {**seen["env"], "LAB_GUEST": release, **(self.env or {})},
            "folders": [str(Path.cwd()), *(str(path.parent) for path in results)] if self.untrusted else [],
            "umask": _umask(),
            "streams": streams,
            "keys": self.keys,
            "size": _size(),
            "results": [str(path) for path in results],
        }


def _of_this_process(argv: Sequence[str]) -> dict[str, Any]:
    return {
        **bare(argv),
        "env": {name: value for name, value in os.environ.items() if name not in _INHERITED},
        "path": _search_path(),
    }


def bare(argv: Sequence[str]) -> dict[str, Any]:
    """A job as the agent is told, without anything of this process that a stranger must not know."""
    return {
        "argv": [*argv],
        "cwd": "/",
        "env": allowed.environment(os.environ),
        "umask": 0o022,
        "path": share.search_path(_search_path()),
        "prefix": sys.prefix,
        "exec_prefix": sys.exec_prefix,
        "encoding": getattr(sys.stdout, "encoding", None) or "utf-8",
        "streams": ["null", "null", "null"],
        "keys": False,
        "size": (24, 80),
        "results": [],
    }


@dataclass(frozen=True, slots=True)
class Exit:
    """`status` is negative for a signal; `oom` how many processes the kernel ended meanwhile for want of memory."""

    status: int
    oom: int


class Session:
    """The channel of a guest, and the one job that runs over it. `ends` is a descriptor that is readable once nobody can
    answer any more; `silent` the seconds after which a guest that does not answer counts as hanging."""

    def __init__(self, channel: socket.socket, ends: int | None, silent: float, line: int = UNLIMITED) -> None:
        """`line` is how many bytes may be on their way to the agent."""
        self._channel, self._ends, self._silent = channel, ends, silent
        self._line = Window(line)
        channel.setblocking(False)
        self._decoder = Decoder()
        self._out = bytearray()
        self._heard = time.monotonic()
        self._asked = self._heard
        self._frames: list[Frame] = []

    # Before the job.

    def ready(self, deadline: float) -> dict[str, Any]:
        """What the agent says of its guest. Raises SilentError at the deadline (time.monotonic()), GoneError."""
        frame = self.heard(deadline)
        if frame.kind is not Kind.READY:
            raise GoneError(f"the agent began with {frame.kind.name}")
        self._heard = time.monotonic()
        return frame.json()

    def heard(self, deadline: float) -> Frame:
        """What the agent says next. Raises SilentError at the deadline, GoneError."""
        while not self._frames:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SilentError
            self._exchange(self._poll({}, left))
        return self._frames.pop(0)

    def say(self, frame: Frame) -> None:
        self._out += frame.encode()

    # The job.

    def run(self, job: Job, release: str) -> Exit:
        """Raises SilentError, GoneError, OSError."""
        self.say(of_json(Kind.JOB, _NUMBER, job.said(release)))
        streams = _Streams(self, job)
        self._heard = self._asked = time.monotonic()
        with (
            _forwarding(self, job.signals) as wake,
            _raw() if job.keys and _is_terminal(0) and _is_terminal(1) else contextlib.nullcontext(),
        ):
            while True:
                for frame in self._taken():
                    if done := _heeded(frame, streams):
                        streams.drain()
                        return done
                self._turn(streams, wake)

    def _turn(self, streams: _Streams, wake: int) -> None:
        ready = self._poll({wake: select.POLLIN, **streams.wishes()}, _ASK)
        if ready.pop(wake, 0):
            os.read(wake, 4096)
        streams.attend(ready)
        self._exchange(ready)
        self._ask()

    def _ask(self) -> None:
        now = time.monotonic()
        if now - self._heard > self._silent:
            raise SilentError
        if now - max(self._heard, self._asked) >= _ASK:
            self._asked = now
            self.say(Frame(Kind.PING, _NUMBER))

    def _taken(self) -> list[Frame]:
        frames, self._frames = self._frames, []
        return frames

    def _poll(self, wished: Mapping[int, int], seconds: float) -> dict[int, int]:
        poll = select.poll()
        own = {self._channel.fileno(): select.POLLIN | (select.POLLOUT if self._out and self._line.open > 0 else 0)}
        ends = {self._ends: select.POLLIN} if self._ends is not None else {}
        for fd, events in {**wished, **own, **ends}.items():
            poll.register(fd, events)
        return dict(poll.poll(max(1, min(seconds, _LONGEST) * 1000)))

    def _exchange(self, ready: Mapping[int, int]) -> None:
        """What came last is heard also of a guest that has ended."""
        events = ready.get(self._channel.fileno(), 0)
        if events & select.POLLOUT:
            self._send()
        if events & ~select.POLLOUT:
            self._receive()
        elif self._ends is not None and self._ends in ready:
            raise GoneError("its process has ended")

    def _send(self) -> None:
        try:
            sent = self._channel.send(memoryview(self._out)[: self._line.open])
            del self._out[:sent]
            self._line.sent(sent)
        except BlockingIOError:
            return
        except OSError as error:
            raise GoneError(str(error)) from error

    def _receive(self) -> None:
        try:
            data = self._channel.recv(4 * CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise GoneError(str(error)) from error
        if not data:
            raise GoneError("its channel has ended")
        self._heard = time.monotonic()
        try:
            for frame in self._decoder.feed(data):
                if frame.kind is Kind.CREDIT and not frame.job:
                    self._line.credited(frame.credit()[1])
                else:
                    self._frames.append(frame)
        except ValueError as error:
            raise TamperedError(f"it said what is no frame: {error}") from error


def _heeded(frame: Frame, streams: _Streams) -> Exit | None:
    """The end of the job, where the frame tells it. Raises FailedError, TamperedError."""
    try:
        if frame.kind is Kind.FAILED:
            raise FailedError(str(frame.json()["why"]))
        if frame.kind is Kind.EXIT:
            said = frame.json()
            return Exit(int(said["status"]), int(said["oom"]))
        streams.take(frame)
    except (ValueError, KeyError, TypeError) as error:
        raise TamperedError(f"it said what is no {frame.kind.name}: {error}") from error
    return None


class _Streams:
    """The caller's descriptors 0, 1 and 2, and the results."""

    def __init__(self, session: Session, job: Job) -> None:
        self._session = session
        self._waiting = {1: bytearray(), 2: bytearray()}
        self._shown = {fd: Harmless() for fd in (1, 2) if job.untrusted and _is_terminal(fd)}
        self._taken = {Kind.STDOUT: Window(), Kind.STDERR: Window()}
        self._in = Window(NARROW)
        self._listening = job.keys
        self._files = _Results(job.results, job.untrusted)

    def take(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.STDOUT | Kind.STDERR:
                fd = 1 if frame.kind is Kind.STDOUT else 2
                self._waiting[fd] += self._shown[fd].feed(frame.payload) if fd in self._shown else frame.payload
                if len(self._waiting[fd]) > _MOST:
                    raise TamperedError("it does not wait until what it says is read")
            case Kind.CREDIT:
                self._in.credited(frame.credit()[1])
            case Kind.FILE:
                self._files.take(frame)
            case _:
                pass  # PONG: that it came is what counts

    def wishes(self) -> dict[int, int]:
        wished = {fd: select.POLLOUT for fd, waiting in self._waiting.items() if waiting}
        if self._listening and self._in.open > 0:
            wished[0] = select.POLLIN
        return wished

    def attend(self, ready: Mapping[int, int]) -> None:
        for fd in (1, 2):
            if fd in ready:
                self._write(fd)
        if 0 in ready:
            self._read()

    def drain(self) -> None:
        """What is left once the job has ended: whoever reads it slowly is waited for."""
        for fd, waiting in self._waiting.items():
            while waiting:
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.poll()
                self._write(fd)

    def _write(self, fd: int) -> None:
        waiting, stream = self._waiting[fd], Kind.STDOUT if fd == 1 else Kind.STDERR
        try:
            written = os.write(fd, memoryview(waiting)[:_PIPE])
        except BlockingIOError:
            return
        except OSError:  # nobody reads: the job goes on, as it would with a reader that ignores it
            written = len(waiting)
        del waiting[:written]
        if told := self._taken[stream].take(written):
            self._session.say(credit_frame(_NUMBER, stream, told))

    def _read(self) -> None:
        try:
            data = os.read(0, min(CHUNK, self._in.open))
        except OSError:  # the terminal hung up
            data = b""
        self._listening = bool(data)
        self._in.sent(len(data))
        self._session.say(Frame(Kind.STDIN, _NUMBER, data))


class _Results:
    """Files that come back, written where the caller said: nothing else, and nothing outside of it. Of a stranger's guest only
    the files of a report are taken for a folder, and no more than a report can be large."""

    def __init__(self, places: Sequence[Path], untrusted: bool) -> None:
        self._places = [path.absolute() for path in places]
        self._names = allowed.REPORT if untrusted else None
        self._left = allowed.LARGEST if untrusted else None  # bytes

    def take(self, frame: Frame) -> None:
        """Raises TamperedError for what is none."""
        try:
            about, data = frame.file()
            place, relative, at = self._places[int(about["result"])], str(about["path"]), int(about["at"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise TamperedError(f"it said what is no file: {error}") from error
        path = _inside(place, relative)
        if self._names is not None and relative and relative not in self._names:
            return
        self._count(at, len(data))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if at else "wb") as file:
            file.seek(at)
            file.write(data)

    def _count(self, at: int, size: int) -> None:
        if self._left is not None:
            self._left -= size
            if self._left < 0 or not 0 <= at <= allowed.LARGEST:
                raise TamperedError(f"it would write more than {allowed.LARGEST >> 20} MiB")


def _inside(place: Path, relative: str) -> Path:
    """Raises TamperedError for what leads elsewhere: a guest is not trusted."""
    path = place / relative if relative else place
    if (
        ".." in Path(relative).parts
        or not path.is_relative_to(place)
        or place.resolve() not in (path.resolve(), *path.resolve().parents)
    ):
        raise TamperedError(f"it would write {relative!r}, which is not below {place}")
    return path


# The caller's terminal.


@contextlib.contextmanager
def _forwarding(session: Session, signals: bool) -> Iterator[int]:
    """With `signals` they go to the job; gives a descriptor that is readable when one has come."""
    wake, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, wake)
        undo.callback(os.close, told)
        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told, warn_on_full_buffer=False))
        for number in _FORWARDED if signals else ():
            if signal.getsignal(number) is not signal.SIG_IGN:
                undo.enter_context(_on_signal(number, functools.partial(session.say, signal_frame(_NUMBER, number))))
        undo.enter_context(_on_signal(signal.SIGWINCH, lambda: session.say(resize_frame(_NUMBER, *_size()))))
        yield wake


@contextlib.contextmanager
def _on_signal(number: int, do: Callable[[], None]) -> Iterator[None]:
    before = signal.signal(number, lambda _number, _frame: do())
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSADRAIN)  # keeps what was typed ahead
        yield
    finally:
        with contextlib.suppress(termios.error):  # it hung up
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _size() -> tuple[int, int]:
    """Rows and columns of the first stream that is a terminal."""
    for fd in (1, 2, 0):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(fd)
            return size.lines, size.columns
    return 24, 80


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _search_path() -> list[str]:
    """Where this process finds its modules, the package itself first where it came in another way."""
    own = str(Path(__file__).resolve().parents[2])
    found = [str(Path(each).absolute()) for each in sys.path]
    return found if own in found else [own, *found]
