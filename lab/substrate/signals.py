"""Interrupts held back while something must be done whole; what they do is Python's and the command line's matter."""

from __future__ import annotations

import contextlib
import ctypes
import signal
from collections.abc import Collection, Iterator
from functools import cache

from lab.substrate import syscalls

INTERRUPTS = frozenset({signal.SIGINT, signal.SIGTERM})
EVERY = frozenset(map(int, signal.valid_signals()))


@contextlib.contextmanager
def held_back(numbers: Collection[signal.Signals | int] = INTERRUPTS) -> Iterator[None]:
    """Signals that come to this thread in the block arrive when it is done.

    Not by signal.pthread_sigmask, which makes an object of every signal of a mask: with all of them held back that took half of
    the time of what is done in a namespace."""
    old = syscalls.signal_mask()
    try:
        syscalls.block_signals(_set_of(frozenset(numbers)))
        _heard()  # raises, now that they are blocked, what a signal just before raises
        yield
    finally:
        syscalls.set_signal_mask(old)
        _heard()


@cache
def _set_of(numbers: frozenset[int]) -> syscalls.SignalSet:
    return syscalls.signal_set(numbers)


def _heard() -> None:
    """Python's handlers of signals that have come, now (PyErr_CheckSignals of its C API); nothing but in the main thread."""
    ctypes.pythonapi.PyErr_CheckSignals()
