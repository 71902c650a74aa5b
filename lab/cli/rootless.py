"""`lab run` by an ordinary user: the command goes on in a user namespace of its own, and this process waits for it.

    caller's process ── channel ──> keeper, PID 1   in user, mount and PID namespaces of its own
      waits, passes signals on        │ fork          reaps; ends, and all others with it, when the channel's other end is gone
                                      └──> the command, forked and not executed anew: it goes on where `enter` was called

The network namespace stays the host's, as it is for root: a test's own process reaches what it reached, without any right
over it. The kernel ends a PID namespace whole with its PID 1, so that nothing of a run outlives either process, and the
mounts go with their namespace.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from lab.cli.show import say
from lab.errors import HostError, Problem
from lab.substrate import userns
from lab.substrate.signals import INTERRUPTS
from lab.substrate.syscalls import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, adopt_orphans, unshare

_FROM_TERMINAL = 0x80  # SI_KERNEL (sigaction(2)): the whole foreground process group has it, the command too
_NUMBER = struct.Struct("i")
_MESSAGE = 4096  # bytes; the longest is the name of a step


def enter(decided: Callable[[], None], quiet: bool = False) -> int | None:
    """None in the process that goes on inside, as root there; in the caller's own the exit status, when that one has ended.

    To be called before there are threads. `decided` is called once the exit status stands. Says on stderr, unless `quiet`,
    what a single user cannot do. Raises HostError where the host forbids user namespaces, with the setting."""
    with _held_back() as passed_on:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or both would write it
        adopt_orphans()
        maker = os.fork()
        if maker == 0:
            ours.close()
            _only_returns_inside(theirs)
            return None
        theirs.close()
        with contextlib.closing(_Outside(ours, maker)) as outside:
            outside.make(quiet)
            outside.start(passed_on)
            status = outside.wait(passed_on)
            decided()
            return status


def say_what_the_host_decides() -> None:
    """Inside: what no lab of this run can have from the kernel's defaults."""
    from lab.substrate import baseline

    if different := baseline.left_as_on_host():
        said = "without root this kernel lets no lab change neighbour settings, so they are the host's"
        say(f"lab: {Problem(said, ', '.join(different))}")


@contextlib.contextmanager
def _held_back() -> Iterator[frozenset[signal.Signals]]:
    """Holds SIGCHLD back, and those interrupts that are not ignored; gives the latter.

    The kernel keeps a blocked signal even where it would be ignored otherwise (kernel/signal.c, sig_ignored)."""
    heard = frozenset(number for number in INTERRUPTS if signal.getsignal(number) is not signal.SIG_IGN)
    fate = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, heard | {signal.SIGCHLD})
    try:
        yield heard
    finally:
        signal.signal(signal.SIGCHLD, fate)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# Outside.


