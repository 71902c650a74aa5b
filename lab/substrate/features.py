"""What this kernel can do, found by trying it in a scratch namespace: versions, /proc/config.gz and modinfo mislead.

A kind of device is asked for with no queues at all: a kernel that has the kind refuses the number, one that has not refuses the
kind, and neither makes anything (net/core/rtnetlink.c, rtnl_create_link and rtnl_newlink).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from lab.substrate import namespaces
from lab.substrate.netlink import probes

KINDS = ("bond", "bridge", "dummy", "ifb", "macvlan", "veth", "vlan", "vrf", "vxlan")


def missing(wanted: Iterable[str]) -> set[str]:
    """Those of `wanted` that this kernel lacks; `a or b` is there when one of them is. Raises OSError without privilege."""
    asked = set(wanted)
    parts = {part for feature in asked for part in feature.split(" or ")}
    if not parts:
        return set()
    absent = namespaces.inside_scratch(lambda: {part for part in sorted(parts) if not _probe(part)})
    return {feature for feature in asked if absent.issuperset(feature.split(" or "))}


def _probe(feature: str) -> bool:
    if feature in KINDS:
        return probes.link_kind(feature) != errno.EOPNOTSUPP
    return _OTHERS[feature]()


_OTHERS: dict[str, Callable[[], bool]] = {
    "vlan_filtering": probes.bridge_vlan_filtering,
    "netem": lambda: probes.qdisc("netem"),
    "tbf": lambda: probes.qdisc("tbf"),
}
