"""This host -> Facts. Reads /proc, /sys and /etc, and tries things in namespaces that end at once; changes nothing.

What needs no answer of another goes on side by side: the trials and Jinja2 work in processes of their own.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.doctor import programs, scenarios, trial
from lab.doctor.facts import Caller, Docker, Facts, Kernel, Surroundings, Trial
from lab.doctor.surroundings import container, lockdown, wsl
from lab.sysctls import sysctl_parts

SYSCTL = Path("/proc/sys")
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24, "CAP_SYSLOG": 34}  # linux/capability.h
SETTINGS = (
    *("kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns", "kernel.dmesg_restrict"),
    *(f"user.max_{kind}_namespaces" for kind in ("user", "net", "mnt", "pid")),
    *(f"net.{family}.neigh.default.gc_thresh{level}" for family in ("ipv4", "ipv6") for level in (2, 3)),
    *("net.ipv4.icmp_msgs_per_sec", "net.ipv4.icmp_msgs_burst", "net.core.message_cost", "net.core.message_burst"),
    *("net.core.netdev_max_backlog", "net.core.devconf_inherit_init_net", "net.ipv4.tcp_congestion_control"),
    *("fs.inotify.max_user_instances", "net.bridge.bridge-nf-call-iptables"),
)
MANAGERS = {
    "NetworkManager": "NetworkManager",
    "systemd-network": "systemd-networkd",  # the kernel keeps 15 characters of a name
    "connmand": "connman",
    "dhcpcd": "dhcpcd",
    "tuned": "tuned",
}
_TRIAL_SECONDS = 10.0


def gather() -> Facts:
    kernel_of = _forked_kernel() if os.geteuid() != 0 else _kernel  # a user namespace is refused to a process with threads
    with _Trial("caller") as own, _Trial("ordinary" if os.geteuid() == 0 else None) as ordinary, ThreadPoolExecutor(1) as pool:
        topologies = pool.submit(scenarios.topologies)
        kernel, scratch, deviations = kernel_of()
        return Facts(
            caller=caller(own.result(), ordinary.result() if os.geteuid() == 0 else None),
            around=surroundings(),
            kernel=kernel,
            programs=programs.wanted(),
            topologies=topologies.result(),
            experiments=scenarios.experiments(),
            kernels=scenarios.kernels(),
            settings=dict(sysctls(SETTINGS)),
            scratch=scratch,
            deviations=deviations,
            managers=managers(),
            docker=docker(),
            processes=processes(),
            files=_finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        )


def docker() -> Docker:
    """Asked as lab asks it for containers."""
    from lab.errors import HostError
    from lab.substrate import contained, containers

    address, program = contained.address(contained.which()), programs.where("dockerd")
    try:
        with containers.Docker() as daemon:
            return Docker(address, program, daemon.version())
    except HostError as error:
        return Docker(address, program, why=error.problems[0].message.rpartition(": ")[2])


class _Trial:
    """lab.doctor.trial while it runs. A context manager; `result()` is its answer."""

    def __init__(self, who: str | None) -> None:
        argv = [sys.executable, "-I", "-S", "-E", trial.__file__, who or ""]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdout=pipe, stderr=subprocess.DEVNULL, text=True) if who else None

    def __enter__(self) -> _Trial:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def result(self) -> Trial:
        if self._process is None:
            return {}
        try:
            said: Trial = json.loads(self._process.communicate(timeout=_TRIAL_SECONDS)[0])
        except (ValueError, subprocess.TimeoutExpired):
            return {}
        return said


# -- the kernel

_Found = tuple[Kernel, frozenset[str], tuple[str, ...] | None]


def _kernel() -> _Found:
    """As root: in a scratch namespace that a helper thread enters."""
    from lab.substrate import namespaces

    before = set(socket.if_nameindex())
    try:
        answers, scratch, deviations = namespaces.inside_scratch(_look)
    except OSError as error:
        return Kernel({}, why=f"a network namespace is refused: {error.strerror}"), frozenset(), None
    came = {name for _, name in set(socket.if_nameindex()) - before}
    return Kernel(answers, tuple(sorted(came))), scratch, deviations


def _look() -> tuple[Any, frozenset[str], tuple[str, ...]]:
    from lab.substrate import baseline, features

    answers = features.tried_here()
    shown = frozenset(key for key, _ in sysctls(SETTINGS))
    found = baseline.deviations()
    own = (str(path.relative_to(SYSCTL)).replace("/", ".") for path, _ in found.own)
    neighbour = (f"net.{family}.neigh.default.{key}" for family, key, _ in found.neighbour)
    return answers, shown, (*own, *neighbour)


def _ready_to_look() -> None:
    """Imports what looking needs: in a user namespace of one id the caller may not read what it could before."""
    from lab.substrate import baseline, features  # noqa: F401


def _forked_kernel() -> Callable[[], _Found]:
    """As an ordinary user: in a forked process that makes itself a user namespace. What it found, later."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _tell_kernel(writer)
    os.close(writer)

    def result() -> _Found:
        with os.fdopen(reader) as file:
            text = file.read()
        os.waitpid(pid, 0)
        return _told_kernel(text)

    return result


