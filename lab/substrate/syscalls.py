"""System calls that Python 3.11 lacks, each raising OSError with the kernel's errno: unshare, setns, mount, umount, prctl; and
the calling thread's mask of signals, which it makes objects of."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable
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


def adopt_orphans(adopt: bool = True) -> None:
    """From now on the orphans among this process's descendants become its children (prctl(2), PR_SET_CHILD_SUBREAPER), or those
    of whoever adopts its own."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(adopt), 0, 0, 0), "prctl")


def signal_at_parents_death(number: int) -> None:
    """prctl(2) PR_SET_PDEATHSIG: the calling process, forked by its parent's main thread, gets the signal when that ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number)), "prctl")


class SignalSet(ctypes.Structure):
    """sigset_t of glibc and of musl: 1024 bits."""

    _fields_ = (("words", ctypes.c_ulong * (1024 // 8 // ctypes.sizeof(ctypes.c_ulong))),)


def signal_set(numbers: Iterable[int]) -> SignalSet:
    """sigaddset(3) of each."""
    made = SignalSet()
    for number in numbers:
        _checked(_libc.sigaddset(ctypes.byref(made), int(number)), f"signal {int(number)}")
    return made


def signal_mask() -> SignalSet:
    """Those that the calling thread has blocked (pthread_sigmask(3))."""
    old = SignalSet()
    _masked(_libc.pthread_sigmask(int(signal.SIG_BLOCK), None, ctypes.byref(old)))
    return old


def block_signals(more: SignalSet) -> None:
    """Of the calling thread, beside those that are blocked already."""
    _masked(_libc.pthread_sigmask(int(signal.SIG_BLOCK), ctypes.byref(more), None))


def set_signal_mask(mask: SignalSet) -> None:
    """Of the calling thread, as `signal_mask` gave it."""
    _masked(_libc.pthread_sigmask(int(signal.SIG_SETMASK), ctypes.byref(mask), None))


def _masked(code: int) -> None:
    """Unlike the others this one returns its error (pthread_sigmask(3))."""
    if code:
        raise OSError(code, os.strerror(code), "pthread_sigmask")
