"""The root of a guest: the host's, read-only, beneath a layer that is thrown away, with /proc, /sys, /dev and /run of its own.

Run by the first process, on whose `/` the share of the host is mounted. Nothing here keeps the host's files from being written:
that is done on the host's side, since a guest's root could undo whatever is done here.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_MOVE = 1, 2, 4, 8, 4096, 8192  # include/uapi/linux/mount.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # include/uapi/linux/sockios.h, if.h
_RNDADDENTROPY = 0x40085203  # include/uapi/linux/random.h
_FINIT_MODULE, _COMPRESSED = 313, 4  # x86-64; include/uapi/linux/module.h
_SCRATCH = "/proc"  # a directory that every root has, hidden later by the new root
_ROOT = f"{_SCRATCH}/root"
_LAYERS = f"lowerdir=/,upperdir={_SCRATCH}/upper,workdir={_SCRATCH}/work"

# Where, what kind, which options; in this order.
_MOUNTS = (
    ("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""),
    ("sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""),
    ("dev", "devtmpfs", MS_NOSUID, "mode=0755"),
    ("dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666,gid=5"),
    ("dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"),
    ("run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"),
    ("sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""),
    ("sys/kernel/tracing", "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""),
    ("sys/kernel/debug", "debugfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""),
)
_NEEDED = frozenset({"proc", "sys", "dev", "run"})

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(data) if data else None):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def furnish(modules: str, wanted: str, trial: str = "") -> None:
    """Makes the root and moves onto it. `modules` is the folder with the kernel's modules, as the host has it, or nothing;
    `wanted` the path of the one that the root needs, where that is not loaded yet; `trial` a folder of the host that is to be
    seen as it is, and not through the layer."""
    if wanted:
        _load(wanted)
    mount("layer", _SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for name in ("upper", "work", "root"):
        os.mkdir(f"{_SCRATCH}/{name}", 0o755)
    mount("root", _ROOT, "overlay", 0, _LAYERS)
    for place, kind, flags, options in _MOUNTS:
        _mount_own(f"{_ROOT}/{place}", kind, flags, options, needed=place in _NEEDED)
    if modules:
        _bind_modules(modules)
    if trial:
        mount(trial, f"{_ROOT}{trial}", None, MS_BIND)
    os.chdir(_ROOT)
    mount(".", "/", None, MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _load(path: str) -> None:
    """finit_module(2). Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.syscall(_FINIT_MODULE, fd, b"", _COMPRESSED if not path.endswith(".ko") else 0):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(fd)


def _mount_own(place: str, kind: str, flags: int, options: str, needed: bool) -> None:
    """A kernel without tracefs, and a host without its folder, are no reason to end."""
    with contextlib.nullcontext() if needed else contextlib.suppress(OSError):
        os.makedirs(place, exist_ok=True)
        mount(kind, place, kind, flags, options)


def _bind_modules(folder: str) -> None:
    """Where modprobe(8) looks, whatever the host has there."""
    base = os.path.realpath("/lib")
    place = f"{_ROOT}{base}/modules/{os.uname().release}"
    os.makedirs(place, exist_ok=True)
    mount(folder, place, None, MS_BIND)


def settle(seed: str) -> None:
    """Randomness from the host, so that nobody waits for it; the host's name; the loopback device; who dies of thirst last."""
    if seed:
        _credit(bytes.fromhex(seed))
    with contextlib.suppress(OSError), open("/etc/hostname", encoding="utf-8") as file:
        socket.sethostname(file.read().strip())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    with contextlib.suppress(OSError):  # the kernel loads IPv6 for a socket, and not for an address
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")


def _credit(seed: bytes) -> None:
    """struct rand_pool_info of random(4): bits, bytes, and the bytes."""
    fd = os.open("/dev/urandom", os.O_WRONLY)
    try:
        fcntl.ioctl(fd, _RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
    finally:
        os.close(fd)
