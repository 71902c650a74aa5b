"""Interrupts held back while something must be done whole; what they do is Python's and the command line's matter."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Collection, Iterator

INTERRUPTS = frozenset({signal.SIGINT, signal.SIGTERM})


@contextlib.contextmanager
def held_back(numbers: Collection[signal.Signals | int] = INTERRUPTS) -> Iterator[None]:
    """Signals that come to this thread in the block arrive when it is done."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # raises, after it has blocked, what a signal just before it raises
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
