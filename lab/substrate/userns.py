"""A user namespace of an ordinary user's own: whether the host allows one, which ids it has, and what is mounted in it.

Its root is the caller: on the host's files it has the caller's rights and no more. With subordinate ids (subuid(5)) it has
other users too, which newuidmap(1) and newgidmap(1) map; without them it has one user and one group (user_namespaces(7)).
The processes that live in it, and who waits for whom, are `lab.cli.rootless`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import Problem
from lab.substrate.syscalls import MS_BIND, MS_MOVE, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, mount

SUBUID, SUBGID = Path("/etc/subuid"), Path("/etc/subgid")
_PROC, _RUN = Path("/proc"), Path("/run")
_MADE_ANEW = frozenset({"lab", "netns"})  # of what lies in /run
_LIMITS = ("max_user_namespaces", "max_mnt_namespaces", "max_pid_namespaces")
_EVERY_ID = 0xFFFFFFFF  # what the initial user namespace maps: all but the invalid id
_FIRST_FREE, _ENOUGH = 100_000, 65_536  # SUB_UID_MIN and SUB_UID_COUNT of login.defs(5)
_PATIENCE = 10.0  # seconds for newuidmap and newgidmap, which take milliseconds

UNSHARE, MAP, MOUNT_RUN, MOUNT_PROC = "make a user namespace", "map its ids", "mount a tmpfs on its /run", "mount its /proc"


# Which ids there are.


def ids_available() -> int:
    """How many user ids there are in this process's user namespace: 1 where only root can own a file or run a process."""
    return sum(int(line.split()[2]) for line in (_PROC / "self" / "uid_map").read_text().splitlines())


def is_initial() -> bool:
    """Whether this is the host's own user namespace, as its map tells: it has every id."""
    return ids_available() == _EVERY_ID


@dataclass(frozen=True, slots=True)
class Range:
    """Ids of the host, from `start` on."""

    start: int
    count: int


def subordinate(text: str, name: str, number: int) -> tuple[Range, ...]:
    """The ranges that a file such as /etc/subuid gives to a user, who stands there by name or by number (subuid(5))."""
    return tuple(each for owner, each in _ranges(text) if owner in (name, str(number)) and each.count)


def _ranges(text: str) -> list[tuple[str, Range]]:
    found = []
    for line in text.splitlines():
        owner, *numbers = line.strip().split(":")
        if len(numbers) == 2 and all(map(str.isdecimal, numbers)):
            found.append((owner, Range(*map(int, numbers))))
    return found


def map_lines(own: int, ranges: tuple[Range, ...]) -> list[tuple[int, int, int]]:
    """Root is the caller, and the ranges follow it without a gap: first id inside, first id outside, how many."""
    lines, inside = [(0, own, 1)], 1
    for each in ranges:
        lines.append((inside, each.start, each.count))
        inside += each.count
    return lines


def map_ids(pid: int) -> Problem | None:
    """Maps the ids of the new user namespace that `pid` has made; what is then missing, or None. Raises OSError."""
    uid, gid, name = os.getuid(), os.getgid(), _user_name()
    users, groups = (subordinate(_text(path), name, uid) for path in (SUBUID, SUBGID))
    if not (users and groups):
        lacking = " and ".join(str(path) for path, found in ((SUBUID, users), (SUBGID, groups)) if not found)
        _map_one(pid, uid, gid)
        return _one_id(f"{name} has no subordinate ids in {lacking}", _give_some(name))
    failure = _helped("newuidmap", pid, map_lines(uid, users)) or _helped("newgidmap", pid, map_lines(gid, groups))
    if failure:
        _map_one(pid, uid, gid)
        return _one_id(failure, "apt install uidmap brings newuidmap and newgidmap; no_new_privs and nosuid disable them")
    return None


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _helped(program: str, pid: int, lines: list[tuple[int, int, int]]) -> str | None:
    """What went wrong, in words."""
    argv = [program, str(pid), *(str(number) for line in lines for number in line)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE, check=False)
    except FileNotFoundError:
        return f"{program} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} failed: {error}"
    return f"{program} failed: {done.stderr.strip() or done.returncode}" if done.returncode else None


def _map_one(pid: int, uid: int, gid: int) -> None:
    """Without privilege one maps only the own ids, groups once setgroups(2) is given up. Each map is written once."""
    folder = _PROC / str(pid)
    for kind, own in (("uid", uid), ("gid", gid)):
        if not (folder / f"{kind}_map").read_text():
            if kind == "gid":
                (folder / "setgroups").write_text("deny")
            (folder / f"{kind}_map").write_text(f"0 {own} 1")


def _one_id(why: str, hint: str) -> Problem:
    return Problem(
        f"{why}: these labs have one user, and a program that changes its user, as many daemons and tcpdump do, cannot run",
        hint,
    )


def _give_some(name: str) -> str:
    start = first_free(_text(SUBUID), _text(SUBGID))
    some = f"{start}-{start + _ENOUGH - 1}"
    return f"sudo usermod --add-subuids {some} --add-subgids {some} {name}"


def first_free(*texts: str) -> int:
    """The first id behind all that these files give away."""
    return max([_FIRST_FREE, *(each.start + each.count for text in texts for _, each in _ranges(text))])


# Whether the host allows it.


