"""A script of its own: runs a program in a root that holds nothing of the host's but what it is given, and as nobody.

    seal.py TREE PROGRAM ARGUMENT…     (as `python -I -S seal.py …`; TREE is the descriptor of a file)

TREE is a JSON object, a `lab.guest.spec.Tree`: what is bound where, which links, folders and texts there are beside, and as
whom the program runs. The root is a tmpfs in a mount namespace of its own; every mount is read-only and knows neither devices
nor set-user-ID, a folder comes without what is mounted below it, and nothing else is mounted any more (pivot_root(2)). The
program has namespaces of processes, network, IPC and host name of its own, too, and no capability.

The processes are those of `lab.guest.confine`.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from typing import Any, NoReturn

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from lab.guest.confine import cannot, dies_with_its_parent, done, give_up_capabilities, hold, namespaces, status_of, until_ended

_MORE = 0x40000000 | 0x08000000 | 0x04000000  # CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS of linux/sched.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8  # linux/mount.h
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_PIVOT_ROOT, _MNT_DETACH = 155, 2  # x86-64's number; linux/fs.h
_CAP_SETUID = 7  # linux/capability.h
_FLAGS_OF_A_MOUNT = 0xF  # of statvfs(3), which has them where mount(2) has them; the times are kept without
_AT = "/dev"  # a directory that every host has; what it holds is opened before

_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> NoReturn:
    with open(int(argv[0]), encoding="utf-8") as file:
        tree = json.load(file)
    try:
        namespaces(_MORE)
    except OSError as error:
        cannot(error, "make namespaces")
    keeper = os.fork()
    if keeper == 0:
        _keep(tree, argv[1:])
    os._exit(status_of(os.waitpid(keeper, 0)[1]))


def _keep(tree: dict[str, Any], argv: list[str]) -> NoReturn:
    """The life of the keeper: its namespaces end with it."""
    dies_with_its_parent()
    try:
        _make_root(tree)
        _move_there()
        program = os.fork()
        if program == 0:
            _become(tree["user"])
            os.execv(argv[0], argv)
    except OSError as error:
        cannot(error, argv[0])
    until_ended(program)


def _make_root(tree: dict[str, Any]) -> None:
    """In the folder `_AT`, which is the working directory then. Links come last: until the root is changed they would lead to
    the host's files."""
    os.umask(0o022)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    sources = [(place, os.open(source, os.O_PATH | os.O_NOFOLLOW), flags) for source, place, flags in _binds(tree)]
    _mount("lab", _AT, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")
    os.chdir(_AT)
    for path, mode in tree["folders"]:
        os.makedirs(_below(path), exist_ok=True)
        os.chmod(_below(path), mode)
    for path, text in tree["texts"]:
        _made_way(path)
        with open(_below(path), "w", encoding="utf-8") as file:
            file.write(text)
    for place, fd, flags in sources:
        _bind(fd, place, flags)
    for path, text in tree["links"]:
        _made_way(path)
        os.symlink(text, _below(path))
    _mount_proc()


def _mount_proc() -> None:
    """Of its own processes alone (proc(5), subset, since Linux 5.8)."""
    for options in ("subset=pid", ""):
        try:
            _mount("proc", "proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_RDONLY, options)
        except OSError as error:
            if error.errno != errno.EINVAL or not options:
                raise
        else:
            return


def _binds(tree: dict[str, Any]) -> list[tuple[str, str, int]]:
    quiet = [(source, place, _MS_NOSUID | _MS_NODEV) for source, place in tree["binds"]]
    return [*quiet, *((path, path, _MS_NOSUID) for path in tree["devices"])]


def _bind(fd: int, place: str, flags: int) -> None:
    """Read-only before anything else happens, so that nothing can be made in it. A remount must keep the mount's flags."""
    _made_way(place)
    if os.path.isdir(f"/proc/self/fd/{fd}"):
        os.makedirs(_below(place), exist_ok=True)
    else:
        os.close(os.open(_below(place), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    _mount(f"/proc/self/fd/{fd}", _below(place), None, _MS_BIND)
    kept = os.statvfs(_below(place)).f_flag & _FLAGS_OF_A_MOUNT
    _mount("none", _below(place), None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | flags | kept)
    os.close(fd)


def _made_way(place: str) -> None:
    os.makedirs(os.path.dirname(_below(place)) or ".", exist_ok=True)


def _below(path: str) -> str:
    """Relative to the new root."""
    return path.lstrip("/") or "."


def _move_there() -> None:
    """The old root goes beneath the new one, and is let go of (pivot_root(2), under NOTES)."""
    done(_libc.syscall(_PIVOT_ROOT, b".", b"."), "change the root")
    done(_libc.umount2(b".", _MNT_DETACH), "let go of the host's root")
    os.chdir("/")
    _mount("none", "/", None, _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _become(user: list[int] | None) -> None:
    """A change of identity forgets what happens at the parent's death (prctl(2), PR_SET_PDEATHSIG): it is asked for last."""
    if user:
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
    give_up_capabilities(_CAP_SETUID if user else None)
    if user:
        os.setresuid(user[0], user[0], user[0])
        hold(None)
    dies_with_its_parent()


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    done(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(data) if data else None), f"mount {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
