"""Keeps virtual time from leaping while the guest waits for the host.

With its clock decoupled from ours a guest that idles leaps to its next timer, also when it is not a timer that it waits for but
the host, who reads a file for it: each of many such reads would cost it a second. So a process that runs only when nothing else
does looks whether anything waits so, and works in vain until it does not: then time passes as it does for work. Otherwise it
sleeps, first shortly, then longer and longer as long as nothing happens: an hour of idleness is some thousand wake-ups, and
who begins to wait for the host meanwhile leaps once, by a second at most.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import NoReturn

_LEAST, _MOST = 0.0002, 1.0  # seconds of the guest
_GROWTH = 2
_QUIET = 4  # context switches of one round in which nobody else did anything: to here, to idle, a timer's
_IN_VAIN = 5.0  # seconds of the guest: who waits for longer waits for something else, as for a file server that is gone


def start() -> None:
    """In a process of its own, which lives as long as the guest."""
    if os.fork() == 0:
        try:
            _beat()
        finally:
            os._exit(1)


def _beat() -> NoReturn:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    stat = os.open("/proc/stat", os.O_RDONLY)
    tasks = _Tasks()
    pause, before = _LEAST, _switches(stat)
    while True:
        time.sleep(pause)
        waited = _spend(tasks)
        now = _switches(stat)
        pause = min(pause * _GROWTH, _MOST) if not waited and now - before <= _QUIET else _LEAST
        before = now


def _spend(tasks: _Tasks) -> bool:
    """Works as long as a task waits for the host; whether one did."""
    begin = time.monotonic()
    waited = False
    while tasks.wait() and time.monotonic() - begin < _IN_VAIN:
        waited = True
    return waited


def _switches(stat: int) -> int:
    """Context switches since the boot (proc(5), /proc/stat, ctxt)."""
    text = os.pread(stat, 16384, 0)
    at = text.index(b"\nctxt ") + 6
    return int(text[at : text.index(b"\n", at)])


class _Tasks:
    """All that are no threads of the kernel; looked for anew when one was made. Their files stay open: to open and close them
    again and again would itself be something that happens."""

    def __init__(self) -> None:
        self._last = os.open("/proc/loadavg", os.O_RDONLY)
        self._newest = b""
        self._kernels: set[str] = set()
        self._stats: list[int] = []

    def wait(self) -> bool:
        """Whether one is in a sleep that only the end of what it waits for interrupts (9p's p9_client_rpc)."""
        newest = os.pread(self._last, 128, 0).rsplit(b" ", 1)[1]
        if newest != self._newest:
            for fd in self._stats:
                os.close(fd)
            self._newest, self._stats = newest, list(self._found())
        return any(map(_is_held, self._stats))

    def _found(self) -> Iterator[int]:
        for name in os.listdir("/proc"):
            if name.isdigit() and name not in self._kernels:
                with contextlib.suppress(OSError):  # it has just ended
                    for task in self._own(name):
                        yield os.open(f"/proc/{name}/task/{task}/stat", os.O_RDONLY)

    def _own(self, name: str) -> list[str]:
        with open(f"/proc/{name}/cmdline", "rb") as file:
            if not file.read(1):
                self._kernels.add(name)
                return []
        return os.listdir(f"/proc/{name}/task")


def _is_held(stat: int) -> bool:
    try:
        text = os.pread(stat, 512, 0)
    except OSError:
        return False
    return text[text.rindex(b")") + 2 :].startswith(b"D")
