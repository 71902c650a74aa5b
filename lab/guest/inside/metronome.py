"""Keeps virtual time from leaping while the guest waits for the host.

With its clock decoupled from ours a guest that idles leaps to its next timer, also when it is not a timer that it waits for but
the host, who reads a file for it: each of many such reads would cost it a second. So a process that runs only when nothing else
does sets timers of its own, first short ones, then longer and longer ones as long as nothing happens: a read that takes the
host a millisecond costs the guest some milliseconds, and an hour of idleness some hundred wake-ups.
"""

from __future__ import annotations

import os
import time
from typing import NoReturn

_LEAST, _MOST = 0.0002, 5.0  # seconds of the guest
_GROWTH = 1.5
_QUIET = 4  # context switches of one round in which nobody else did anything: to here, to idle, a timer's


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
    pause, before = _LEAST, _switches(stat)
    while True:
        time.sleep(pause)
        now = _switches(stat)
        pause = min(pause * _GROWTH, _MOST) if now - before <= _QUIET else _LEAST
        before = now


def _switches(stat: int) -> int:
    """Context switches since the boot (proc(5), /proc/stat, ctxt)."""
    text = os.pread(stat, 16384, 0)
    at = text.index(b"\nctxt ") + 6
    return int(text[at : text.index(b"\n", at)])
