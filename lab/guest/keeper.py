"""The process that keeps a guest which lives on: boots it, and passes jobs of many callers to its one channel.

    caller ── socket ──┐
    caller ── socket ──┼── keeper ── channel ──> agent
                       └ jobs are numbered anew on the way

It is forked from the command that brings a lab up, and ends with its guest, or is killed; the guest dies with it. Of a caller
that is gone the job is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lab.errors import HostError, ProblemsError
from lab.guest import once
from lab.guest.frames import CHUNK, UNLIMITED, Decoder, Frame, Kind, Window, credit_frame, of_json, signal_frame
from lab.guest.machine import Machine
from lab.substrate import signals

if TYPE_CHECKING:
    from lab.guest.choose import Wishes
    from lab.guest.once import Limits
    from lab.kernels import Kernel

_ENOUGH = 1024 * 1024  # bytes that wait for a caller; its frames are not read while there are more


@dataclass(frozen=True, slots=True)
class Child:
    """The keeper, as its maker sees it."""

    pid: int
    news: int

    def wait_until_ready(self) -> None:
        """Raises HostError with what went wrong."""
        with os.fdopen(self.news, "rb") as news:
            said = news.read()
        if not said:
            raise HostError("the process that keeps the guest was killed", "is memory short? the kernel's log says so")
        if problem := json.loads(said).get("problem"):
            raise HostError(problem)


def start(kernel: Kernel, wishes: Wishes, limits: Limits, path: Path, failure: Path) -> Child:
    """Forks it. To be called before there are threads, with interrupts held back. `path` becomes its socket; `failure` a file
    with the reason, should its guest end by itself."""
    news, told = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _live(kernel, wishes, limits, path, failure, told)
    os.close(told)
    return Child(pid, news)


def _live(kernel: Kernel, wishes: Wishes, limits: Limits, path: Path, failure: Path, told: int) -> NoReturn:
    status = 1
    try:
        _be_nobodys()
        with once.booted(kernel, wishes, limits, lambda _: None, path.parent) as (machine, _), _listening(path) as listener:
            os.write(told, b"{}")
            os.close(told)
            _serve(machine, listener, failure)
        status = 0
    except ProblemsError as error:
        with contextlib.suppress(OSError):  # it was told already, or nobody hears it
            os.write(told, json.dumps({"problem": str(error)}).encode())
    finally:
        os._exit(status)


def _be_nobodys() -> None:
    """In a session of its own, without the caller's streams, and with the signals' own meaning."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.INTERRUPTS)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
        listener.setblocking(False)
        yield listener


def _serve(machine: Machine, listener: socket.socket, failure: Path) -> None:
    """Until the guest ends."""
    switch = Switch(machine.channel, listener, once.line_of(machine))
    try:
        with once.explained(machine, once.Limits()):
            switch.serve(machine.fileno())
    except HostError as error:
        failure.write_text(str(error))
        switch.fail(str(error))
        raise


@dataclass(slots=True)
class _End:
    """One stream of frames, and what waits to be sent on it."""

    stream: socket.socket
    decoder: Decoder = field(default_factory=Decoder)
    out: bytearray = field(default_factory=bytearray)
    jobs: dict[int, int] = field(default_factory=dict)
    """Of a caller: its number of a job -> the agent's."""

    line: Window = field(default_factory=lambda: Window(UNLIMITED))

    def say(self, frame: Frame) -> None:
        self.out += frame.encode()

    @property
    def wished(self) -> int:
        """The events that are waited for."""
        sends = select.POLLOUT if self.out and self.line.open > 0 else 0
        return sends | (0 if len(self.out) > _ENOUGH else select.POLLIN)

    def send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            sent = self.stream.send(memoryview(self.out)[: self.line.open])
            del self.out[:sent]
            self.line.sent(sent)

    def hear(self) -> list[Frame] | None:
        """None at the end of the stream, or of what can be understood of it."""
        try:
            data = self.stream.recv(4 * CHUNK)
            return [*self.decoder.feed(data)] if data else None
        except BlockingIOError:
            return []
        except (OSError, ValueError):
            return None


class Switch:
    """Callers on one side, the agent on the other."""

    def __init__(self, channel: socket.socket, listener: socket.socket, line: int) -> None:
        channel.setblocking(False)
        self._guest, self._listener = _End(channel, line=Window(line)), listener
        self._callers: dict[int, _End] = {}
        self._whose: dict[int, tuple[_End, int]] = {}
        self._last = 0

    def serve(self, ends: int) -> None:
        """Until the channel or `ends`, a descriptor, says that the guest has ended: raises GoneError."""
        from lab.guest.session import GoneError

        while True:
            ready = self._wait(ends)
            if self._listener.fileno() in ready:
                self._accept()
            for fd, caller in [*self._callers.items()]:
                if fd in ready:
                    self._attend(caller, ready[fd])
            if not self._attend_guest(ready) or ends in ready:
                raise GoneError("the guest has ended")

    def fail(self, why: str) -> None:
        for caller in self._callers.values():
            caller.say(of_json(Kind.FAILED, 1, {"why": why}))
            with contextlib.suppress(OSError):
                caller.stream.setblocking(True)
                caller.stream.settimeout(1)
                caller.stream.sendall(caller.out)

    def _wait(self, ends: int) -> dict[int, int]:
        poll = select.poll()
        poll.register(ends, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        for end in (self._guest, *self._callers.values()):
            poll.register(end.stream, end.wished)
        return dict(poll.poll())

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            stream, _ = self._listener.accept()
            stream.setblocking(False)
            self._callers[stream.fileno()] = _End(stream)

    def _attend(self, caller: _End, events: int) -> None:
        try:
            if events & select.POLLOUT:
                caller.send()
            heard = caller.hear() if events & ~select.POLLOUT else []
        except OSError:
            heard = None
        if heard is None:
            self._lose(caller)
            return
        for frame in heard:
            self._to_guest(caller, frame)

    def _attend_guest(self, ready: dict[int, int]) -> bool:
        events = ready.get(self._guest.stream.fileno(), 0)
        if events & select.POLLOUT:
            self._guest.send()
        heard = self._guest.hear() if events & ~select.POLLOUT else []
        for frame in heard or ():
            self._to_caller(frame)
        return heard is not None

    def _to_guest(self, caller: _End, frame: Frame) -> None:
        if frame.kind is Kind.JOB:
            self._last += 1
            caller.jobs[frame.job] = self._last
            self._whose[self._last] = (caller, frame.job)
        number = caller.jobs.get(frame.job)
        if number is not None:
            self._guest.say(Frame(frame.kind, number, frame.payload))

    def _to_caller(self, frame: Frame) -> None:
        if frame.kind is Kind.CREDIT and not frame.job:
            self._guest.line.credited(frame.credit()[1])
            return
        caller, number = self._whose.get(frame.job, (None, 0))
        if caller is not None:
            caller.say(Frame(frame.kind, number, frame.payload))
        elif frame.kind in (Kind.STDOUT, Kind.STDERR):  # nobody reads it any more, and it must come to its end
            self._guest.say(credit_frame(frame.job, frame.kind, len(frame.payload)))
        if frame.kind is Kind.EXIT:
            self._whose.pop(frame.job, None)
            if caller is not None:
                caller.jobs.pop(number, None)

    def _lose(self, caller: _End) -> None:
        for number in caller.jobs.values():
            self._whose.pop(number, None)
            self._guest.say(signal_frame(number, signal.SIGKILL))
        self._callers.pop(caller.stream.fileno(), None)
        caller.stream.close()
