"""Facts -> findings about the kernel's features, and what trying them did; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.doctor.facts import Facts
from lab.doctor.finding import Finding, Section, lacking, note, ok

if TYPE_CHECKING:
    from lab.substrate.features import Answer


@dataclass(frozen=True, slots=True)
class Use:
    """What a feature is for, the kernel's option and the module that bring it (empty where it is never a module)."""

    purpose: str
    option: str
    module: str = ""


USES = {
    "veth": Use("every link", "CONFIG_VETH", "veth"),
    "bridge": Use("switches", "CONFIG_BRIDGE", "bridge"),
    "vlan_filtering": Use("switches with VLANs on their ports", "CONFIG_BRIDGE_VLAN_FILTERING"),
    "vlan": Use("interfaces in a VLAN (802.1Q, 802.1ad)", "CONFIG_VLAN_8021Q", "8021q"),
    "dummy": Use("addresses that belong to no link (VIPA)", "CONFIG_DUMMY", "dummy"),
    "bond": Use("bonding", "CONFIG_BONDING", "bonding"),
    "vrf": Use("VRFs", "CONFIG_NET_VRF", "vrf"),
    "vxlan": Use("VXLAN tunnels", "CONFIG_VXLAN", "vxlan"),
    "macvlan": Use("macvlan interfaces", "CONFIG_MACVLAN", "macvlan"),
    "ipvlan": Use("ipvlan interfaces that commands on nodes make", "CONFIG_IPVLAN", "ipvlan"),
    "macsec": Use("MACsec (802.1AE) that commands on nodes set up", "CONFIG_MACSEC", "macsec"),
    "wireguard": Use("WireGuard tunnels that commands on nodes set up", "CONFIG_WIREGUARD", "wireguard"),
    "ifb": Use("ifb interfaces: shaping what comes in", "CONFIG_IFB", "ifb"),
    "tun": Use("VPN daemons and virtual machines on nodes (/dev/net/tun)", "CONFIG_TUN", "tun"),
    "netem": Use("`netem:` of a link: delay, loss, duplication, order", "CONFIG_NET_SCH_NETEM", "sch_netem"),
    "tbf": Use("`netem:` with a rate alone, where netem itself lacks", "CONFIG_NET_SCH_TBF", "sch_tbf"),
    "ipv6": Use("IPv6 addresses, router advertisements", "CONFIG_IPV6, and a boot without ipv6.disable=1"),
    "anycast": Use("IPv6 anycast groups that programs join", "CONFIG_IPV6"),
    "tcp_md5": Use("TCP with MD5 signatures (BGP, RFC 2385)", "CONFIG_TCP_MD5SIG"),
    "tcp_ao": Use("TCP with authentication (BGP, RFC 5925)", "CONFIG_TCP_AO"),
    "transparent": Use("transparent proxies (IP_TRANSPARENT)", "CONFIG_INET"),
    "mptcp": Use("Multipath TCP", "CONFIG_MPTCP"),
    "nf_tables": Use("firewalls, NAT and TPROXY on nodes (nftables)", "CONFIG_NF_TABLES", "nf_tables"),
    "openvswitch": Use("Open vSwitch's datapath in the kernel", "CONFIG_OPENVSWITCH", "openvswitch"),
    "nfs": Use("mounts of NFSv4 on nodes", "CONFIG_NFS_V4", "nfsv4"),
    "nfsd": Use("NFS servers on nodes", "CONFIG_NFSD", "nfsd"),
    "drop_monitor": Use("watching dropped packets (drop_monitor)", "CONFIG_NET_DROP_MONITOR", "drop_monitor"),
    "drop_reasons": Use("the reason of each drop (tracing of skb:kfree_skb)", "CONFIG_TRACEPOINTS, from Linux 5.17 on"),
    "martian_log": Use("log_martians: a line of the kernel's log for each martian", "CONFIG_IP_ROUTE_VERBOSE"),
    "btf": Use("BPF programs that fit every kernel (BTF)", "CONFIG_DEBUG_INFO_BTF"),
}

