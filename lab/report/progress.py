"""One line at the bottom of a terminal that says what goes on, once it has taken a second; gone when it is done.

A thread draws it, so that work need not know of it. What is printed meanwhile goes through `aside`, which takes the line away
first: stdout and stderr can be the same terminal. The descriptor is a copy, since a test runner redirects the original.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from lab.substrate import signals

DELAY = 1.0  # seconds
_AGAIN = 0.1  # seconds
_CLEAR = "\r\x1b[2K"
_DUMB = ("", "dumb", "unknown")


def line(stream: TextIO, text: Callable[[], str], wanted: bool = True) -> Line:
    """A line on `stream` where that is a terminal which can go back to the beginning of a line; one that is never seen, else.

    `text` is asked by another thread and may take its time; the seconds are put behind it."""
    able = wanted and stream.isatty() and os.environ.get("TERM", "") not in _DUMB
    return Line(stream.fileno() if able else None, text, stream.encoding or "utf-8")


class Line:
    """A context manager; nothing is drawn outside of its block, and nothing at all without `terminal`, a descriptor."""

    def __init__(self, terminal: int | None, text: Callable[[], str], encoding: str = "utf-8") -> None:
        self._terminal, self._text, self._encoding = terminal, text, encoding
        self._own = -1
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._since = 0.0
        self._drawn = ""

    def __enter__(self) -> Line:
        if self._terminal is not None:
            self._own, self._since = os.dup(self._terminal), time.monotonic()
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._own < 0:
            return
        with signals.held_back():  # or an interrupt would leave the line where it is
            self._halt()
            self._clear()
            os.close(self._own)
            self._own = -1

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What is printed in the block stays whole. The second begins anew: something has just been seen to happen."""
        with self._lock:
            self._clear()
            yield
            self._since = time.monotonic()

    @contextlib.contextmanager
    def halted(self) -> Iterator[None]:
        """Without the thread that draws, so that the process can be forked in the block."""
        if self._own < 0:
            yield
            return
        self._halt()
        yield
        self._start()

    def _start(self) -> None:
        self._ended.clear()
        self._thread = threading.Thread(target=self._draw, name="progress", daemon=True)
        with signals.held_back(signals.EVERY):  # they are the main thread's
            self._thread.start()

    def _halt(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _draw(self) -> None:
        wait = DELAY
        while not self._ended.wait(wait):
            taken = time.monotonic() - self._since
            wait = _AGAIN if taken >= DELAY else DELAY - taken
            if taken >= DELAY:
                self._show()

    def _show(self) -> None:
        text = self._text()
        with self._lock:
            taken = time.monotonic() - self._since
            if taken < DELAY or self._ended.is_set() or not _in_front(self._own):
                return
            said = _fitting(f"{text}, {taken:.0f} s", os.get_terminal_size(self._own).columns or 80)
            if said != self._drawn:
                self._drawn = said
                self._write(_CLEAR + (said if os.environ.get("NO_COLOR") else f"\x1b[2m{said}\x1b[22m"))

    def _clear(self) -> None:
        if self._drawn:
            self._drawn = ""
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # it hung up
            os.write(self._own, text.encode(self._encoding, "replace"))


def _in_front(terminal: int) -> bool:
    """Not of a job in the background, which would write into what the user types."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # not the controlling terminal: nobody types there
        return True


def _fitting(text: str, columns: int) -> str:
    """One line of what can be printed, shorter than the terminal is wide: a full one would wrap."""
    from rich.cells import cell_len, set_cell_size

    plain = "".join(each if each.isprintable() else " " for each in text)
    return plain if cell_len(plain) < columns else set_cell_size(plain, max(columns - 2, 1)).rstrip() + "…"
