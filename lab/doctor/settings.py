"""Facts -> findings about settings of the host that labs share with it, or copy from it; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lab.doctor.facts import Facts
from lab.doctor.finding import Finding, Section, note, ok

MANY_NODES = 1000
"""How large a lab this host should be good for: nodes, or hosts of one LAN."""
MANY_NEIGHBOURS = 8192
FEW_INSTANCES, FEW_PROCESSES = 1024, 8 * MANY_NODES
PATIENCE = 5  # seconds: net/core/utils.c, net_ratelimit_state
NAMESPACES = ("net", "mnt", "pid")
FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
SETTERS = ("tuned", "sysctld")
"""Daemons that set sysctls whenever they like; the others only look after devices."""

NEIGHBOURS = ok(
    "neighbours.enough",
    "{family}: {key} is {most}",
    "shared by all namespaces; good for {hosts} hosts of a LAN that all talk",
)
FEW_NEIGHBOURS = note(
    "neighbours.few",
    "{family}: {key} is {most}",
    "all namespaces share it: beyond {most} neighbours, as in a LAN of {hosts} hosts that all talk, the kernel drops "
    "(neighbour table overflow)",
    "sysctl -w {key}={wanted}",
)
EAGER_NEIGHBOURS = note(
    "neighbours.eager",
    "{family}: gc_thresh2 is {soft}, and gc_thresh3 {most}",
    "above {soft} neighbours of all namespaces together unused ones are thrown out every 5 seconds, and asked for again",
    "sysctl -w net.{net}.neigh.default.gc_thresh2={wanted}",
)
NEIGHBOURS_UNSEEN = note(
    "neighbours.unseen",
    "the thresholds of neighbours show in the initial network namespace only",
    "they are in force for all namespaces all the same",
    "ask there, outside of this namespace or container",
)
ICMP_SHARED = note(
    "icmp.shared",
    "net.ipv4.icmp_msgs_per_sec is {most}, with bursts of {burst}, for all namespaces together",
    "labs and the host share it: ICMP errors beyond it are not sent, so that traceroute and the like miss hops",
    "sysctl -w net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=1000",
)
ICMP_OWN = ok(
    "icmp.own",
    "net.ipv4.icmp_msgs_per_sec limits each namespace for itself",
    "labs do not share it with the host",
)
ICMP_EACH = ok(
    "icmp.each",
    "each node limits ICMP errors to one a second for a destination, as every new namespace does, whatever is set here",
    "for tests that provoke many: net.ipv4.icmp_ratelimit and net.ipv6.icmp.ratelimit below `sysctls:` of the node",
)
LOG_LIMIT = ok(
    "log.limit",
    "the kernel logs {burst} lines about packets in {cost} s, for all namespaces together (net.core.message_cost)",
    "a check that waits for such a line provokes it again, up to {patience} s",
)
LOG_SLOW = note(
    "log.slow",
    "the kernel logs only {burst} lines about packets in {cost} s, for all namespaces together",
    "checks wait for such a line up to {patience} s, and two labs take them from each other",
    "sysctl -w net.core.message_cost=5 net.core.message_burst=10",
)
LOG_FREE = ok("log.free", "the kernel logs every line about a packet (net.core.message_cost is 0)")
BACKLOG = note(
    "backlog.short",
    "net.core.netdev_max_backlog is {most}",
    "all veths of a processor share that queue: one broadcast in a LAN of more hosts loses copies",
    "sysctl -w net.core.netdev_max_backlog=10000",
)
BACKLOG_LONG = ok("backlog.long", "net.core.netdev_max_backlog is {most}", "good for a broadcast to as many hosts")
INSTANCES = note(
    "inotify.few",
    "fs.inotify.max_user_instances is {most}, for all processes of one user",
    "daemons that watch files, such as dnsmasq, take one each: as many of them run at once",
    "sysctl -w fs.inotify.max_user_instances={wanted}",
)
INSTANCES_ENOUGH = ok("inotify.enough", "fs.inotify.max_user_instances is {most}", "good for as many daemons that watch files")
FILES = ok("files.enough", "{most} open files for a process")
FEW_FILES = note(
    "files.few",
    "{most} open files for a process",
    "a lab of many nodes that is watched or waited for needs one for each of them, and some more",
    "ulimit -n 4096",
)
PROCESSES = ok("processes.enough", "{most} processes (kernel.pid_max, kernel.threads-max, the cgroup's pids.max)")
FEW_PROCESSES_HERE = note(
    "processes.few",
    "only {most} processes (kernel.pid_max, kernel.threads-max, the cgroup's pids.max)",
    "each node that runs something has one, and one for each of its services",
    "sysctl -w kernel.pid_max=65536; in a container or a service: its limit of tasks",
)
NAMESPACES_FEW = note(
    "namespaces.few",
    "{key} is {most}",
    "a lab has as many nodes at the most, together with everybody else's of this user",
    "sysctl -w {key}=10000",
)
NAMESPACES_ENOUGH = ok("namespaces.enough", "{most} namespaces of each kind (user.max_*_namespaces)")
COPIED = note(
    "defaults.copied",
    "new namespaces copy {count} settings from this host, unlike the kernel's own: {names}",
    "not in labs: the kernel's own value is written in each node before its first link",
)
NOT_COPIED = ok("defaults.kernels", "new namespaces start from the kernel's own defaults")
DEFAULTS_UNTRIED = note(
    "defaults.untried",
    "what new namespaces copy from this host could not be looked at",
    "labs write the kernel's own values where they differ",
    "ask as root: sudo lab doctor",
)
INHERIT = note(
    "defaults.inherit",
    "net.core.devconf_inherit_init_net is {value}: new namespaces copy all IPv4 and IPv6 settings of {whose}",
    "not in labs: what differs from the kernel's own is written anew in each node",
)
CONGESTION = note(
    "tcp.congestion",
    "net.ipv4.tcp_congestion_control is {value}, and new namespaces copy it",
    "TCP in labs behaves otherwise than on a host with the kernel's own, cubic",
    "net.ipv4.tcp_congestion_control below `sysctls:` of a node",
)
BRIDGE_FILTER = note(
    "bridge.filter",
    "br_netfilter is there",
    "bridges of labs hand their frames to iptables and nftables of their own node; the host's rules never see them",
    "net.bridge.bridge-nf-call-iptables: 0 below `sysctls:` of a node that filters, or on the host: modprobe -r br_netfilter",
)
SETTER = note(
    "manager.sysctls",
    "{name} runs",
    "it may change the settings above at any time, as its profile says",
    "look at what it sets: tuned-adm active, or the daemon's own configuration",
)
MANAGER = ok("manager.devices", "{name} runs", "it sees devices of the host's own namespace; labs make theirs elsewhere")

_settings = Section.SETTINGS


def judge(facts: Facts) -> Iterator[Finding]:
    yield from _neighbours(facts)
    yield from _icmp(facts)
    yield from _log(facts)
    yield from _limits(facts)
    yield from _defaults(facts)
    yield from _others(facts)


def _neighbours(facts: Facts) -> Iterator[Finding]:
    found = [
        (net, family) for net, family in FAMILIES.items() if _number(facts, f"net.{net}.neigh.default.gc_thresh3") is not None
    ]
    if not found:
        yield NEIGHBOURS_UNSEEN.about(_settings, "neighbours")
    for net, family in found:
        yield from _neighbours_of(facts, net, family)


def _neighbours_of(facts: Facts, net: str, family: str) -> Iterator[Finding]:
    key = f"net.{net}.neigh.default.gc_thresh3"
    most, soft = _number(facts, key) or 0, _number(facts, f"net.{net}.neigh.default.gc_thresh2")
    sentence = NEIGHBOURS if most >= MANY_NEIGHBOURS else FEW_NEIGHBOURS
    hosts = talking_hosts(most)
    yield sentence.about(_settings, "neighbours", family=family, key=key, most=most, hosts=hosts, wanted=MANY_NEIGHBOURS)
    if soft is not None and soft < MANY_NEIGHBOURS // 2 <= most // 2:
        holes = {"family": family, "net": net, "soft": soft, "most": most, "wanted": most // 2}
        yield EAGER_NEIGHBOURS.about(_settings, "neighbours", **holes)


def talking_hosts(neighbours: int) -> int:
    """How many hosts of one LAN have each of the others as a neighbour: the greatest n with n (n - 1) <= neighbours."""
    return (1 + math.isqrt(1 + 4 * neighbours)) // 2


def _icmp(facts: Facts) -> Iterator[Finding]:
    """The bucket is each namespace's own from 6.12 on; before, a new namespace does not show it."""
    key = "net.ipv4.icmp_msgs_per_sec"
    if key in facts.scratch:
        yield ICMP_OWN.about(_settings, "ICMP")
    elif facts.scratch and key in facts.settings:
        burst = facts.settings.get("net.ipv4.icmp_msgs_burst", "?")
        yield ICMP_SHARED.about(_settings, "ICMP", most=facts.settings[key], burst=burst)
    yield ICMP_EACH.about(_settings, "ICMP of a node")


