"""What the processes of a node see: the mounts of its init. Standard library only, for nodeinit.py imports it.

A node sees the host's files, but for
    /proc, /sys       of its own PID and network namespaces
    /run, /dev/shm    empty ones of its own, so that daemons of two nodes, and those of the host, never meet
    directories       those that its services asked for (/var/lib/DAEMON …), empty ones of its own as well
and no network namespace of this or another lab.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Iterable, Sequence

# linux/sched.h, linux/mount.h, linux/prctl.h; the numbers of both system calls are the same on every architecture (5.2).
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 8, 0x1000, 0x4000, 0x40000, 2
SYS_OPEN_TREE, SYS_MOVE_MOUNT, AT_FDCWD = 428, 429, -100
OPEN_TREE_CLONE, AT_RECURSIVE, MOVE_MOUNT_F_EMPTY_PATH = 1, 0x8000, 4
PR_SET_NAME = 15
ASSEMBLED = "/run/.assembled"

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def checked(result: int, doing: str) -> int:
    """`result` of a libc call; raises OSError with `doing` as its file name where it is -1."""
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), doing)
    return result


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = None if kind is None else kind.encode()
    checked(LIBC.mount(source.encode(), os.fsencode(target), encoded, ctypes.c_ulong(flags), None), f"mount {target}")


def clone_tree(path: str, flags: int = 0) -> int:
    """A mount of `path` that hangs nowhere yet; without AT_RECURSIVE nothing mounted below it comes along."""
    flags |= OPEN_TREE_CLONE | os.O_CLOEXEC
    number, at = ctypes.c_long(SYS_OPEN_TREE), ctypes.c_long(AT_FDCWD)
    return checked(LIBC.syscall(number, at, os.fsencode(path), ctypes.c_ulong(flags)), f"clone the mount {path}")


def attach_tree(fd: int, target: str) -> None:
    """Hangs what `clone_tree` gave at `target`, and closes it."""
    number, at, flags = ctypes.c_long(SYS_MOVE_MOUNT), ctypes.c_long(AT_FDCWD), ctypes.c_ulong(MOVE_MOUNT_F_EMPTY_PATH)
    try:
        checked(LIBC.syscall(number, ctypes.c_long(fd), b"", at, os.fsencode(target), flags), f"move a mount to {target}")
    finally:
        os.close(fd)


# What the node sees.


def mount_points() -> list[str]:
    """Every mount point of this mount namespace (proc(5): the fifth field, with octal escapes), lower ones first."""
    with open("/proc/self/mountinfo", "rb") as lines:
        points = [line.split(b" ", 5)[4] for line in lines]
    for escape, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        points = [point.replace(escape, plain) for point in points]
    return [os.fsdecode(point) for point in points]


def topmost(points: Iterable[str], root: str) -> list[str]:
    """Those strictly below `root` that are not below another such; stacked ones as often as they are stacked."""
    below = sorted(point for point in points if point.startswith(root + "/"))
    found: list[str] = []
    for point in below:
        if not (found and point.startswith(found[-1] + "/")):
            found.append(point)
    return found


def let_go_of_labs(points: list[str], root: str) -> None:
    """Drops every mount below the labs' root.

    A copy of those mounts in this namespace would keep the network of a lab alive after its `lab down`. One lazy
    unmount per lab, since each waits for a grace period of RCU.
    """
    for point in topmost(points, root):
        with contextlib.suppress(OSError):  # another mount above it hides it
            checked(LIBC.umount2(os.fsencode(point), MNT_DETACH), f"unmount {point}")


def uncover(point: str) -> None:
    """Unmounts it, or leaves it to be covered: what a user namespace has from the host is locked (mount_namespaces(7))."""
    try:
        checked(LIBC.umount2(os.fsencode(point), MNT_DETACH), f"unmount {point}")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def renew_sys(points: list[str]) -> None:
    """A sysfs that shows this network namespace, with the host's control groups, tracing and bpf in their places."""
    kept = [(point, clone_tree(point, AT_RECURSIVE)) for point in topmost(points, "/sys")]
    if "/sys" in points:
        uncover("/sys")
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for point, tree in kept:
        with contextlib.suppress(OSError):  # a place that the host's /sys had and a plain one has not
            attach_tree(tree, point)


def own_directories(trees: Iterable[tuple[int, str]]) -> None:
    """Hangs each tree at its place; a place that the host lacks is made in a view of its parent, never on the host."""
    for tree, place in trees:
        if not os.path.isdir(place):
            renew(os.path.dirname(place), os.path.basename(place))
        attach_tree(tree, place)


def renew(folder: str, missing: str) -> None:
    """`folder` with everything that it holds and, beside it, the empty directory `missing`."""
    there = os.path.isdir(folder)
    if not there:
        renew(os.path.dirname(folder), os.path.basename(folder))
    os.makedirs(ASSEMBLED)
    mount("own", ASSEMBLED, "tmpfs", MS_NOSUID | MS_NODEV)
    for entry in os.scandir(folder) if there else ():
        mirror(entry, f"{ASSEMBLED}/{entry.name}")
    os.mkdir(f"{ASSEMBLED}/{missing}")
    attach_tree(clone_tree(ASSEMBLED, AT_RECURSIVE), folder)
    checked(LIBC.umount2(os.fsencode(ASSEMBLED), MNT_DETACH), f"unmount {ASSEMBLED}")
    os.rmdir(ASSEMBLED)


def mirror(entry: os.DirEntry[str], place: str) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), place)
        return
    if entry.is_dir():
        os.mkdir(place)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
    mount(entry.path, place, None, MS_BIND | MS_REC)


def enter_node(netns: int, node: str, labs: str, own: Sequence[tuple[str, str]]) -> None:
    """Moves this process, PID 1 already, into the node. The order matters: sysfs shows the namespace of who mounts it.

    `labs` is the directory that holds all labs; `own` pairs a directory of the node's with the place where it is seen,
    /run first.
    """
    checked(LIBC.setns(netns, CLONE_NEWNET), "enter the network namespace")
    checked(LIBC.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC), "make mount, UTS and IPC namespaces")
    socket.sethostname(node)
    LIBC.prctl(PR_SET_NAME, f"lab:{node}".encode()[:15], 0, 0, 0)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    points = mount_points()
    trees = [(clone_tree(source), place) for source, place in own]
    let_go_of_labs(points, labs)
    renew_sys(points)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    own_directories(trees)
    if os.path.isdir("/dev/shm"):
        mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV)