THERE = ok("feature.there", "there", "for {purpose}")
BUILT_WITHOUT = lacking(
    "feature.built-without",
    "not there, and this kernel loads no modules",
    "not possible: {purpose}",
    "boot a kernel with {option}",
)
NO_MODULE = lacking(
    "feature.no-module",
    "not there: the kernel found no module {module}",
    "not possible: {purpose}",
    "modprobe {module}; where that fails install the modules of kernel {release} (Ubuntu: linux-modules-extra-{release})",
)
NOT_BUILT = lacking(
    "feature.not-built", "not there, and it is never a module", "not possible: {purpose}", "boot a kernel with {option}"
)
UNTRIED = note("feature.untried", "could not be tried: {why}", "not known: {purpose}", "ask as root of the host")
NOTHING_TRIED = note(
    "features.untried",
    "no feature could be tried: {why}",
    "which links and filters this kernel has is not known",
    "ask as root: sudo lab doctor",
)
NO_MODULES_FOLDER = note(
    "modules.no-folder",
    "/lib/modules/{release} is not here",
    "the kernel can load no module for what is tried or built",
    "reboot after an upgrade of the kernel; in a container load modules on its host",
)
LOADED = note(
    "modules.loaded",
    "while {feature} was tried the kernel loaded {modules}",
    "it stays loaded; a lab that needs it would have loaded it as well",
    "where that is not wanted: modprobe -r {last}",
)
NONE_LOADED = ok("modules.none-loaded", "trying the features loaded no module")
MONOLITHIC = ok("modules.none", "this kernel loads no modules: trying changed nothing")
DEVICES = note(
    "modules.devices",
    "{devices} came into the host's own namespace while features were tried",
    "a module makes them when it is loaded (bonding, ifb); labs do not use them",
    "ip link delete, or keep them from being made: options bonding max_bonds=0, options ifb numifbs=0 in /etc/modprobe.d",
)

_kernel = Section.KERNEL


def judge(facts: Facts) -> Iterator[Finding]:
    kernel = facts.kernel
    if kernel.why:
        yield NOTHING_TRIED.about(_kernel, "features", why=kernel.why)
        return
    if facts.around.modular and not facts.around.modules_there:
        yield NO_MODULES_FOLDER.about(_kernel, "modules", release=facts.around.release)
    for name, use in USES.items():
        if name in kernel.answers:
            yield _feature(facts, name, use, kernel.answers[name])
    yield from _modules(facts)


def _feature(facts: Facts, name: str, use: Use, answer: Answer) -> Finding:
    shown, purpose = name.replace("_", " "), use.purpose
    if answer.there:
        return THERE.about(_kernel, shown, purpose=purpose)
    if answer.there is None:
        return UNTRIED.about(_kernel, shown, purpose=purpose, why=answer.why)
    if not facts.around.modular:
        return BUILT_WITHOUT.about(_kernel, shown, purpose=purpose, option=use.option)
    if not use.module:
        return NOT_BUILT.about(_kernel, shown, purpose=purpose, option=use.option)
    return NO_MODULE.about(_kernel, shown, purpose=purpose, module=use.module, release=facts.around.release)


def _modules(facts: Facts) -> Iterator[Finding]:
    loaded = {name: answer.modules for name, answer in facts.kernel.answers.items() if answer.modules}
    for name, modules in loaded.items():
        holes = {"feature": name.replace("_", " "), "modules": ", ".join(modules), "last": modules[-1]}
        yield LOADED.about(_kernel, "modules", **holes)
    if not loaded:
        yield (NONE_LOADED if facts.around.modular else MONOLITHIC).about(_kernel, "modules")
    if facts.kernel.devices:
        yield DEVICES.about(_kernel, "devices", devices=", ".join(facts.kernel.devices))
