"""A script of its own: runs a program where it can write nothing of the host's, and where the kernel ends it with its caller.

    confine.py PROGRAM ARGUMENT…     (as `python -I -S confine.py …`, with the descriptors that PROGRAM inherits)

The program gets a mount namespace whose every mount is read-only (mount_setattr(2), recursive), but for a tmpfs on /dev/shm,
and a PID namespace: what it leaves behind ends with it. It gets no capability but to read, and never another one: so nothing
in it can undo the mounts. An ordinary user gets the namespaces by a user namespace. Without privilege for either the
program is not started.

    caller ──> maker ──> keeper, PID 1 of the namespace ──> program         each is killed when the one before it ends
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
from typing import NoReturn

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000  # linux/sched.h
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 16384, 1 << 18  # linux/mount.h
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
_PDEATHSIG, _CAPBSET_READ, _CAPBSET_DROP, _NO_NEW_PRIVS = 1, 23, 24, 38  # linux/prctl.h
_CAP_DAC_READ_SEARCH, _CAPSET, _CAPABILITIES_V3 = 2, 126, 0x20080522  # linux/capability.h, x86-64's number
_SCRATCH = b"/dev/shm"
_CANNOT = 111  # what the caller takes for: the host does not allow it

_libc = ctypes.CDLL(None, use_errno=True)


def done(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def main(argv: list[str]) -> NoReturn:
    try:
        namespaces()
    except OSError as error:
        cannot(error, "make namespaces")
    keeper = os.fork()
    if keeper == 0:
        _keep(argv)
    os._exit(status_of(os.waitpid(keeper, 0)[1]))


def cannot(error: OSError, what: str) -> NoReturn:
    """Ends the process, having said why."""
    print(f"{error.filename or what}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(_CANNOT)


def namespaces(more: int = 0) -> None:
    """Those of mounts and of processes to come, and `more`; with one of users for who is not root."""
    dies_with_its_parent()
    uid, gid = os.getuid(), os.getgid()
    wanted = _CLONE_NEWNS | _CLONE_NEWPID | more | (0 if uid == 0 else _CLONE_NEWUSER)
    done(_libc.unshare(wanted), "make namespaces for a guest")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def _keep(argv: list[str]) -> NoReturn:
    """The life of the keeper: its namespace ends with it."""
    dies_with_its_parent()
    try:
        _read_only()
        program = os.fork()
        if program == 0:
            dies_with_its_parent()
            give_up_capabilities(_CAP_DAC_READ_SEARCH)
            os.execv(argv[0], argv)
    except OSError as error:
        cannot(error, argv[0])
    until_ended(program)


def until_ended(program: int) -> NoReturn:
    """Reaps whatever ends meanwhile, and ends as the program does."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            os._exit(status_of(status))


def status_of(status: int) -> int:
    """Of waitpid(2), as a shell counts it."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def dies_with_its_parent() -> None:
    parent = os.getppid()
    done(_libc.prctl(_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl")
    if os.getppid() != parent:  # it has just ended
        os._exit(1)


def _read_only() -> None:
    done(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "make mounts private")
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV)
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    result = _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, ctypes.byref(attributes), ctypes.c_size_t(32))
    if result and ctypes.get_errno() == 38:  # ENOSYS before Linux 5.12
        _remount_each()
    else:
        done(result, "make every mount read-only")
    done(_libc.mount(b"lab", _SCRATCH, b"tmpfs", flags, b"mode=0700"), "mount a tmpfs on /dev/shm")


def _remount_each() -> None:
    """A remount must keep the other flags that the mount has, which statvfs tells (mount(2))."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        places = [line.split(" ")[4] for line in file]
    for place in places:
        path = place.encode().decode("unicode_escape").encode("latin-1")
        kept = os.statvfs(path).f_flag & 0x400F  # ST_NOSUID, ST_NODEV, ST_NOEXEC, ST_RDONLY and MS_NODIRATIME's neighbours
        result = _libc.mount(b"none", path, None, ctypes.c_ulong(_MS_REMOUNT | _MS_BIND | _MS_RDONLY | (kept & 0xF)), None)
        done(result, f"make {place} read-only")


def give_up_capabilities(kept: int | None) -> None:
    """For ever; with CAP_DAC_READ_SEARCH `kept` root's guest sees what root sees, and nothing can be written by it."""
    known = itertools.takewhile(lambda number: _libc.prctl(_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0) >= 0, range(64))
    for capability in known:
        if capability != kept:
            done(_libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0), "give up a capability")
    done(_libc.prctl(_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "prctl")
    hold(kept)


def hold(kept: int | None) -> None:
    """This capability and no other one (capset(2))."""
    bits = 0 if kept is None else 1 << kept
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)(bits, bits, 0, 0, 0, 0)
    done(_libc.syscall(_CAPSET, ctypes.byref(header), ctypes.byref(sets)), "give up capabilities")


if __name__ == "__main__":
    main(sys.argv[1:])
