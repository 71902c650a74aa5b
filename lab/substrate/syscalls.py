"""System calls that Python 3.11 lacks, each raising OSError with the kernel's errno: unshare, setns, mount, umount, prctl."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
MS_BIND = 4096  # include/uapi/linux/mount.h
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_PRIVATE = 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def unshare(flags: int) -> None:
    """unshare(2), of the calling thread alone."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """setns(2), of the calling thread alone."""
    _checked(_libc.setns(fd, flags), "setns")


def mount(source: str, target: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _checked(result, str(target))


def unmount(target: Path) -> None:
    """umount2(2), lazy: the tree is gone from sight at once, and from memory when its last user is."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW), str(target))


def signal_at_parents_death(number: int) -> None:
    """prctl(2) PR_SET_PDEATHSIG: the calling process, forked by its parent's main thread, gets the signal when that ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number)), "prctl")
