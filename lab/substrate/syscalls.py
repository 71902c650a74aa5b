"""System calls that Python 3.11 lacks, each raising OSError with the kernel's errno: unshare, setns, mount, umount, prctl."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000  # linux/sched.h
MS_BIND, MS_MOVE, MS_REC = 4096, 8192, 16384  # include/uapi/linux/mount.h
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_PRIVATE = 1 << 18
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # include/uapi/linux/prctl.h

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


def adopt_orphans() -> None:
    """From now on the orphans among this process's descendants become its children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0), "prctl")


def signal_at_parents_death(number: int) -> None:
    """prctl(2) PR_SET_PDEATHSIG: the calling process, forked by its parent's main thread, gets the signal when that ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number)), "prctl")
