"""A job of the agent: `lab` with the caller's words, folder, environment and streams, in a process forked from this one.

Forked and not executed anew, since starting an interpreter is what costs most in a guest; so the child gives itself what an
interpreter takes from its environment: the path of modules, the streams and their encoding.

A stream is a terminal's where the caller's is one (all of them the same), else a pipe, or nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import os
import select
import signal
import stat
import struct
import sys
import termios
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from lab.guest.frames import CHUNK, NARROW, Frame, Kind, Window, credit_frame, file_frame, of_json

_OUT = {1: Kind.STDOUT, 2: Kind.STDERR}
_STREAMS: tuple[tuple[str, int, str, dict[str, Any]], ...] = (
    ("stdin", 0, "r", {}),
    ("stdout", 1, "w", {}),
    ("stderr", 2, "w", {"errors": "backslashreplace", "buffering": 1}),
)
_EARLIER = 5.0  # seconds: the host's clock may be so much ahead of the guest's


class Job:
    """`told` when everything was said of it, its end too; `busy` while it has files to send."""

    def __init__(self, number: int, said: dict[str, Any]) -> None:
        self.number, self._said = number, said
        self.told = False
        self._began = time.time()
        self._oom = _oom_kills()
        self._status: int | None = None
        self._files: Iterator[Frame] | None = None
        self._in = bytearray()
        self._in_ends = False
        self._taken = Window(NARROW)
        self._windows = {Kind.STDOUT: Window(), Kind.STDERR: Window()}
        self._readers: dict[int, Kind] = {}
        self._writer = -1
        self._master = -1
        self._start()

    def _start(self) -> None:
        theirs = self._open_streams()
        self.pid = os.fork()
        if self.pid == 0:
            _become(self._said, theirs, self._master >= 0)
        for fd in {*theirs}:
            os.close(fd)

    def _open_streams(self) -> list[int]:
        """The child's ends; ours are kept."""
        slave, ends = -1, []
        if "tty" in self._said["streams"]:
            self._master, slave = os.openpty()
            _shape(slave, raw=not self._said["keys"])
            self.resize(*self._said["size"])
            self._readers[self._master] = Kind.STDOUT
        for number, kind in enumerate(self._said["streams"]):
            ends.append(os.dup(slave) if kind == "tty" else self._pipe(number) if kind == "pipe" else _null())
        if slave >= 0:
            os.close(slave)
            if self._said["keys"]:
                self._writer = os.dup(self._master)
        for fd in (*self._readers, *((self._writer,) if self._writer >= 0 else ())):
            os.set_blocking(fd, False)
        return ends

    def _pipe(self, number: int) -> int:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        if number == 0:
            self._writer = writer
            return reader
        self._readers[reader] = _OUT[number]
        return writer

    # What the host says.

    def obey(self, frame: Frame) -> None:
        if frame.kind is Kind.STDIN:
            self._in += frame.payload
            self._in_ends = self._in_ends or not frame.payload
            self._close_in()
        elif frame.kind is Kind.CREDIT:
            stream, taken = frame.credit()
            self._windows[stream].credited(taken)
        elif frame.kind is Kind.SIGNAL and self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, frame.number())
        elif frame.kind is Kind.RESIZE:
            self.resize(*frame.size())

    def resize(self, rows: int, columns: int) -> None:
        """The kernel tells the foreground group."""
        if self._master >= 0:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self, status: int) -> None:
        self._status = status

    # Its streams.

    @property
    def busy(self) -> bool:
        return self._status is not None

    def wishes(self) -> dict[int, int]:
        """Descriptors and the events that are waited for."""
        wished = {fd: select.POLLIN for fd, stream in self._readers.items() if self._windows[stream].open > 0}
        if self._in and self._writer >= 0:
            wished[self._writer] = select.POLLOUT
        return wished

    def attend(self, ready: dict[int, int], room: bool) -> Iterator[Frame]:
        """What is to be told; `room` for more than the streams' news."""
        if self._writer in ready:
            yield from self._feed()
        for fd in [fd for fd in self._readers if fd in ready]:
            yield from self._read(fd)
        if self._status is not None and room and not self.told:
            yield from self._finish(ready)

    def _feed(self) -> Iterator[Frame]:
        try:
            written = os.write(self._writer, memoryview(self._in)[:CHUNK])
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            written, self._in_ends = len(self._in), True
        del self._in[:written]
        if told := self._taken.take(written):
            yield credit_frame(self.number, Kind.STDIN, told)
        self._close_in()

    def _close_in(self) -> None:
        """A terminal hangs up, a pipe ends."""
        if self._in_ends and not self._in and self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
            if self._said["keys"] and self._said["streams"][0] == "tty":
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGHUP)

    def _read(self, fd: int) -> Iterator[Frame]:
        stream = self._readers[fd]
        try:
            data = os.read(fd, min(CHUNK, self._windows[stream].open))
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # of a terminal whose last user is gone
                raise
            data = b""
        if data:
            self._windows[stream].sent(len(data))
            yield Frame(stream, self.number, data)
        else:
            self._close(fd)

    def _close(self, fd: int) -> None:
        del self._readers[fd]
        os.close(fd)
        if fd == self._master:
            self._master = -1

    # Its end.

    def _finish(self, ready: dict[int, int]) -> Iterator[Frame]:
        """Once nothing more is there to be read: somebody who lives on may have the streams open for ever."""
        if any(fd in ready or self._windows[stream].open <= 0 for fd, stream in self._readers.items()):
            return
        for fd in [*self._readers]:
            self._close(fd)
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        if self._files is None:
            self._files = _written(self.number, self._said["results"], self._began - _EARLIER)
        if frame := next(self._files, None):
            yield frame
            return
        self.told = True
        yield of_json(Kind.EXIT, self.number, {"status": self._status, "oom": _oom_kills() - self._oom})


