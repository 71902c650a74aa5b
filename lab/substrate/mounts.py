"""The tmpfs that holds everything durable of a lab, made and undone as one."""

from __future__ import annotations

import errno
from pathlib import Path

from lab.substrate.syscalls import MS_NODEV, MS_NOSUID, MS_PRIVATE, mount, unmount


def mount_tree(path: Path) -> None:
    """Mounts a tmpfs on the directory `path`.

    It is made private, so that the namespace mounts below it appear in no other mount namespace; unmounting still reaches
    the copies of the tmpfs itself, because that follows the parent mount (fs/pnode.c, propagate_umount)."""
    mount("lab", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    mount("", path, None, MS_PRIVATE)


def unmount_tree(path: Path) -> None:
    """Lets go of everything mounted on and below `path`, also where mounts are stacked; nothing mounted is success."""
    while True:
        try:
            unmount(path)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return
            raise
