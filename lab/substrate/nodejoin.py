"""How a process enters a container that Docker made, and is no more than a process of it. Standard library only, for
nodeinit.py imports it.

The init of such a node lives in the PID, mount, network, UTS, IPC and control group namespaces of the container's first
process, beside it and not as its parent; it has no capability that the container cannot have. What it starts gets the
container's user, groups and control groups, too; Docker's system call filter it has not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import warnings  # noqa: F401 - os.execvpe() wants it, and in a container there is no Python to load it from
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lab.substrate import nodeview
else:
    import nodeview

# linux/sched.h, linux/prctl.h, linux/capability.h
_OF_A_CONTAINER = 0x20000 | 0x40000000 | 0x4000000 | 0x8000000 | 0x2000000  # mount, network, UTS, IPC, control groups
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NAME = 23, 24, 36, 15
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """32 capabilities; there are two of them."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class Joined:
    """What a process of a container gets. Made before the container is entered, where control groups can be seen."""

    def __init__(self, uid: int, gid: int, groups: Sequence[int], cgroups: Sequence[str]) -> None:
        self.uid, self.gid, self.groups = uid, gid, list(groups)
        self.cgroups = []
        for path in cgroups:
            with contextlib.suppress(OSError):  # of a hierarchy that is not to be seen here
                self.cgroups.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))

    def become(self) -> None:
        """In the child, just before it executes what it is for."""
        for fd in self.cgroups:
            with contextlib.suppress(OSError):  # with groups below it, or gone
                os.write(fd, b"0")
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def enter(pidfd: int, node: str, bounding: int) -> None:
    """Moves this process, of the container's PID namespace already, into its others, and makes it as weak as they are."""
    nodeview.checked(nodeview.LIBC.setns(pidfd, _OF_A_CONTAINER), "enter the namespaces of the container")
    nodeview.LIBC.prctl(_PR_SET_NAME, f"lab:{node}".encode()[:15], 0, 0, 0)
    # Orphans of what it starts come to it, and not to a first process that may never look at them.
    nodeview.checked(nodeview.LIBC.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0), "adopt orphans")
    _limit(bounding)


def _limit(bounding: int) -> None:
    """Capabilities outside of `bounding` are given up, and with them every way to have them again."""
    number = 0
    while (there := nodeview.LIBC.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0)) >= 0:
        if there and not bounding & 1 << number:
            dropped = nodeview.LIBC.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0)
            nodeview.checked(dropped, "give up capabilities")
        number += 1
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    nodeview.checked(nodeview.LIBC.capget(ctypes.byref(header), sets), "read capabilities")
    for at, each in enumerate(sets):
        mask = bounding >> 32 * at & 0xFFFFFFFF
        each.effective, each.permitted, each.inheritable = each.effective & mask, each.permitted & mask, 0
    nodeview.checked(nodeview.LIBC.capset(ctypes.byref(header), sets), "give up capabilities")
