"""Network namespaces: made and entered by helper threads.

A socket or an open /proc/sys file stays bound to the namespace in which it was opened, so the thread hands it back and leaves.
The main thread never enters anything; user, mount and PID namespaces are not entered here at all.
"""

from __future__ import annotations

import errno
import functools
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from lab.substrate import crew, signals
from lab.substrate.syscalls import CLONE_NEWNET, MS_BIND, mount, setns, unshare

T = TypeVar("T")
OWN_NETNS = Path("/proc/thread-self/ns/net")


class Helper(Generic[T]):
    """A thread for `do`; `result()` gives what it returned or raises what it raised.

    A signal handler that raises in `result()` leaves the thread running: its owner stops and joins it. Signals go to other
    threads: in the main thread they end its waiting, and only there do Python's handlers run. The waiting is for a descriptor,
    because Thread.join() takes the thread for ended where a handler raises in it."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._do = do
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._started = False
        self._ended: int | None = None

    def start(self) -> None:
        """Starts the work, unless that is done."""
        if not self._started:
            with signals.held_back(signals.EVERY):  # or an interrupt leaves join() to wait for what never began
                self._started, self._ended = True, os.eventfd(0, os.EFD_CLOEXEC)
                crew.put(crew.Work(self._work, functools.partial(os.eventfd_write, self._ended, 1)))

    def _work(self) -> None:
        try:
            self._result.append(self._do())
        except BaseException as error:
            self._error = error

    def join(self) -> None:
        """Waits until the thread is done; at once where it never began."""
        if self._ended is not None:
            poll = select.poll()
            poll.register(self._ended, select.POLLIN)
            poll.poll()
            ended, self._ended = self._ended, None
            os.close(ended)

    def result(self) -> T:
        self.start()
        self.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._result[0]

    def __del__(self) -> None:
        if self._ended is not None:  # nobody joined it; it is done, for until then it refers to this
            os.close(self._ended)


def enter(path: Path) -> None:
    """Moves the calling helper thread into the network namespace at `path`."""
    if threading.current_thread() is threading.main_thread():
        raise RuntimeError("the main thread enters no namespace")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd, CLONE_NEWNET)
    finally:
        os.close(fd)


def make(path: Path) -> None:
    """Moves the calling helper thread into a new network namespace and mounts that on the new file `path`."""
    unshare(CLONE_NEWNET)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o444))
    mount(str(OWN_NETNS), path, None, MS_BIND)


def take(source: Path, path: Path) -> None:
    """Mounts the namespace at `source`, such as /proc/PID/ns/net, on the new file `path`. Raises PermissionError for the
    namespace of this process itself."""
    if inode(source) == inode(Path("/proc/self/ns/net")):
        raise PermissionError(errno.EPERM, "it is the host's own network namespace", str(source))
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o444))
    mount(str(source), path, None, MS_BIND)


def inside(path: Path, do: Callable[..., T], *args: Any) -> T:
    """`do(*args)` in the network namespace at `path`."""

    def work() -> T:
        enter(path)
        return do(*args)

    return Helper(work).result()


def inside_scratch(do: Callable[[], T]) -> T:
    """`do()` in a new network namespace that ends with it."""

    def work() -> T:
        unshare(CLONE_NEWNET)
        return do()

    return Helper(work).result()


def inode(path: Path = OWN_NETNS) -> int:
    """The number by which the kernel knows a namespace (the one in readlink /proc/PID/ns/net)."""
    return path.stat().st_ino
