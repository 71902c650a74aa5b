"""Jumbo frames and router advertisements: why 8000 bytes pass by IPv4 and not by IPv6.

All links carry 9000 bytes, and a router advertises an MTU of 1500 (RFC 4861, section 4.6.4). Each host takes it for all of
IPv6 on that interface (net/ipv6/ndisc.c, ndisc_router_discovery), while the link and IPv4 keep 9000.

A text of 2012 tells of this. What it says and today's kernel does:

- It sees ICMPV6_PKT_TOOBIG come. Today nothing is sent at all: the sender's own kernel refuses (EMSGSIZE), and only what must
  not be fragmented; the rest goes in fragments.
- It reads the MTU from `ip -6 route`. Today only the default route by the router shows it; the sysctl conf.DEVICE.mtu tells.
- Its only cure is accept_ra=0 and addresses by DHCPv6. Since Linux 4.0 accept_ra_mtu=0 does as well and keeps the rest of the
  advertisement. Neither gives back what an earlier advertisement has taken.
"""

from __future__ import annotations

import errno
import re
import socket

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6ND_RA,
    ICMPv6NDOptMTU,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether

from lab import Lab, Node, sockopts
from lab.observe.conditions import Carriers, Counted, SysctlIs, Usable

LINK, ADVERTISED = 9000, 1500  # bytes
DATA = 8000  # bytes of data in a packet, beside 8 of ICMP or UDP
PER_FRAGMENT = (ADVERTISED - 40 - 8) // 8 * 8  # RFC 8200: after the header and the fragment header, in units of 8 bytes
V6, MTU = "net.ipv6.conf.eth0", "net.ipv6.conf.eth0.mtu"
DISCARD = 9  # the port of RFC 863, where nobody listens
B4, B6 = "10.0.0.3", "2001:db8::3"
AT_ONCE = 1.0  # seconds: what the kernel does with an advertisement is done before the next packet
HEARD = "Icmp6InRouterAdvertisements"


def mtu(host: Node) -> int:
    """What IPv6 takes for the MTU of eth0."""
    return int(host.sysctl[MTU])


def link_mtu(host: Node) -> int:
    found = re.search(r" mtu (\d+)", host.run(["ip", "link", "show", "dev", "eth0"]).stdout)
    assert found
    return int(found[1])


def lowered(lab: Lab) -> tuple[Node, Node]:
    """Both hosts, once the advertisement has lowered their MTU; skips where it is the link's own."""
    if lab.record.params["ra_mtu"] == LINK:
        pytest.skip(f"ra_mtu={LINK}: what the router advertises is the link's own MTU, and lowers nothing")
    hosts = lab["a"], lab["b"]
    for host in hosts:
        host.wait(Counted(HEARD, 1))
        host.wait(SysctlIs(MTU, str(ADVERTISED)), AT_ONCE)
    return hosts


def lowered_for_good(lab: Lab) -> tuple[Node, Node]:
    """The same, and the router is gone: no further advertisement comes until `advertise`."""
    hosts = lowered(lab)
    lab["router"].services["radvd"].kill()
    return hosts


def advertise(lab: Lab, *hosts: Node) -> None:
    """The router comes back and advertises, once; when this returns the hosts have heard it and done with it."""
    radvd = lab["router"].services["radvd"]
    radvd.kill()
    before = [host.counters()[HEARD] for host in hosts]
    radvd.start()
    radvd.wait_ready()
    for host, heard in zip(hosts, before, strict=True):
        host.wait(Counted(HEARD, heard + 1))


def restore(*hosts: Node) -> None:
    for host in hosts:
        host.sysctl[MTU] = str(LINK)


def passes(host: Node, address: str) -> bool:
    """Whether an echo request with 8000 bytes, which nobody may fragment, is answered."""
    return host.run(["ping", "-c1", "-W5", "-Mdo", f"-s{DATA}", address], check=False).status == 0


def refused(host: Node, address: str, size: int = DATA) -> bool:
    """Whether the host itself refuses to send so much by UDP where it must not be fragmented: EMSGSIZE, at once."""
    with host.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sockopts.discover_path_mtu(sock, sockopts.PMTUDISC_DO)
        sock.connect((address, DISCARD))
        try:
            sock.send(bytes(size))
        except OSError as error:
            assert (error.errno, sockopts.path_mtu(sock)) == (errno.EMSGSIZE, ADVERTISED)
            return True
        return False


@pytest.mark.lab("ra-mtu", ra_mtu=0)
def test_without_the_option_8000_bytes_pass(lab: Lab) -> None:
    """With an advertisement that names no MTU, 8000 bytes pass unfragmented by IPv4 and IPv6."""
    jumbo_frames_pass(lab["a"])


