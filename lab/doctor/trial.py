"""Tries what a lab is made of, in namespaces that end with this process: a script of its own, since a user namespace is
refused to a process with threads.

    trial.py caller     as who called: an ordinary user makes a user namespace first
    trial.py ordinary   as an ordinary user (65534), whom root becomes for it

Prints {step: errno}, 0 where it worked, in the order of the steps; what a refused step makes impossible is left out.
"""

import ctypes
import json
import os
import sys
from collections.abc import Callable

# include/uapi/linux/sched.h, mount.h, prctl.h
NEWNS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PR_SET_DUMPABLE = 4
NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags))


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    kind_bytes = kind.encode() if kind else None
    _checked(_libc.mount(source.encode(), target.encode(), kind_bytes, ctypes.c_ulong(flags), None))


def become_ordinary() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    _checked(_libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))  # or /proc/self belongs to root, who it no longer is


def write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def map_ids(uid: int, gid: int) -> None:
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {uid} 1")
    write("/proc/self/gid_map", f"0 {gid} 1")


def own_mounts() -> None:
    unshare(NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def open_sysctl() -> None:
    os.close(os.open("/proc/sys/net/ipv4/ip_forward", os.O_WRONLY | os.O_CLOEXEC))


def in_child(do: Callable[[], None]) -> None:
    """`do()` in a forked process, whose exit status is the errno."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            do()
        except OSError as error:
            code = error.errno or 255
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, "")


def steps(ordinary: bool) -> tuple[tuple[str, Callable[[], None]], ...]:
    uid, gid = os.geteuid(), os.getegid()
    first = (("user", lambda: unshare(NEWUSER)), ("map", lambda: map_ids(uid, gid))) if ordinary else ()
    return (
        *first,
        ("network", lambda: unshare(NEWNET)),
        ("sysctl", open_sysctl),
        ("mounts", own_mounts),
        ("tmpfs", lambda: mount("lab", "/run", "tmpfs", 0)),
        ("processes", lambda: unshare(NEWPID)),
        ("proc", lambda: in_child(lambda: mount("proc", "/proc", "proc", 0))),
        ("sys", lambda: mount("sysfs", "/sys", "sysfs", 0)),
    )


STOPS = ("user", "map", "network", "mounts", "processes")
"""Steps without which the later ones would be tried in the wrong place."""


def main() -> None:
    if sys.argv[1] == "ordinary":
        become_ordinary()
    said = {}
    for name, do in steps(os.geteuid() != 0):
        try:
            do()
            said[name] = 0
        except OSError as error:
            said[name] = error.errno or 255
            if name in STOPS:
                break
    print(json.dumps(said))


if __name__ == "__main__":
    main()
