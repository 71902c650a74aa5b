"""The threads that work in network namespaces, and that may be kept for the next work.

A new thread costs more than most of what is done in a namespace, many times as much in User-mode Linux. So while `kept`, one
that has done its work goes back to the network namespace of the process and waits there.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lab.substrate.syscalls import CLONE_NEWNET, setns

_HOME = "/proc/self/ns/net"


class Work(NamedTuple):
    """`do` must not raise; `done` tells that it is over, and that its thread is in its namespace no more where it is kept."""

    do: Callable[[], object]
    done: Callable[[], object]


class _Hand:
    """One thread, in a pause between works."""

    def __init__(self) -> None:
        self.work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self.thread = threading.current_thread()


_lock = threading.Lock()
_idle: list[_Hand] = []
_homes: list[int] = []
"""A descriptor of the process's own namespace for each block in which threads are kept."""


def put(work: Work) -> None:
    """Has it done by a thread that waits, or by a new one, which blocks the signals that the caller blocks."""
    with _lock:
        hand = _idle.pop() if _idle else None
    if hand:
        hand.work.put(work)
    else:
        threading.Thread(target=_live, args=(work,), name="netns", daemon=True).start()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Threads wait for more work in the block, and have ended at its end, but for those that still work."""
    with _lock:
        _homes.append(os.open(_HOME, os.O_RDONLY | os.O_CLOEXEC))
    try:
        yield
    finally:
        with _lock:
            os.close(_homes.pop())
            dismissed = [] if _homes else [*_idle]
            del _idle[: len(dismissed)]
        for hand in dismissed:
            hand.work.put(None)
        for hand in dismissed:
            hand.thread.join()


def _live(work: Work | None) -> None:
    hand = _Hand()
    while work:
        work.do()
        stays = _waits(hand)
        work.done()
        work = None  # what it refers to must not live as long as this thread
        work = hand.work.get() if stays else None


def _waits(hand: _Hand) -> bool:
    """Whether the thread is to wait for more: it is back, then, in the namespace of the process."""
    with _lock:
        if not _homes:
            return False
        try:
            setns(_homes[-1], CLONE_NEWNET)
        except OSError:  # of a user namespace that the process is not root of: it ends, as any did
            return False
        _idle.append(hand)
        return True


def _forget() -> None:
    """A fork has none of these threads; the namespace that they go back to is its own too."""
    _idle.clear()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget)
