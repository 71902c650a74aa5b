"""What this kernel can do, found by trying it in a scratch namespace: versions, /proc/config.gz and modinfo mislead.

A kind of device is asked for with no queues at all: a kernel that has the kind refuses the number, one that has not refuses the
kind, and neither makes anything (net/core/rtnetlink.c, rtnl_create_link and rtnl_newlink). Kinds whose module makes devices in
every namespace when it is loaded (gre, ipip, sit) are not asked for.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.substrate import martians, namespaces
from lab.substrate import probes as other
from lab.substrate.netlink import probes

KINDS = ("bond", "bridge", "dummy", "ifb", "ipvlan", "macsec", "macvlan", "veth", "vlan", "vrf", "vxlan", "wireguard")

_OTHERS: dict[str, Callable[[], bool]] = {
    "vlan_filtering": probes.bridge_vlan_filtering,
    "netem": lambda: probes.qdisc("netem"),
    "tbf": lambda: probes.qdisc("tbf"),
    "ipv6": other.ipv6,
    "anycast": other.anycast,
    "tcp_md5": other.tcp_md5,
    "tcp_ao": other.tcp_ao,
    "transparent": other.transparent,
    "mptcp": other.mptcp,
    "nf_tables": probes.nf_tables,
    "openvswitch": lambda: probes.generic_family("ovs_datapath"),
    "drop_monitor": lambda: probes.generic_family("NET_DM"),
    "drop_reasons": other.drop_reasons,
    "btf": partial(other.shown, "/sys/kernel/btf/vmlinux"),
    "tun": other.tun,
    "martian_log": martians.logged,
    "nfs": lambda: other.file_system("nfs4"),
    "nfsd": lambda: other.file_system("nfsd"),
}
NAMES = (*KINDS, *_OTHERS)
"""Every feature that can be asked for."""

_MODULES = Path("/proc/modules")


@dataclass(frozen=True, slots=True)
class Answer:
    """What trying one feature came to. `there` is None where it could not be tried, and `why` says why.

    `modules` are those that the kernel loaded meanwhile, which somebody else may have caused; `seconds` how long it took."""

    there: bool | None
    seconds: float
    why: str = ""
    modules: tuple[str, ...] = ()


def missing(wanted: Iterable[str]) -> set[str]:
    """Those of `wanted` that this kernel lacks; `a or b` is there when one of them is. Raises OSError without privilege."""
    asked = set(wanted)
    parts = {part for feature in asked for part in feature.split(" or ")}
    if not parts:
        return set()
    absent = namespaces.inside_scratch(lambda: {part for part in sorted(parts) if not _usable(part)})
    return {feature for feature in asked if absent.issuperset(feature.split(" or "))}


def has_openvswitch() -> bool:
    """Whether the kernel has a datapath of Open vSwitch. Families are the same in every namespace, and whoever asks is told."""
    return _OTHERS["openvswitch"]()


def loaded_modules() -> frozenset[str]:
    """The names in /proc/modules; none where the kernel has no modules."""
    try:
        return frozenset(line.split(" ", 1)[0] for line in _MODULES.read_text().splitlines())
    except OSError:
        return frozenset()


def tried_here(names: Iterable[str] = NAMES, modules: Callable[[], frozenset[str]] = loaded_modules) -> dict[str, Answer]:
    """Tries each in the calling thread's namespace, which should be a scratch one; asks `modules` before and after."""
    answers = {}
    before = modules()
    for name in names:
        there, seconds, why = _tried(name)
        after = modules()
        answers[name] = Answer(there, seconds, why, tuple(sorted(after - before)))
        before = after
    return answers


def _tried(name: str) -> tuple[bool | None, float, str]:
    begin = time.perf_counter()
    try:
        there, why = bool(_probe(name)), ""
    except OSError as error:
        return None, time.perf_counter() - begin, error.strerror or str(error)
    return there, time.perf_counter() - begin, why


def _probe(feature: str) -> bool:
    if feature in KINDS:
        return _has_kind(probes.link_kind(feature))
    return _OTHERS[feature]()


def _usable(feature: str) -> bool:
    """A device that this user may not open is as good as none."""
    try:
        return _probe(feature)
    except PermissionError as error:
        if error.filename is None:
            raise
        return False


def _has_kind(code: int) -> bool:
    if code == errno.EPERM:
        raise PermissionError(code, "making a device is not permitted")
    return code != errno.EOPNOTSUPP