def _written(job: int, results: list[str], since: float) -> Iterator[Frame]:
    """Every regular file that was written at, or below, the places where results go."""
    for index, place in enumerate(results):
        if os.path.isfile(place):
            yield from _parts(job, index, "", place, since)
        for folder, _, names in os.walk(place):
            for name in names:
                path = f"{folder}/{name}"
                yield from _parts(job, index, os.path.relpath(path, place), path, since)


def _parts(job: int, index: int, relative: str, path: str, since: float) -> Iterator[Frame]:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_ctime < since:
        return
    with open(path, "rb") as file:
        at = 0
        while (data := file.read(CHUNK)) or not at:
            yield file_frame(job, {"result": index, "path": relative, "at": at}, data)
            at += len(data)
            if not data:
                return


def _oom_kills() -> int:
    """How often the kernel has ended a process for want of memory (mm/vmstat.c, oom_kill)."""
    with open("/proc/vmstat", encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)


def _null() -> int:
    return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)


def _shape(slave: int, raw: bool) -> None:
    """Where the caller's own terminal edits lines, shows keys and adds carriage returns, this one must not do it again."""
    if raw:
        modes = termios.tcgetattr(slave)
        modes[1] &= ~termios.OPOST
        modes[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
        termios.tcsetattr(slave, termios.TCSANOW, modes)


# In the child.


def _become(said: dict[str, Any], streams: list[int], terminal: bool) -> NoReturn:
    """The life of the child."""
    status = 70
    try:
        _enter(said, streams, terminal)
        importlib.import_module(said.get("module", "lab.__main__")).main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _enter(said: dict[str, Any], streams: list[int], terminal: bool) -> None:
    os.setsid()
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    if terminal:
        fd = next(number for number, kind in enumerate(said["streams"]) if kind == "tty")
        fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    os.closerange(3, 256)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("0")
    os.umask(said["umask"])
    os.environ.clear()
    os.environ.update(said["env"])
    time.tzset()
    for folder in said.get("folders", ()):
        os.makedirs(folder, exist_ok=True)
    os.chdir(said["cwd"])
    _as_an_interpreter(said)


def _as_an_interpreter(said: dict[str, Any]) -> None:
    sys.argv = [*said["argv"]]
    sys.path[:] = said["path"]
    sys.path_importer_cache.clear()
    sys.prefix, sys.exec_prefix = said["prefix"], said["exec_prefix"]
    sys.dont_write_bytecode = True
    for name, fd, mode, more in _STREAMS:
        stream = open(fd, mode, encoding=said["encoding"], closefd=False, **more)  # noqa: SIM115 - for ever
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
