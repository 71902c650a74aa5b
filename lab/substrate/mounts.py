"""The tmpfs that holds everything durable of a lab, made and undone as one."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from lab.substrate.syscalls import MS_NODEV, MS_NOSUID, MS_PRIVATE, mount, unmount

_MARK = "mounted-in"  # below the tmpfs: the mount namespace that it was mounted in, by its inode
_INITIAL_PIDS = 0xEFFFFFFC  # include/linux/proc_ns.h, PROC_PID_INIT_INO


def mount_tree(path: Path) -> None:
    """Mounts a tmpfs on the directory `path`.

    It is made private, so that the namespace mounts below it appear in no other mount namespace; unmounting still reaches
    the copies of the tmpfs itself, because that follows the parent mount (fs/pnode.c, propagate_umount)."""
    mark = path / _MARK
    mark.write_text(str(_namespace("mnt")))
    try:
        mount("lab", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    except BaseException:
        mark.unlink()
        raise
    mount("", path, None, MS_PRIVATE)


def unmount_tree(path: Path) -> None:
    """Lets go of everything mounted on and below `path`, also where mounts are stacked; nothing mounted is success."""
    while _unmounted(path):
        pass
    with contextlib.suppress(FileNotFoundError):
        (path / _MARK).unlink()


def _unmounted(path: Path) -> bool:
    try:
        unmount(path)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True


def elsewhere(path: Path) -> bool:
    """Whether a tmpfs that is not to be seen here is mounted on `path` in another mount namespace, such as the host's for
    who shares /run with it in a container.

    Removing the directory would take the tmpfs from there too (fs/namespace.c, __detach_mounts). Who does not see every
    process of the host cannot know that a namespace is gone, and takes it for living."""
    try:
        where = int((path / _MARK).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return where != _namespace("mnt") and (_namespace("pid") != _INITIAL_PIDS or where in _living())


def _namespace(kind: str) -> int:
    return Path(f"/proc/self/ns/{kind}").stat().st_ino


def _living() -> set[int]:
    """The mount namespaces of all processes."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.add((process / "ns" / "mnt").stat().st_ino)
    return found