def _tell_kernel(writer: int) -> None:
    """Never returns."""
    try:
        uid, gid = os.geteuid(), os.getegid()
        _ready_to_look()
        trial.unshare(trial.NEWUSER)
        trial.map_ids(uid, gid)
        trial.unshare(trial.NEWNET)
        answers, scratch, deviations = _look()
        plain = {name: (each.there, each.seconds, each.why, each.modules) for name, each in answers.items()}
        said: dict[str, Any] = {"answers": plain, "scratch": sorted(scratch), "deviations": deviations}
    except OSError as error:
        said = {"why": f"a user namespace is refused: {os.strerror(error.errno or 0)}"}
    except BaseException as error:
        said = {"why": f"trying failed: {error!r}"}
    with os.fdopen(writer, "w") as file:
        json.dump(said, file)
    os._exit(0)


def _told_kernel(text: str) -> _Found:
    from lab.substrate.features import Answer

    said = json.loads(text or '{"why": "the process that tried died"}')
    if "why" in said:
        return Kernel({}, why=said["why"]), frozenset(), None
    answers = {
        name: Answer(there, seconds, why, tuple(modules)) for name, (there, seconds, why, modules) in said["answers"].items()
    }
    return Kernel(answers), frozenset(said["scratch"]), tuple(said["deviations"])


# -- who asks


def caller(own: Trial, ordinary: Trial | None) -> Caller:
    uid, run = os.geteuid(), Path(os.environ.get("LAB_RUN_DIR") or "/run/lab")
    names = _names(uid)
    return Caller(
        uid=uid,
        name=names[0],
        capabilities=capabilities(Path("/proc/self/status").read_text()),
        mapped=Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"],
        run=str(run),
        run_writable=_writable(run),
        trial=own,
        ordinary=ordinary,
        id_maps={name: maps_ids(programs.where(name)) for name in ("newuidmap", "newgidmap")},
        subuids=subordinate(_read("/etc/subuid"), names),
        subgids=subordinate(_read("/etc/subgid"), names),
        kernel_log=_log_refused(),
    )


def _names(uid: int) -> tuple[str, str]:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name, str(uid)
    except KeyError:
        return str(uid), str(uid)


def capabilities(status: str) -> frozenset[str]:
    """Those of CAPABILITIES that are in effect, of /proc/PID/status."""
    mask = int(status.partition("CapEff:")[2].split()[0], 16)
    return frozenset(name for name, bit in CAPABILITIES.items() if mask & 1 << bit)


def _writable(folder: Path) -> bool:
    """Of the first of its ancestors that exists."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return os.access(there, os.W_OK | os.X_OK)


def maps_ids(path: str) -> bool:
    """Whether that program is set-user-ID root, or has a capability of its own (setcap, as Fedora does)."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - an empty path is refused, not the current folder
        return bool(mode & stat.S_ISUID) or "security.capability" in os.listxattr(path)
    except OSError:
        return False


def subordinate(text: str, names: Iterable[str]) -> int:
    """How many ids /etc/subuid or /etc/subgid gives to a user, who is named there by name or number (subuid(5))."""
    lines = (line.split(":") for line in text.splitlines())
    return sum(int(line[2]) for line in lines if len(line) == 3 and line[0] in names and line[2].isdigit())


def _log_refused() -> str:
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror or str(error)
    return ""


# -- what is around


def surroundings() -> Surroundings:
    release = os.uname().release
    return Surroundings(
        wsl=wsl(_read("/proc/version")),
        container=container(Path("/")),
        lockdown=lockdown(_read("/sys/kernel/security/lockdown")),
        apt=bool(programs.where("apt-get")),
        release=release,
        modular=Path("/proc/modules").exists(),
        modules_there=Path("/lib/modules", release).is_dir(),
    )


def sysctls(keys: Iterable[str], root: Path = SYSCTL) -> Iterator[tuple[str, str]]:
    """Those that there are and that can be read."""
    for key in keys:
        if text := _read(root.joinpath(*sysctl_parts(key))):
            yield key, text.strip()


def managers(proc: Path = Path("/proc")) -> tuple[str, ...]:
    """Those that run in the caller's network namespace, or in one that the caller may not see; a lab has some of its own."""
    entries = [entry for entry in proc.iterdir() if entry.name.isdigit()]
    names = {name for entry in entries if (name := _read(entry / "comm").strip()) in MANAGERS and _is_near(entry, proc)}
    return tuple(said for name, said in MANAGERS.items() if name in names)


def _is_near(entry: Path, proc: Path) -> bool:
    try:
        return (entry / "ns/net").readlink() == (proc / "self/ns/net").readlink()
    except OSError:
        return True


def processes() -> int | None:
    """The least of the limits that are set."""
    files = ("/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max", *_cgroup_limits(_read("/proc/self/cgroup")))
    return min((int(text) for path in files if (text := _read(path).strip()).isdigit()), default=None)


def _cgroup_limits(text: str) -> Iterator[str]:
    """pids.max of the caller's cgroup and of its ancestors, of version 2 and of version 1."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "pids"):
            base = Path("/sys/fs/cgroup", controllers)
            here = base / path.lstrip("/")
            yield from (str(each / "pids.max") for each in (here, *here.parents) if each.is_relative_to(base))


def _finite(number: int) -> int | None:
    return None if number == resource.RLIM_INFINITY else number


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