def _log(facts: Facts) -> Iterator[Finding]:
    cost, burst = _number(facts, "net.core.message_cost"), _number(facts, "net.core.message_burst")
    if cost is None:
        return
    sentence = LOG_SLOW if cost > PATIENCE else LOG_LIMIT if cost else LOG_FREE
    yield sentence.about(_settings, "kernel log", cost=cost, burst=burst, patience=2 * cost + 1)


def _limits(facts: Facts) -> Iterator[Finding]:
    if (most := _number(facts, "net.core.netdev_max_backlog")) is not None:
        yield (BACKLOG if most <= MANY_NODES else BACKLOG_LONG).about(_settings, "backlog", most=most)
    if (most := _number(facts, "fs.inotify.max_user_instances")) is not None:
        sentence = INSTANCES if most < FEW_INSTANCES else INSTANCES_ENOUGH
        yield sentence.about(_settings, "inotify", most=most, wanted=FEW_INSTANCES)
    if facts.files is not None:
        yield (FEW_FILES if facts.files < MANY_NODES + 24 else FILES).about(_settings, "open files", most=facts.files)
    if facts.processes is not None:
        sentence = FEW_PROCESSES_HERE if facts.processes < FEW_PROCESSES else PROCESSES
        yield sentence.about(_settings, "processes", most=facts.processes)
    yield from _namespaces(facts)


