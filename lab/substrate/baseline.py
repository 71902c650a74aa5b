"""What every new namespace starts from: the kernel's own defaults, whatever the host was set to.

A new namespace copies the IPv4 settings of the initial one (net/ipv4/devinet.c, devinet_init_net; sysctl
net.core.devconf_inherit_init_net), so that a host with rp_filter or forwarding on would leak into every lab. The first
namespace of a lab shows what was copied; what differs from the kernel's compiled-in value is written in each, before
its first link.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SYSCTL = Path("/proc/sys")

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
    "tag": "0",
}
# net/ipv6/addrconf.c: ipv6_devconf and ipv6_devconf_dflt.
_IPV6 = {
    "forwarding": "0",
    "accept_ra": "1",
    "accept_ra_defrtr": "1",
    "accept_ra_mtu": "1",
    "accept_ra_pinfo": "1",
    "accept_redirects": "1",
    "accept_source_route": "0",
    "addr_gen_mode": "0",
    "autoconf": "1",
    "dad_transmits": "1",
    "disable_ipv6": "0",
    "drop_unicast_in_l2_multicast": "0",
    "drop_unsolicited_na": "0",
    "enhanced_dad": "1",
    "ignore_routes_with_linkdown": "0",
    "keep_addr_on_down": "0",
    "ndisc_notify": "0",
    "optimistic_dad": "0",
    "proxy_ndp": "0",
    "router_solicitations": "-1",
    "suppress_frag_ndisc": "1",
    "use_oif_addrs_only": "0",
    "use_optimistic": "0",
    "use_tempaddr": "0",
}
_ALL = (
    ("ipv4", _IPV4 | {"accept_source_route": "0"}),
    ("ipv6", _IPV6 | {"accept_dad": "0"}),
)
_DEFAULT = (
    ("ipv4", _IPV4 | {"accept_source_route": "1"}),
    ("ipv6", _IPV6 | {"accept_dad": "1"}),
)
# lo is born with its namespace, from the copied default; xfrm never applies to it (net/ipv4/devinet.c, inetdev_event).
_LO = (("ipv4", {key: value for key, value in _IPV4.items() if key not in ("disable_policy", "disable_xfrm")}),)

Setting = tuple[Path, str]


def _wished() -> Iterator[Setting]:
    for which, families in (("all", _ALL), ("default", _DEFAULT), ("lo", _LO)):
        for family, table in families:
            yield from ((SYSCTL / "net" / family / "conf" / which / key, value) for key, value in table.items())


def deviations() -> list[Setting]:
    """What the namespace of the calling thread has otherwise than the baseline wants; a key this kernel lacks is left out."""
    return [(path, value) for path, value in _wished() if (now := _read(path)) is not None and now != value]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def write(path: Path, value: str) -> None:
    """One sysctl of the calling thread's namespace. Raises OSError: ENOENT unknown here, EINVAL refused, EROFS, EACCES."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