class _Outside:
    """The caller's process: the channel's one end, and the child that it waits for: the maker first, then the keeper."""

    def __init__(self, channel: socket.socket, maker: int) -> None:
        self._channel, self._child = channel, maker

    def close(self) -> None:
        """What still runs inside ends by this."""
        self._channel.close()
        if self._child:
            os.waitpid(self._child, 0)

    def make(self, quiet: bool) -> None:
        """Until the namespaces are there, with ids and mounts. Raises HostError."""
        self._done()
        missing = self._map()
        self._channel.send(b"mapped")
        keeper = _NUMBER.unpack(self._receive())[0]
        os.waitpid(self._child, 0)
        self._child = keeper
        self._channel.send(b"adopted")
        self._done()
        if missing and not quiet:
            say(f"lab: {missing}")

    def start(self, passed_on: frozenset[signal.Signals]) -> None:
        """Lets the command go on. What was pressed before it was there has not reached it."""
        self._channel.send(b"go on")
        self._receive()
        for number in signal.sigpending() & passed_on:
            signal.sigwait({number})
            self._pass_on(number)

    def wait(self, passed_on: frozenset[signal.Signals]) -> int:
        """The status of the keeper, which is the command's. Passes signals on until then."""
        while True:
            said = signal.sigwaitinfo(passed_on | {signal.SIGCHLD})
            if said.si_signo != signal.SIGCHLD:
                if said.si_code != _FROM_TERMINAL:
                    self._pass_on(said.si_signo)
                continue
            pid, status = os.waitpid(self._child, os.WNOHANG)
            if pid:
                self._child = 0
                return _as_shell(os.waitstatus_to_exitcode(status))

    def _map(self) -> Problem | None:
        try:
            return userns.map_ids(self._child)
        except OSError as error:
            raise _refused(error.errno or 0, userns.MAP) from error

    def _done(self) -> None:
        """Raises HostError where the other side says which step was refused."""
        said = self._receive()
        if code := _NUMBER.unpack(said[: _NUMBER.size])[0]:
            raise _refused(code, said[_NUMBER.size :].decode())

    def _receive(self) -> bytes:
        with contextlib.suppress(ConnectionError):
            if said := self._channel.recv(_MESSAGE):
                return said
        raise HostError("the process that makes the user namespace was killed", "is memory short? the kernel's log says so")

    def _pass_on(self, number: int) -> None:
        with contextlib.suppress(OSError):  # it has just ended
            self._channel.send(_NUMBER.pack(number))


def _refused(code: int, step: str) -> HostError:
    return HostError([userns.why_not(code, step, userns.Settings.read())])


def _as_shell(status: int) -> int:
    return 128 - status if status < 0 else status


# Inside.


def _only_returns_inside(channel: socket.socket) -> None:
    """Returns in the command's process. A failure is told and ends the process: it must not go on as a second caller."""
    try:
        _make(channel)
    except OSError as error:
        with contextlib.suppress(OSError):
            channel.send(_NUMBER.pack(error.errno or errno.EIO) + str(error.filename or "").encode())
        os._exit(1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _make(channel: socket.socket) -> None:
    """The life of the maker, which ends when it has forked the keeper: only a child is born into a new PID namespace."""
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
    except OSError as error:
        raise OSError(error.errno, error.strerror, userns.UNSHARE) from error
    _say_done_and_wait(channel)
    if keeper := os.fork():
        channel.send(_NUMBER.pack(keeper))
        os._exit(0)
    _keep(channel)


def _keep(channel: socket.socket) -> None:
    """The life of the keeper."""
    _wait(channel)
    userns.furnish()
    _say_done_and_wait(channel)
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    command = os.fork()
    if command:
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})  # and no other: interrupts are the command's
        _serve(channel, reader, command)
    channel.send(b"here")
    for fd in (reader, writer, channel.detach()):
        os.close(fd)
    os.environ.pop("LAB_RUN_DIR", None)  # nobody else sees these labs; and a folder of the host's would outlive a SIGKILL


def _say_done_and_wait(channel: socket.socket) -> None:
    channel.send(_NUMBER.pack(0))
    _wait(channel)


def _wait(channel: socket.socket) -> None:
    """For the next word of the caller's process, which says none when it is gone."""
    if not channel.recv(_MESSAGE):
        os._exit(1)


def _serve(channel: socket.socket, wake: int, command: int) -> NoReturn:
    poll = select.poll()
    for fd in (channel.fileno(), wake):
        poll.register(fd, select.POLLIN)
    _reap_until(command)  # what ended before there was anything to wake
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wake in ready:
            os.read(wake, 4096)
            _reap_until(command)
        if channel.fileno() in ready:
            _pass_on(channel, command)


def _reap_until(command: int) -> None:
    """Reaps orphans; ends with the command."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == command:
                os._exit(_as_shell(os.waitstatus_to_exitcode(ended[1])))


def _pass_on(channel: socket.socket, command: int) -> None:
    """An end of file says that the caller's process is gone."""
    said = b""
    with contextlib.suppress(ConnectionError):
        said = channel.recv(_MESSAGE)
    if not said:
        os._exit(1)
    os.kill(command, _NUMBER.unpack(said)[0])