@dataclass(frozen=True, slots=True)
class Settings:
    """What on this host decides about user namespaces; None is a sysctl that its kernel lacks."""

    supported: bool = True
    debian: int | None = None
    """kernel.unprivileged_userns_clone"""
    apparmor: int | None = None
    """kernel.apparmor_restrict_unprivileged_userns"""
    limits: Mapping[str, int] = field(default_factory=dict)
    """user.max_…_namespaces of the user namespace that this process is in."""
    filtered: bool = False
    """Whether a seccomp filter stands over this process."""
    mapped: bool = True
    """Whether the caller has a user and a group in the user namespace that it is in."""

    @classmethod
    def read(cls) -> Settings:
        limits = {name: value for name in _LIMITS if (value := _sysctl(f"user/{name}")) is not None}
        return cls(
            supported=(_PROC / "self/ns/user").exists(),
            debian=_sysctl("kernel/unprivileged_userns_clone"),
            apparmor=_sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            limits=limits,
            filtered="\nSeccomp:\t2" in _text(_PROC / "self/status"),
            mapped=_in_map("uid", os.geteuid()) and _in_map("gid", os.getegid()),
        )


def _sysctl(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((_PROC / "sys" / name).read_text())
    return None


def _in_map(kind: str, number: int) -> bool:
    lines = [tuple(map(int, line.split())) for line in _text(_PROC / f"self/{kind}_map").splitlines()]
    return any(first <= number < first + count for first, _, count in lines)


_CANNOT = "a lab without root needs a user namespace"
_OR_ROOT = "or run it as root, for example with sudo"


def why_not(code: int, step: str, host: Settings) -> Problem:
    """Why a step was refused with the errno `code`: the setting, and the command that changes it."""
    for message, hint in (_kernel(code, host), _limit(code, host), _policy(code, host), _surroundings(code, step, host)):
        if message:
            return Problem(f"{_CANNOT}, and {message}", f"{hint}, {_OR_ROOT}")
    said = f"it was not possible to {step}: {os.strerror(code)}"
    return Problem(f"{_CANNOT}, and {said}", f"a container, a chroot or a security module may forbid it: leave it, {_OR_ROOT}")


_Said = tuple[str, str]
_NOTHING = ("", "")


def _kernel(code: int, host: Settings) -> _Said:
    if host.supported and code not in (errno.EINVAL, errno.ENOSYS):
        return _NOTHING
    return "this kernel has none", "use a kernel with CONFIG_USER_NS and CONFIG_PID_NS"


def _limit(code: int, host: Settings) -> _Said:
    """ENOSPC also stands for too deep a nesting; kernels before 4.9 say EUSERS."""
    if code not in (errno.ENOSPC, errno.EUSERS):
        return _NOTHING
    for name, value in host.limits.items():
        if value == 0:
            return f"user.{name} is 0", f"sudo sysctl user.{name}=10000"
    said = ", ".join(f"user.{name} {value}" for name, value in host.limits.items())
    return (
        f"a limit of namespaces is reached ({said})",
        "raise it with sysctl, or end what holds so many",
    )


def _policy(code: int, host: Settings) -> _Said:
    if code in (errno.EPERM, errno.EACCES):
        if host.debian == 0:
            return "kernel.unprivileged_userns_clone is 0", "sudo sysctl kernel.unprivileged_userns_clone=1"
        if host.apparmor:
            name = "kernel.apparmor_restrict_unprivileged_userns"
            return f"AppArmor forbids its use ({name} is {host.apparmor})", f"sudo sysctl {name}=0"
    return _NOTHING


def _surroundings(code: int, step: str, host: Settings) -> _Said:
    if code not in (errno.EPERM, errno.EACCES):
        return _NOTHING
    if not host.mapped:
        return "this user has no id in the user namespace it is in", "map its user and group there"
    if step == MOUNT_PROC:
        what = "parts of /proc are hidden by mounts, as containers do it, so that the kernel mounts no other one"
        return what, "start the container with --security-opt systempaths=unconfined or --privileged"
    if host.filtered:
        what = "a seccomp filter, of a container or a sandbox, refuses it"
        return what, "start the container with --security-opt seccomp=unconfined or --privileged"
    return _NOTHING


# What is mounted in it.


def furnish() -> None:
    """The mounts of the new mount namespace, in the first process of the new PID namespace: a /run where labs can be made,
    and the /proc of those processes. Raises OSError with the step as its file name."""
    mount("none", Path("/"), None, MS_REC | MS_PRIVATE)
    where = _cwd()
    with _doing(MOUNT_RUN):
        _mount_run()
    with _doing(MOUNT_PROC):
        mount("proc", _PROC, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if where:
        with contextlib.suppress(OSError):
            os.chdir(where)  # the same folder by its new mount, where it lies below /run


def _cwd() -> str | None:
    with contextlib.suppress(OSError):
        return os.getcwd()  # noqa: PTH109
    return None


@contextlib.contextmanager
def _doing(step: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, step) from error


def _mount_run() -> None:
    """A tmpfs with everything that /run had in its place, but for labs and names of namespaces.

    Furnished on /proc, which is mounted anew after this: below /run itself it would cover what it is furnished from."""
    entries = [(entry.name, entry) for entry in os.scandir(_RUN) if entry.name not in _MADE_ANEW]
    mount("run", _PROC, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for name, entry in entries:
        with contextlib.suppress(OSError):  # gone meanwhile, or its mounts may not be copied
            _keep(entry, _PROC / name)
    mount(str(_PROC), _RUN, None, MS_MOVE)


def _keep(entry: os.DirEntry[str], place: Path) -> None:
    if entry.is_symlink():
        place.symlink_to(Path(entry.path).readlink())
        return
    place.mkdir() if entry.is_dir() else place.touch()
    mount(entry.path, place, None, MS_BIND | MS_REC)