@pytest.mark.lab("ra-mtu", ra_mtu=9000)
def test_the_links_own_mtu_is_harmless(lab: Lab) -> None:
    """With an advertisement of the link's own MTU, 8000 bytes pass unfragmented by IPv4 and IPv6."""
    jumbo_frames_pass(lab["a"])


def jumbo_frames_pass(host: Node) -> None:
    host.wait(Counted(HEARD, 1))
    assert learnt(host)
    assert mtu(host) == link_mtu(host) == LINK
    assert passes(host, B4)
    assert passes(host, B6)


@pytest.mark.lab("ra-mtu")
def test_the_advertisement_lowers_ipv6_alone(lab: Lab) -> None:
    """An advertisement of MTU 1500 lowers the MTU of IPv6 on every host, and the link keeps 9000."""
    hosts = lowered(lab)
    assert [link_mtu(host) for host in hosts] == [LINK, LINK]


@pytest.mark.lab("ra-mtu")
def test_only_the_default_route_shows_it(lab: Lab) -> None:
    """In `ip -6 route` only the default route by the router shows the MTU, though it binds the neighbours' packets as well."""
    a, _b = lowered(lab)
    showing = [line for line in a.run(["ip", "-6", "route"]).stdout.splitlines() if "mtu" in line]
    assert [line.split()[0] for line in showing] == ["default"]
    assert f"mtu {ADVERTISED}" in showing[0]
    assert refused(a, B6)


@pytest.mark.lab("ra-mtu")
def test_what_must_not_be_fragmented_is_refused_at_home(lab: Lab) -> None:
    """8000 bytes that must not be fragmented are refused by the sender's own kernel: no packet, no Packet Too Big."""
    a, _b = lowered_for_good(lab)
    with lab.capture("a:eth0", filter="ip6") as wire:
        assert refused(a, B6)
        a.run(["ping", "-c1", B6])
        wire.never(lambda p: UDP in p or ICMPv6PacketTooBig in p, "either", until=lambda p: ICMPv6EchoReply in p)
        restore(a)
        assert not refused(a, B6)
        wire.expect(lambda p: UDP in p and p[UDP].len == 8 + DATA, "the same packet with the MTU restored")