def _namespaces(facts: Facts) -> Iterator[Finding]:
    keys = [f"user.max_{kind}_namespaces" for kind in NAMESPACES]
    numbers = {key: most for key in keys if (most := _number(facts, key)) is not None}
    if not numbers:
        return
    key = min(numbers, key=numbers.__getitem__)
    sentence = NAMESPACES_FEW if numbers[key] < MANY_NODES else NAMESPACES_ENOUGH
    yield sentence.about(_settings, "namespaces", key=key, most=numbers[key])


def _defaults(facts: Facts) -> Iterator[Finding]:
    inherit = facts.settings.get("net.core.devconf_inherit_init_net")
    if inherit in ("1", "3"):
        whose = "the initial one" if inherit == "1" else "the one they are made in"
        yield INHERIT.about(_settings, "defaults", value=inherit, whose=whose)
    copied = facts.deviations
    if copied is None:
        yield DEFAULTS_UNTRIED.about(_settings, "defaults")
    elif copied:
        names = ", ".join(copied[:4]) + (" …" if len(copied) > 4 else "")
        yield COPIED.about(_settings, "defaults", count=len(copied), names=names)
    else:
        yield NOT_COPIED.about(_settings, "defaults")
    congestion = facts.settings.get("net.ipv4.tcp_congestion_control", "cubic")
    if congestion != "cubic":
        yield CONGESTION.about(_settings, "TCP", value=congestion)


def _others(facts: Facts) -> Iterator[Finding]:
    if "net.bridge.bridge-nf-call-iptables" in facts.settings:
        yield BRIDGE_FILTER.about(_settings, "bridges")
    for name in facts.managers:
        yield (SETTER if name in SETTERS else MANAGER).about(_settings, name, name=name)


def _number(facts: Facts, key: str) -> int | None:
    text = facts.settings.get(key, "")
    return int(text) if text.isdigit() else None
