"""What every new namespace starts from: the kernel's own defaults, whatever the host was set to.

A new namespace copies the IPv4 settings of the initial one (net/ipv4/devinet.c, devinet_init_net), the IPv6 settings only
where net.core.devconf_inherit_init_net says so, and each of its devices the neighbour settings of the initial one
(net/core/neighbour.c, neigh_parms_alloc). So a host with rp_filter on, or with hasty neighbours, would leak into every lab.
The first namespace of a lab shows what was copied; what differs from the kernel's compiled-in value is written in each,
before its first link, and for its devices before they are configured.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.substrate import namespaces

SYSCTL = Path("/proc/sys")
_NET = SYSCTL / "net"

# net/ipv4/devinet.c: ipv4_devconf and ipv4_devconf_dflt. Forwarding first: the kernel resets others when it changes.
_IPV4 = {
    "forwarding": "0",
    "accept_redirects": "1",
    "secure_redirects": "1",
    "send_redirects": "1",
    "shared_media": "1",
    "rp_filter": "0",
    "log_martians": "0",
    "src_valid_mark": "0",
    "accept_local": "0",
    "route_localnet": "0",
    "arp_filter": "0",
    "arp_announce": "0",
    "arp_ignore": "0",
    "arp_accept": "0",
    "arp_notify": "0",
    "arp_evict_nocarrier": "1",
    "bc_forwarding": "0",
    "drop_gratuitous_arp": "0",
    "drop_unicast_in_l2_multicast": "0",
    "ignore_routes_with_linkdown": "0",
    "promote_secondaries": "0",
    "proxy_arp": "0",
    "proxy_arp_pvlan": "0",
    "bootp_relay": "0",
    "disable_policy": "0",
    "disable_xfrm": "0",
    "force_igmp_version": "0",
    "igmpv2_unsolicited_report_interval": "10000",
    "igmpv3_unsolicited_report_interval": "1000",
    "medium_id": "0",
    "tag": "0",
}
# net/ipv6/addrconf.c: ipv6_devconf and ipv6_devconf_dflt.
_IPV6 = {
    "forwarding": "0",
    "accept_ra": "1",
    "accept_ra_defrtr": "1",
    "accept_ra_from_local": "0",
    "accept_ra_min_hop_limit": "1",
    "accept_ra_min_lft": "0",
    "accept_ra_mtu": "1",
    "accept_ra_pinfo": "1",
    "accept_ra_rt_info_max_plen": "0",
    "accept_ra_rt_info_min_plen": "0",
    "accept_ra_rtr_pref": "1",
    "accept_redirects": "1",
    "accept_source_route": "0",
    "accept_untracked_na": "0",
    "addr_gen_mode": "0",
    "autoconf": "1",
    "dad_transmits": "1",
    "disable_ipv6": "0",
    "disable_policy": "0",
    "drop_unicast_in_l2_multicast": "0",
    "drop_unsolicited_na": "0",
    "enhanced_dad": "1",
    "force_forwarding": "0",
    "force_mld_version": "0",
    "force_tllao": "0",
    "hop_limit": "64",
    "ignore_routes_with_linkdown": "0",
    "ioam6_enabled": "0",
    "ioam6_id": "65535",
    "ioam6_id_wide": "4294967295",
    "keep_addr_on_down": "0",
    "max_addresses": "16",
    "max_desync_factor": "600",
    "mldv1_unsolicited_report_interval": "10000",
    "mldv2_unsolicited_report_interval": "1000",
    "ndisc_evict_nocarrier": "1",
    "ndisc_notify": "0",
    "ndisc_tclass": "0",
    "optimistic_dad": "0",
    "proxy_ndp": "0",
    "ra_defrtr_metric": "1024",
    "ra_honor_pio_life": "0",
    "ra_honor_pio_pflag": "0",
    "regen_max_retry": "3",
    "regen_min_advance": "2",
    "router_probe_interval": "60",
    "router_solicitation_delay": "1",
    "router_solicitation_interval": "4",
    "router_solicitation_max_interval": "3600",
    "router_solicitations": "-1",
    "rpl_seg_enabled": "0",
    "seg6_enabled": "0",
    "seg6_require_hmac": "0",
    "suppress_frag_ndisc": "1",
    "temp_prefered_lft": "86400",
    "temp_valid_lft": "604800",
    "use_oif_addrs_only": "0",
    "use_optimistic": "0",
}
# lo is born with its namespace, from the copied default. What it has otherwise is its own: xfrm and policies never apply to
# it (net/ipv4/devinet.c, inetdev_event), nor duplicate detection and temporary addresses (net/ipv6/addrconf.c, ipv6_add_dev).
_IPV4_CONF = {
    "all": _IPV4 | {"accept_source_route": "0"},
    "default": _IPV4 | {"accept_source_route": "1"},
    "lo": {key: value for key, value in _IPV4.items() if key not in ("disable_policy", "disable_xfrm")}
    | {"accept_source_route": "1"},
}
_IPV6_CONF = {
    "all": _IPV6 | {"accept_dad": "0", "use_tempaddr": "0"},
    "default": _IPV6 | {"accept_dad": "1", "use_tempaddr": "0"},
    "lo": _IPV6,
}
# net/ipv4/arp.c, arp_tbl, and net/ipv6/ndisc.c, nd_tbl. unres_qlen_bytes is SK_WMEM_MAX, which depends on the architecture.
_NEIGHBOUR = {
    "app_solicit": "0",
    "mcast_solicit": "3",
    "mcast_resolicit": "0",
    "ucast_solicit": "3",
    "retrans_time_ms": "1000",
    "base_reachable_time_ms": "30000",
    "delay_first_probe_time": "5",
    "interval_probe_time_ms": "5000",
    "gc_stale_time": "60",
    "proxy_qlen": "64",
    "anycast_delay": "100",
    "proxy_delay": "80",
}
_NEIGHBOURS = {"ipv4": _NEIGHBOUR | {"locktime": "100"}, "ipv6": _NEIGHBOUR | {"locktime": "0"}}

_LONGEST = 64  # bytes; each is one number

Setting = tuple[Path, str]


@dataclass(frozen=True, slots=True)
class Deviations:
    """What new namespaces of this host have otherwise than the kernel's defaults: `own` to be written in each as it is new,
    `neighbour` (family, key, value) for each device."""

    own: tuple[Setting, ...]
    neighbour: tuple[tuple[str, str, str], ...]

    def of_device(self, name: str) -> Iterator[Setting]:
        for family, key, value in self.neighbour:
            yield _NET / family / "neigh" / name / key, value


def deviations(foreign: bool = False, ipv6: bool = True) -> Deviations:
    """As the new namespace of the calling thread shows them; a key that this kernel lacks is left out. `foreign`: one that
    somebody else made and has set as he likes, as Docker does with disable_ipv6. `ipv6`: as `copies_ipv6` says of the host."""
    families = {"ipv4": _IPV4_CONF} | ({"ipv6": _IPV6_CONF} if foreign or ipv6 else {})
    places = [(_NET / family / "conf" / place, table) for family, conf in families.items() for place, table in conf.items()]
    return Deviations(
        tuple((place / key, value) for place, table in places for key, value, _ in _differing(place, table)),
        tuple(
            (family, key, value)
            for family, table in _NEIGHBOURS.items()
            for key, value, _ in _differing(_NET / family / "neigh" / "lo", table)
        ),
    )


def left_as_on_host(shown: Callable[[], bool] | None = None) -> list[str]:
    """Neighbour settings of the host that no namespace of this process can be rid of; to be called in the host's own.

    Each device copies them, and up to Linux 5.15 the kernel shows them in no namespace of another user namespace than the
    initial one, `shown` there or not (net/core/neighbour.c, neigh_sysctl_register)."""
    different = [
        f"net.{family}.neigh.default.{key} = {found}"
        for family, table in _NEIGHBOURS.items()
        for key, _, found in _differing(_NET / family / "neigh" / "default", table)
    ]
    return different if different and not (shown or _shown_in_new_ones)() else []


def _shown_in_new_ones() -> bool:
    return namespaces.inside_scratch((_NET / "ipv4" / "neigh" / "lo").exists)


def copies_ipv6() -> bool:
    """0 and 2 give a new namespace the kernel's own IPv6 settings; the key is not to be seen from within another namespace than
    the initial one."""
    with contextlib.suppress(FileNotFoundError):
        return (_NET / "core" / "devconf_inherit_init_net").read_text().strip() not in ("0", "2")
    return True


def _differing(place: Path, table: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Key, value of `table` and what is found, where they differ. Some hundred files are read so for every lab: by the shortest
    way."""
    try:
        folder = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        for key, value in table.items():
            found = _read(folder, key)
            if found is not None and found != value:
                yield key, value, found
    finally:
        os.close(folder)


def _read(folder: int, key: str) -> str | None:
    try:
        fd = os.open(key, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, _LONGEST).decode().strip()
    finally:
        os.close(fd)


def write(path: Path, value: str) -> None:
    """One sysctl of the calling thread's namespace. Raises OSError: ENOENT unknown here, EINVAL refused, EROFS, EACCES."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def write_all(settings: Iterator[Setting]) -> None:
    """Several, of a device that perhaps has no IPv6."""
    for path, value in settings:
        with contextlib.suppress(FileNotFoundError):
            write(path, value)