@pytest.mark.lab("ra-mtu")
def test_what_may_be_fragmented_goes_in_fragments(lab: Lab) -> None:
    """8000 bytes that may be fragmented arrive in six fragments of 1500 bytes at most."""
    a, b = lowered(lab)
    with lab.capture("b:eth0", filter="ip6") as wire:
        a.run(["ping", "-c1", f"-s{DATA}", B6])
        wire.expect(lambda p: p.frame.sent and IPv6ExtHdrFragment in p, "the answer")
    fragments = wire.all(lambda p: not p.frame.sent and IPv6ExtHdrFragment in p)
    assert len(fragments) == -(-(DATA + 8) // PER_FRAGMENT) == a.counters()["Ip6FragCreates"]
    assert max(len(bytes(p[IPv6])) for p in fragments) <= ADVERTISED
    assert b.counters()["Ip6ReasmOKs"] == 1


@pytest.mark.lab("ra-mtu")
def test_what_fits_passes_in_one_packet(lab: Lab) -> None:
    """What fits into the lowered MTU to the byte is sent in one packet; one byte more is refused."""
    a, _b = lowered(lab)
    room = ADVERTISED - 40 - 8
    assert [refused(a, B6, size) for size in (room, room + 1)] == [False, True]


@pytest.mark.lab("ra-mtu")
def test_ipv4_is_untouched(lab: Lab) -> None:
    """By IPv4 8000 bytes still pass in one packet, which nobody may fragment, while by IPv6 they do not."""
    a, _b = lowered(lab)
    with lab.capture("b:eth0", filter="icmp") as wire:
        assert passes(a, B4)
        request = wire.expect(lambda p: ICMP in p and p[ICMP].type == 8, "the request")
    assert (request[IP].len, str(request[IP].flags)) == (20 + 8 + DATA, "DF")
    assert refused(a, B6)


@pytest.mark.lab("ra-mtu")
def test_it_outlives_the_router(lab: Lab) -> None:
    """The MTU stays low when the router is gone, when accept_ra is set to 0, and when the link's MTU is set to what it is."""
    a, b = lowered_for_good(lab)
    for host in (a, b):
        host.sysctl[f"{V6}.accept_ra"] = "0"
        host.run(["ip", "link", "set", "eth0", "mtu", str(LINK)])
    assert (mtu(a), mtu(b)) == (ADVERTISED, ADVERTISED)
    assert refused(a, B6)
    restore(a, b)
    assert passes(a, B6)


@pytest.mark.lab("ra-mtu")
def test_a_real_change_of_the_links_mtu_restores_it(lab: Lab) -> None:
    """A real change of the link's MTU, 9000 to 8999 and back, restores it until the next advertisement."""
    a, b = lowered_for_good(lab)
    for size in (LINK - 1, LINK):
        a.run(["ip", "link", "set", "eth0", "mtu", str(size)])
        assert (mtu(a), mtu(b)) == (size, ADVERTISED)
    advertise(lab, a)
    a.wait(SysctlIs(MTU, str(ADVERTISED)), AT_ONCE)


@pytest.mark.lab("ra-mtu")
def test_raising_the_link_anew_restores_it(lab: Lab) -> None:
    """Taking the link down and raising it restores it until the next advertisement."""
    a, b = lowered_for_good(lab)
    for state in ("down", "up"):
        a.run(["ip", "link", "set", "eth0", state])
    a.wait(SysctlIs(MTU, str(LINK)), AT_ONCE)  # once it has its carrier
    assert (mtu(a), mtu(b)) == (LINK, ADVERTISED)
    advertise(lab, a)
    a.wait(SysctlIs(MTU, str(ADVERTISED)), AT_ONCE)


@pytest.mark.lab("ra-mtu")
def test_writing_the_sysctl_restores_it(lab: Lab) -> None:
    """Writing net.ipv6.conf.eth0.mtu restores it until the next advertisement, and 8000 bytes pass meanwhile."""
    a, b = lowered_for_good(lab)
    assert refused(a, B6)
    restore(a, b)
    assert passes(a, B6)
    advertise(lab, a)
    a.wait(SysctlIs(MTU, str(ADVERTISED)), AT_ONCE)


@pytest.mark.lab("ra-mtu")
def test_accept_ra_0_and_the_mtu_restored_cure_a_host(lab: Lab) -> None:
    """accept_ra=0 with the MTU restored cures a host; its neighbour is lowered again by the same advertisement."""
    lowered_for_good(lab)
    assert after_the_next(lab, accept_ra=0) == (LINK, ADVERTISED)


@pytest.mark.lab("ra-mtu")
def test_accept_ra_mtu_0_and_the_mtu_restored_cure_a_host(lab: Lab) -> None:
    """accept_ra_mtu=0 with the MTU restored cures a host; its neighbour is lowered again by the same advertisement."""
    lowered_for_good(lab)
    assert after_the_next(lab, accept_ra_mtu=0) == (LINK, ADVERTISED)


@pytest.mark.lab("ra-mtu")
def test_a_host_that_forwards_is_cured_unless_accept_ra_is_2(lab: Lab) -> None:
    """A host that forwards ignores advertisements with accept_ra=1 and keeps its MTU; with accept_ra=2 it takes them."""
    lowered_for_good(lab)
    assert after_the_next(lab, forwarding=1) == (LINK, ADVERTISED)
    assert after_the_next(lab, forwarding=1, accept_ra=2) == (ADVERTISED, ADVERTISED)


def after_the_next(lab: Lab, **settings: int) -> tuple[int, int]:
    """The MTU of both hosts after the next advertisement, both restored before, and `a` with these sysctls of eth0."""
    a, b = lab["a"], lab["b"]
    for name, value in settings.items():
        a.sysctl[f"{V6}.{name}"] = str(value)
    restore(a, b)
    advertise(lab, a, b)
    b.wait(SysctlIs(MTU, str(ADVERTISED)), AT_ONCE)
    return mtu(a), mtu(b)


@pytest.mark.lab("ra-mtu")
def test_all_accept_ra_does_nothing_for_a_device_that_is_there(lab: Lab) -> None:
    """conf.all.accept_ra=0 does not cure: a device that exists goes by its own accept_ra."""
    a, b = lowered_for_good(lab)
    a.sysctl["net.ipv6.conf.all.accept_ra"] = "0"
    restore(a, b)
    advertise(lab, a, b)
    a.wait(SysctlIs(MTU, str(ADVERTISED)), AT_ONCE)


@pytest.mark.lab("ra-mtu")
def test_default_accept_ra_cures_devices_that_are_made_later(lab: Lab) -> None:
    """conf.default.accept_ra=0 cures a device that is made afterwards, and conf.all.accept_ra=0 does not."""
    host = lab["a"]
    lab["router"].services["radvd"].kill()  # whose advertisements on eth0 would be counted as well
    found = {}
    for number, scope in enumerate(("all", "default")):
        host.sysctl[f"net.ipv6.conf.{scope}.accept_ra"] = "0"
        found[scope] = mtu_of_a_new_device(host, f"new{number}")
    assert found == {"all": ADVERTISED, "default": LINK}


def mtu_of_a_new_device(host: Node, device: str) -> int:
    """The MTU of IPv6 on a device that is made now, once it has heard an advertisement that its far end sends."""
    host.run(["ip", "link", "add", device, "mtu", str(LINK), "type", "veth", "peer", "name", f"{device}far"])
    for end in (f"{device}far", device):
        host.run(["ip", "link", "set", end, "up"])
    host.wait(Carriers((device, f"{device}far")))  # before it is told of a carrier a device drops what it shall send
    heard = host.counters()[HEARD]
    to, sender = "ff02::1", "fe80::1"
    told = IPv6(dst=to, src=sender, hlim=255) / ICMPv6ND_RA() / ICMPv6NDOptMTU(mtu=ADVERTISED)
    host.send(f"{device}far", bytes(Ether(dst="33:33:00:00:00:01") / told))
    host.wait(Counted(HEARD, heard + 1))
    return int(host.sysctl[f"net.ipv6.conf.{device}.mtu"])


@pytest.mark.lab("ra-mtu", accept_ra=0)
def test_with_accept_ra_0_a_host_takes_nothing(lab: Lab) -> None:
    """With accept_ra=0 a host keeps its MTU and gets neither a default route nor an address from the router."""
    a = lab["a"]
    advertise(lab, a)
    assert mtu(a) == LINK
    assert not learnt(a)
    assert passes(a, B6)


@pytest.mark.lab("ra-mtu", accept_ra_mtu=0)
def test_with_accept_ra_mtu_0_a_host_takes_the_rest(lab: Lab) -> None:
    """With accept_ra_mtu=0 a host keeps its MTU, and gets its default route and an address from the router."""
    a = lab["a"]
    advertise(lab, a)
    assert learnt(a)
    assert mtu(a) == LINK
    assert passes(a, B6)


def learnt(host: Node) -> bool:
    """Whether it has both a default route and an address from a router."""
    by_router = "proto ra" in host.run(["ip", "-6", "route", "show", "default"]).stdout
    made_up = "dynamic" in host.run(["ip", "-6", "address", "show", "dev", "eth0", "scope", "global"]).stdout
    assert by_router == made_up, "a default route without an address, or the reverse"
    return by_router


@pytest.mark.lab("ra-mtu", accept_ra=0, dhcp6="dnsmasq")
def test_dnsmasq_gives_addresses_where_advertisements_are_off(lab: Lab) -> None:
    """With accept_ra=0 dnsmasq's DHCPv6 gives each host an address, which reaches its neighbour with 8000 bytes."""
    reaches_its_neighbour_by_dhcpv6(lab)


@pytest.mark.lab("ra-mtu", accept_ra=0, dhcp6="kea")
def test_kea_gives_addresses_where_advertisements_are_off(lab: Lab) -> None:
    """With accept_ra=0 Kea's DHCPv6 gives each host an address, which reaches its neighbour with 8000 bytes."""
    reaches_its_neighbour_by_dhcpv6(lab)


def reaches_its_neighbour_by_dhcpv6(lab: Lab) -> None:
    """DHCPv6 leases a /128 without any route: what is on the link is the router's to say (RFC 5942), so here it is ours."""
    a, b = lab["a"], lab["b"]
    theirs = leased(b)
    assert leased(a) != theirs
    b.wait(Usable("eth0", theirs))
    assert "unreachable" in a.run(["ping", "-c1", theirs], check=False).stderr.lower()
    for host in (a, b):
        host.run(["ip", "route", "add", "2001:db8::/64", "dev", "eth0"])
    assert (mtu(a), mtu(b)) == (LINK, LINK)
    assert passes(a, theirs)


def leased(host: Node) -> str:
    said = host.run(["ip", "-6", "address", "show", "dev", "eth0"]).stdout
    (found,) = re.findall(r"inet6 (2001:db8::1[0-9a-f]{2})/128", said)
    return str(found)


@pytest.mark.lab("ra-mtu", dhcp6="dnsmasq")
def test_dhcpv6_alone_does_not_cure(lab: Lab) -> None:
    """An address by DHCPv6 beside accepted advertisements does not help: the MTU is lowered all the same."""
    a, b = lowered(lab)
    theirs = leased(b)
    assert leased(a) != theirs
    b.wait(Usable("eth0", theirs))
    assert refused(a, theirs)
    a.run(["ping", "-c1", theirs])
