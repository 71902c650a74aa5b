"""Facts -> findings about who asks, and what keeps that user from making labs; pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from lab.doctor.facts import Facts
from lab.doctor.finding import Finding, Section, Sentence, Verdict, lacking, note, ok
from lab.host import UNMASKED

NEEDED = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN")
ENOUGH_IDS = 65536  # a user namespace with the users that Debian's packages make, and nobody (65534)

ROOT = ok("caller.root", "root, with CAP_NET_ADMIN and CAP_SYS_ADMIN")
ROOT_LACKS = lacking(
    "caller.root-lacks",
    "root, but without {lacking}",
    "no lab can be made",
    "outside of a container run it as root of the host; a container wants --privileged, or --cap-add for each",
    blocks=True,
)
ROOT_OF_NAMESPACE = note(
    "caller.root-of-namespace",
    "root of a user namespace only: ids are not those of the host",
    "daemons cannot change to users that have no id here, and the kernel's log and tracing stay closed",
    "run it as root of the host where that is needed",
)
ORDINARY = note(
    "caller.ordinary",
    "an ordinary user, {name} ({uid})",
    "`lab run` builds in a user namespace; `lab up` needs root",
    "for `lab up`: sudo lab up …",
)
RUN_CLOSED = lacking(
    "caller.run-closed",
    "{run} cannot be made or written",
    "labs keep their records there, so none can be made",
    "make it writable for root, or set LAB_RUN_DIR to a folder that is",
    blocks=True,
)
NO_LIMITS = note(
    "caller.no-resource",
    "no CAP_SYS_RESOURCE",
    "hard limits (open files, processes) cannot be raised, also not by a daemon that tries to",
)
LOG_OPEN = ok("log.open", "/dev/kmsg can be read")
LOG_CLOSED = note(
    "log.closed",
    "/dev/kmsg cannot be read: {why}",
    "checks whose evidence is the kernel's log are skipped",
    "run as root of the host: that needs CAP_SYSLOG and, in a container, the device /dev/kmsg",
)
LOG_RESTRICTED = note(
    "log.restricted",
    "/dev/kmsg cannot be read: {why}, and kernel.dmesg_restrict is 1",
    "checks whose evidence is the kernel's log are skipped",
    "run as root, or: sysctl -w kernel.dmesg_restrict=0, which opens the log to every user",
)

MADE = ok("trial.made", "namespaces, mounts, sysctls and a /proc of their own: each was tried")
NOT_TRIED = note("trial.not-tried", "making namespaces could not be tried", "whether labs can be made is not known")
_IN_CONTAINER = "a container wants --privileged; elsewhere look for a seccomp filter or a security module that forbids it"
NO_NETWORK = lacking(
    "trial.network",
    "a network namespace is refused: {why}",
    "every node is one: no lab can be made",
    _IN_CONTAINER,
    blocks=True,
)
NO_MOUNTS = lacking(
    "trial.mounts",
    "mounting is refused: {why}",
    "namespaces are kept by mounts: no lab can be made",
    _IN_CONTAINER,
    blocks=True,
)
NO_PROCESSES = lacking(
    "trial.processes",
    "a PID namespace is refused: {why}",
    "nothing can run on a node, and every experiment runs something",
    _IN_CONTAINER,
    blocks=True,
)
NO_PROC = lacking(
    "trial.proc",
    "a new {what} cannot be mounted: {why}",
    "a node's processes need one of their own; where parts of the container's are masked the kernel refuses another",
    f"in a container: {UNMASKED}",
    blocks=True,
)
NO_SYSCTL = lacking(
    "trial.sysctl",
    "sysctls of a new namespace cannot be written: {why}",
    "forwarding and filters of nodes cannot be set: no lab can be made",
    f"containers have /proc/sys read-only: {UNMASKED}",
    blocks=True,
)

USERS_CAN = ok("userns.works", "an ordinary user can make user namespaces with networks in them: tried")
_LACKS_USERNS = "`lab run` works for root only"
NO_CLONE = lacking(
    "userns.clone",
    "kernel.unprivileged_userns_clone is 0: the system forbids user namespaces to ordinary users",
    _LACKS_USERNS,
    "sysctl -w kernel.unprivileged_userns_clone=1",
    blocks=True,
)
NO_ROOM = lacking(
    "userns.max",
    "user.max_user_namespaces is 0: nobody may make a user namespace",
    _LACKS_USERNS,
    "sysctl -w user.max_user_namespaces=10000",
    blocks=True,
)
APPARMOR = lacking(
    "userns.apparmor",
    "kernel.apparmor_restrict_unprivileged_userns is 1: AppArmor keeps user namespaces from being of use (Ubuntu 23.10 on)",
    _LACKS_USERNS,
    "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,` for {python}",
    blocks=True,
)
UNMAPPED = lacking(
    "userns.unmapped",
    "the caller's id has no counterpart outside: a user namespace without an id map",
    "a user namespace is refused to it, so nothing can be built",
    "leave that namespace, or make it with a map (unshare --map-root-user)",
    blocks=True,
)
NO_USERNS = lacking(
    "userns.refused",
    "an ordinary user's user namespace is refused ({step}: {why}), and no setting says so",
    _LACKS_USERNS,
    "look for a seccomp filter (containers), a chroot, or a kernel without CONFIG_USER_NS",
    blocks=True,
)

MAPS = ok("ids.maps", "newuidmap, newgidmap and {count} subordinate ids: daemons can change their user without root")
NO_MAP_PROGRAMS = note(
    "ids.no-programs",
    "{names} not installed, or without the privilege to map ids",
    "an ordinary user's labs have a single id: daemons that change their user cannot run there",
    "apt-get install uidmap",
)
NO_RANGES = note(
    "ids.no-ranges",
    "{name} has {uids} subordinate user ids and {gids} group ids in /etc/subuid and /etc/subgid; {enough} are needed",
    "labs have a single id: daemons that change their user cannot run there",
    "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}, with a range that nobody else has",
)

WSL1 = lacking(
    "around.wsl1",
    "WSL 1: there is no Linux kernel",
    "it has no network namespaces: no lab can be made",
    "in Windows: wsl --set-version DISTRIBUTION 2",
    blocks=True,
)
WSL2 = note(
    "around.wsl2",
    "WSL 2: the kernel is Microsoft's, for all distributions together",
    "several kinds of links and queueing disciplines may lack, see below; no package of the distribution brings them",
    "build a kernel that has them, and name it in .wslconfig ([wsl2] kernel=…), then: wsl --shutdown",
)
CONTAINER = note(
    "around.container",
    "a container ({kind})",
    "the kernel, its modules and most limits are the host's: change them there",
)
LOCKDOWN = note(
    "around.lockdown",
    "the kernel is locked down ({mode})",
    "tracing is refused, also to root",
    "disable Secure Boot, or boot without lockdown=confidentiality",
)

_privileges = Section.PRIVILEGES
_REFUSALS: Mapping[str, Callable[..., Finding]] = {
    "network": partial(NO_NETWORK.about, _privileges, "namespaces"),
    "mounts": partial(NO_MOUNTS.about, _privileges, "mounts"),
    "tmpfs": partial(NO_MOUNTS.about, _privileges, "mounts"),
    "processes": partial(NO_PROCESSES.about, _privileges, "processes"),
    "proc": partial(NO_PROC.about, _privileges, "proc", what="/proc"),
    "sys": partial(NO_PROC.about, _privileges, "sys", what="/sys"),
    "sysctl": partial(NO_SYSCTL.about, _privileges, "sysctls"),
}


def judge(facts: Facts) -> Iterator[Finding]:
    yield from _around(facts)
    yield from _caller(facts)
    yield from _trial(facts)
    yield from _users(facts)
    yield from _ids(facts)
    yield _log(facts)


def _around(facts: Facts) -> Iterator[Finding]:
    around = facts.around
    if around.wsl:
        yield (WSL1 if around.wsl == 1 else WSL2).about(_privileges, "WSL")
    if around.container:
        yield CONTAINER.about(_privileges, "container", kind=around.container)
    if around.lockdown == "confidentiality":
        yield LOCKDOWN.about(_privileges, "lockdown", mode=around.lockdown)


def _caller(facts: Facts) -> Iterator[Finding]:
    caller = facts.caller
    if caller.uid != 0:
        yield ORDINARY.about(_privileges, "caller", name=caller.name, uid=caller.uid)
        return
    lacks = [name for name in NEEDED if name not in caller.capabilities]
    yield ROOT_LACKS.about(_privileges, "caller", lacking=" and ".join(lacks)) if lacks else ROOT.about(_privileges, "caller")
    if not caller.mapped:
        yield ROOT_OF_NAMESPACE.about(_privileges, "user ids")
    if not caller.run_writable:
        yield RUN_CLOSED.about(_privileges, "records", run=caller.run)
    if "CAP_SYS_RESOURCE" not in caller.capabilities:
        yield NO_LIMITS.about(_privileges, "limits")


def _trial(facts: Facts) -> Iterator[Finding]:
    """Of an ordinary user, what comes behind the user namespace; that itself is `_users`' matter."""
    trial = facts.caller.trial
    if not trial:
        yield NOT_TRIED.about(_privileges, "namespaces")
        return
    refusals = [(step, code) for step, code in trial.items() if code and step in _REFUSALS]
    for step, code in refusals:
        yield _REFUSALS[step](why=os.strerror(code))
    if not any(trial.values()):
        yield MADE.about(_privileges, "namespaces")


