"""A process on a node in front of the user: `interact` with a terminal of its own, `attached` with the caller's streams.

Both run in the main thread of the command line, since they take over signals, and return the exit status as a shell
counts it: 128 and the signal's number where a signal ended the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import os
import select
import signal
import termios
import tty
from collections.abc import Callable, Iterator, Mapping

from lab.substrate.inits import Init, Running
from lab.substrate.processes import Argv

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CHUNK = 1 << 16
_LAST_CHUNKS = 256
"""How much of what others still write is shown after the process has ended."""


def attached(init: Init, argv: Argv, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None) -> int:
    """Runs a command on the caller's own descriptors 0, 1 and 2; SIGINT, SIGTERM and SIGHUP go to its process group.

    Raises as `Init.spawn` does.
    """
    with _forwarding() as forwarding, init.spawn(argv, stdin=0, stdout=1, stderr=2, env=env, cwd=cwd) as running:
        forwarding.to(running)
        return _as_a_shell(_end(running, forwarding))


def interact(init: Init, argv: Argv, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None) -> int:
    """Runs a command on a pseudo-terminal that stands for the caller's, which descriptors 0 and 1 are.

    Keys go through unread, so that the line editing and the job control are those of the command; the size of the
    window follows the caller's. Raises as `Init.spawn` does.
    """
    with _terminal() as (master, slave), _following_size(0, master), _raw(0), _forwarding() as forwarding:
        fd = slave.fileno()
        with init.spawn(argv, stdin=fd, stdout=fd, stderr=fd, env=env, cwd=cwd, tty=True) as running:
            slave.close()
            forwarding.to(running)
            _copy(running, master, forwarding)
            return _as_a_shell(_end(running, forwarding))


def _as_a_shell(status: int) -> int:
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def _on_signal(number: int, do: Callable[[], None]) -> Iterator[None]:
    previous = signal.signal(number, lambda _number, _frame: do())
    try:
        yield
    finally:
        signal.signal(number, previous)


class _Forwarding:
    """The process is in a session of its own, where no terminal of the caller reaches it: its group is told instead.

    A signal that comes before the process does waits for it. `wake` is readable when one has come, since a handler of
    Python's runs only after the system call that the signal came too early to interrupt.
    """

    def __init__(self, wake: int) -> None:
        self.wake = wake
        self._running: Running | None = None
        self._early: list[int] = []

    def forward(self, number: int) -> None:
        if self._running is None:
            self._early.append(number)
        else:
            self._running.signal_group(number)

    def to(self, running: Running) -> None:
        self._running = running
        for number in self._early:
            running.signal_group(number)

    def ready(self, wished: Mapping[int, int]) -> dict[int, int]:
        """poll(2) of descriptors and events, which ends for a signal too."""
        poll = select.poll()
        for fd, events in {**wished, self.wake: select.POLLIN}.items():
            poll.register(fd, events)
        ready = dict(poll.poll())
        if ready.pop(self.wake, None):
            os.read(self.wake, 4096)
        return ready


@contextlib.contextmanager
def _forwarding() -> Iterator[_Forwarding]:
    wake, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with io.FileIO(wake), io.FileIO(told, "w"), contextlib.ExitStack() as handlers:
        handlers.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told, warn_on_full_buffer=False))
        forwarding = _Forwarding(wake)
        for number in _FORWARDED:
            handlers.enter_context(_on_signal(number, functools.partial(forwarding.forward, number)))
        yield forwarding


@contextlib.contextmanager
def _terminal() -> Iterator[tuple[int, io.FileIO]]:
    """Master and slave of a new pseudo-terminal; closing the slave early lets the master see its last user go."""
    master, slave = os.openpty()
    with io.FileIO(master), io.FileIO(slave) as theirs:
        yield master, theirs


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Every key as it is pressed; the terminal is given back as it was."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # keeps what was typed ahead
        yield
    finally:
        with contextlib.suppress(termios.error):  # it hung up
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _following_size(source: int, target: int) -> Iterator[None]:
    """Rows and columns (TIOCGWINSZ, ioctl_tty(2)); of a change the kernel tells the foreground group of `target`."""

    def copy() -> None:
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))

    with _on_signal(signal.SIGWINCH, copy):
        copy()
        yield


def _end(running: Running, forwarding: _Forwarding) -> int:
    """Waits for the exit status."""
    while (status := running.poll()) is None:
        forwarding.ready({running.fileno(): select.POLLIN})
    return status


def _copy(running: Running, master: int, forwarding: _Forwarding) -> None:
    """Both ways until the process has ended; then what it has still shown.

    What was typed waits in `typed` until the terminal takes it: a process that neither reads nor stops writing must not
    hold up its own output.
    """
    os.set_blocking(master, False)
    typed, listening = b"", True
    while running.poll() is None:
        wished = {running.fileno(): select.POLLIN, master: select.POLLIN | (select.POLLOUT if typed else 0)}
        if listening and not typed:
            wished[0] = select.POLLIN
        ready = forwarding.ready(wished)
        if ready.get(master, 0) & ~select.POLLOUT and not _show(master):
            break
        if 0 in ready:
            typed = _typed()
            listening = bool(typed)
        if typed:
            typed = typed[_put(master, typed) :]
    for _ in range(_LAST_CHUNKS):
        if not _shown_at_once(master):
            break


def _shown_at_once(master: int) -> bool:
    """poll(2) of a terminal first lets what is on its way arrive (n_tty_poll() in drivers/tty/n_tty.c)."""
    poll = select.poll()
    poll.register(master, select.POLLIN)
    return bool(poll.poll(0)) and _show(master)


def _show(master: int) -> bool:
    """Copies one chunk to the caller; False where nobody has the other end open any more (EIO)."""
    try:
        data = os.read(master, _CHUNK)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    while data:
        data = data[os.write(1, data) :]
    return True


def _typed() -> bytes:
    """Nothing is the end: the caller's terminal hung up."""
    with contextlib.suppress(OSError):
        return os.read(0, _CHUNK)
    return b""


def _put(master: int, typed: bytes) -> int:
    """How much of it the terminal took."""
    try:
        return os.write(master, typed)
    except BlockingIOError:
        return 0