def _users(facts: Facts) -> Iterator[Finding]:
    """For root it is a note: only others are kept from something."""
    caller = facts.caller
    trial = caller.trial if caller.uid else caller.ordinary
    if not trial:
        return
    refused = [step for step in ("user", "map") if trial.get(step)]
    if not refused:
        if not any(trial.values()):
            yield USERS_CAN.about(_privileges, "user namespaces")
        return
    sentence = _why_refused(facts)
    if not caller.uid:
        sentence = sentence.instead(Verdict.NOTE)
    why, python = os.strerror(trial[refused[0]]), "the Python that runs lab"
    yield sentence.about(_privileges, "user namespaces", step=refused[0], why=why, python=python)


def _why_refused(facts: Facts) -> Sentence:
    settings = facts.settings
    if settings.get("user.max_user_namespaces") == "0":
        return NO_ROOM
    if settings.get("kernel.unprivileged_userns_clone") == "0":
        return NO_CLONE
    if settings.get("kernel.apparmor_restrict_unprivileged_userns", "0") != "0":
        return APPARMOR
    return NO_USERNS if facts.caller.mapped or not facts.caller.uid else UNMAPPED


def _ids(facts: Facts) -> Iterator[Finding]:
    """Of ordinary users alone: root's labs have all ids."""
    caller = facts.caller
    if not caller.uid:
        return
    unusable = [name for name, usable in caller.id_maps.items() if not usable]
    if unusable:
        yield NO_MAP_PROGRAMS.about(_privileges, "id maps", names=" and ".join(unusable))
    count = min(caller.subuids, caller.subgids)
    if count < ENOUGH_IDS:
        holes = {"name": caller.name, "uids": caller.subuids, "gids": caller.subgids, "enough": ENOUGH_IDS}
        yield NO_RANGES.about(_privileges, "subordinate ids", **holes)
    elif not unusable:
        yield MAPS.about(_privileges, "id maps", count=count)


def _log(facts: Facts) -> Finding:
    if not facts.caller.kernel_log:
        return LOG_OPEN.about(_privileges, "kernel log")
    refused = facts.caller.kernel_log == os.strerror(errno.EPERM)  # a container may also lack the device
    restricted = refused and facts.settings.get("kernel.dmesg_restrict") == "1"
    return (LOG_RESTRICTED if restricted else LOG_CLOSED).about(_privileges, "kernel log", why=facts.caller.kernel_log)
