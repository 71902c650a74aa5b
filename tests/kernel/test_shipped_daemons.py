"""The shipped roles with their real daemons: started, killed, restarted, mis-configured, and two labs side by side."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.nodes import until

from lab import Lab, StepError, TopologyError
from lab.node import Node
from lab.observe.conditions import Addressed, Anycast, Gone, Routed
from lab.services.living import Service

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
Up = Callable[..., contextlib.AbstractContextManager[Lab]]

ROUTED = """\
name: {name}
nodes:
  r: {{kind: router, services: {{radvd: {{PARAMS}}}}}}
  a: {{}}
links: [{{endpoints: ["r:eth0", "a:eth0"], nodad: true, addresses: {{r: "2001:db8:5::1/64"}}}}]
"""
NAMED = """\
name: {name}
nodes:
  s: {{services: {{dnsmasq: {{PARAMS}}}}}}
  a: {{}}
links: [{{endpoints: ["s:eth0", "a:eth0"], nodad: true, addresses: {{s: [10.0.0.1/24, "2001:db8::1/64"], a: 10.0.0.2/24}}}}]
"""
WEB = """\
name: {name}
nodes:
  s: {{services: {{http: {{PARAMS}}}}}}
  a: {{}}
links:
  - endpoints: ["s:eth0", "a:eth0"]
    nodad: true
    addresses: {{s: [10.0.0.1/24, "2001:db8::1/64"], a: [10.0.0.2/24, "2001:db8::2/64"]}}
"""
LEASED = """\
name: {name}
nodes:
  s:
    kind: router
    services:
      dnsmasq: {{dns: false, dhcp: ["10.0.0.100,10.0.0.199,1h"], dhcp6: ["2001:db8::100,2001:db8::1ff,64,1h"]}}
  a: {{services: {{dhcpcd: {{PARAMS}}}}}}
links: [{{endpoints: ["s:eth0", "a:eth0"], nodad: true, addresses: {{s: [10.0.0.1/24, "2001:db8::1/64"]}}}}]
"""
FLOATING = """\
name: {name}
nodes:
  a: {{services: {{keepalived: {{addresses: ["2001:db8::f/64"], interval: 0.1, PARAMS}}}}}}
  b: {{services: {{keepalived: {{addresses: ["2001:db8::f/64"], interval: 0.1, priority: 50}}}}}}
defaults: {{nodes: {{sysctls: {{net.ipv6.conf.default.accept_dad: 0}}}}}}
links: [{{endpoints: ["a:eth0", "b:eth0"]}}]
"""
GROUPED = """\
name: {name}
nodes:
  a:
    services:
      web: {{command: [python3, -c, "PROGRAM"], ready: {{file: pid}}}}
      anycast: {{group: "2001:db8::acac", PARAMS}}
  b: {{}}
links: [{{endpoints: ["a:eth0", "b:eth0"], nodad: true, addresses: {{a: "2001:db8::1/64", b: "2001:db8::2/64"}}}}]
"""
PROGRAM = "import os, signal; open('pid', 'w').write(str(os.getpid())); signal.pause()"
KEA = """\
name: {name}
nodes:
  s: {{services: {{kea-dhcp6: {{PARAMS}}}}}}
  a: {{services: {{dhcpcd: {{v4: false, v6: true}}}}}}
  b: {{services: {{dhcpcd: {{v4: false, v6: true}}}}}}
  sw: {{kind: switch}}
links:
  - {{endpoints: ["s:eth0", sw], nodad: true, addresses: {{s: "2001:db8::1/64"}}}}
  - {{endpoints: ["a:eth0", sw]}}
  - {{endpoints: ["b:eth0", sw]}}
"""
PEERS = """\
name: {name}
nodes:
  a:
    services: {{frr: {{FRR}}}}
    interfaces: {{vip: {{kind: dummy, otherwise: ifb, addresses: [10.1.0.1/32, "2001:db8:1::1/128"]}}}}
  b:
    services: {{OTHER: {{BIRD}}}}
    interfaces: {{vip: {{kind: dummy, otherwise: ifb, addresses: [10.2.0.2/32, "2001:db8:2::2/128"]}}}}
links:
  - endpoints: ["a:eth0", "b:eth0"]
    nodad: true
    addresses: {{a: [10.0.0.1/24, "2001:db8::1/64"], b: [10.0.0.2/24, "2001:db8::2/64"]}}
"""
OSPF = "ospf: [vip, eth0], ospf6: [vip, eth0], passive: [vip], hello: 1, dead: 4, retransmit: 2, router_id: 10.9.9.PLACE"
BGP = (
    "asn: 6500PLACE, router_id: 10.9.9.PLACE, networks: [10.PLACE.0.PLACE/32], connect: 1, bfd: 100,"
    " neighbours: {{10.0.0.OTHER: {{asn: 6500OTHER, password: secret}}}}"
)
UNSERVED = """\
name: {name}
nodes: {{s: {{}}, a: {{services: {{dhcpcd: {{timeout: 4}}}}}}}}
links: [{{endpoints: ["s:eth0", "a:eth0"]}}]
"""


@pytest.fixture
def up(topology: Write) -> Up:
    @contextlib.contextmanager
    def bring(text: str, params: str = "", **options: object) -> Iterator[Lab]:
        with Lab.up(topology(text.replace("PARAMS", params)), **options) as lab:  # type: ignore[arg-type]
            yield lab

    return bring


def addresses(node: Node, device: str = "eth0") -> str:
    return node.run(["ip", "address", "show", "dev", device, "scope", "global"]).stdout


def has(node: Node, pattern: str) -> None:
    until(f"{pattern} on {node.name}", lambda: re.search(pattern, addresses(node)) is not None)


ASK = """
import socket, sys
name, server, kind = sys.argv[1:]
labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
question = labels + bytes([0, 0, {"A": 1, "AAAA": 28}[kind], 0, 1])
s = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((server, 53))
s.send(bytes.fromhex("123401000001000000000000") + question)
answer = s.recv(1500)
count, code = int.from_bytes(answer[6:8], "big"), answer[3] & 15
size = 4 if kind == "A" else 16
print(socket.inet_ntop(socket.AF_INET if kind == "A" else socket.AF_INET6, answer[-size:]) if count else f"error {code}")
"""


def asked(node: Node, name: str, server: str, kind: str = "A") -> str:
    """What a DNS server answers to one question (RFC 1035): the address, or `error` and the response code."""
    return node.run(["python3", "-c", ASK, name, server, kind]).stdout.strip()


def fetched(node: Node, url: str) -> str:
    get = "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
    return node.run(["python3", "-c", get, url]).stdout


def is_restarted_after_sigkill(service: Service) -> None:
    first = service.state().pid
    assert service.kill() == -signal.SIGKILL
    assert str(service.state()) == "stopped (killed by SIGKILL)"
    service.start()
    service.wait_ready()
    assert service.state().pid not in (first, None)


def test_radvd_advertises_the_prefix_of_its_router_and_again_after_it_was_killed(up: Up) -> None:
    with up(ROUTED, "mtu: 1400") as lab:
        has(lab["a"], r"inet6 2001:db8:5:")
        assert "default via fe80::" in lab["a"].run(["ip", "-6", "route"]).stdout
        assert lab["a"].sysctl["net.ipv6.conf.eth0.mtu"] == "1400"
        is_restarted_after_sigkill(lab["r"].services["radvd"])
    with up(ROUTED, "autonomous: false") as lab:
        until("the route is there", lambda: "proto ra" in lab["a"].run(["ip", "-6", "route"]).stdout)
        assert "2001:db8:5:" not in addresses(lab["a"]), "without the A flag no address is made"


def test_radvd_that_was_mis_configured_fails_up_with_what_it_says(up: Up) -> None:
    """It refuses an MTU above that of its device, which no type of a parameter can know."""
    with pytest.raises(StepError, match=r"(?s)step failed on node r: start radvd.*its last lines:.*AdvLinkMTU"):
        up(ROUTED, "mtu: 9000").__enter__()
    with pytest.raises(TopologyError, match="'much' is not an int"):
        up(ROUTED, "mtu: much").__enter__()


def test_dnsmasq_knows_the_names_of_the_topology_and_again_after_it_was_killed(up: Up) -> None:
    with up(NAMED, "domain: lab.test") as lab:
        assert asked(lab["a"], "s.lab.test", "10.0.0.1") == "10.0.0.1"
        assert asked(lab["a"], "s.lab.test", "10.0.0.1", "AAAA") == "2001:db8::1"
        assert asked(lab["a"], "a.lab.test", "10.0.0.1") == "10.0.0.2"
        assert asked(lab["a"], "x.lab.test", "10.0.0.1") == "error 3"
        is_restarted_after_sigkill(lab["s"].services["dnsmasq"])
        assert asked(lab["a"], "a.lab.test", "10.0.0.1") == "10.0.0.2"


def test_dnsmasq_that_was_mis_configured_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)step failed on node s: start dnsmasq\n.*ended with status 1.*bad dhcp-range"):
        up(NAMED, 'dhcp: ["10.0.0.100,banana"]').__enter__()


def test_http_names_its_node_over_both_families_and_again_after_it_was_killed(up: Up) -> None:
    with up(WEB) as lab:
        for host in ("10.0.0.1", "[2001:db8::1]"):
            assert "s" in fetched(lab["a"], f"http://{host}/")
        is_restarted_after_sigkill(lab["s"].services["http"])
    with up(WEB, "port: 8080, page: hello") as lab:
        assert "hello" in fetched(lab["a"], "http://10.0.0.1:8080/")


def test_http_that_was_mis_configured_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)start http.*Cannot assign requested address"):
        up(WEB, "bind: 192.0.2.1").__enter__()
    with pytest.raises(TopologyError, match="0 is less than 1"):
        up(WEB, "port: 0").__enter__()


def test_dhcpcd_is_leased_addresses_of_both_families_and_again_after_it_was_killed(up: Up) -> None:
    with up(LEASED, "v6: true") as lab:
        has(lab["a"], r"inet 10\.0\.0\.1\d\d/24")
        has(lab["a"], r"inet6 2001:db8::1[0-9a-f]{2}/128")
        is_restarted_after_sigkill(lab["a"].services["dhcpcd"])


def test_dhcpcd_without_a_server_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)on node a: start dhcpcd\n.*not ready in time.*soliciting a DHCP lease"):
        up(UNSERVED).__enter__()


def test_keepalived_moves_its_address_to_the_other_node_and_again_after_it_was_killed(up: Up) -> None:
    with up(FLOATING, "priority: 200") as lab:
        a, b = lab["a"], lab["b"]
        a.wait(Addressed("2001:db8::f"))
        b.wait(Gone(Addressed("2001:db8::f")))
        a.services["keepalived"].stop()
        b.wait(Addressed("2001:db8::f"))
        a.services["keepalived"].start()
        a.wait(Addressed("2001:db8::f"))
        is_restarted_after_sigkill(a.services["keepalived"])
        a.wait(Addressed("2001:db8::f"))


def test_keepalived_that_was_mis_configured_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)start keepalived\n.*parsed invalid IP banana"):
        up(FLOATING.replace("2001:db8::f/64", "banana"), "timeout: 3").__enter__()
    with pytest.raises(TopologyError, match="300 is more than 254"):
        up(FLOATING, "priority: 300").__enter__()


def test_a_member_of_an_anycast_group_leaves_with_its_server_and_joins_with_it_again(up: Up) -> None:
    with up(GROUPED.replace("PROGRAM", PROGRAM), "pidfile: /run/services/web/pid") as lab:
        a, group = lab["a"], Anycast("2001:db8::acac", "eth0")
        assert a.wait(group).holds
        a.services["web"].kill()
        a.wait(Gone(group))
        a.services["web"].start()
        a.wait(group)
        is_restarted_after_sigkill(a.services["anycast"])
        a.wait(group)


def test_a_member_of_an_anycast_group_that_was_mis_configured_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)start anycast.*Invalid argument"):
        up(GROUPED.replace("PROGRAM", PROGRAM).replace("::acac", "::1")).__enter__()


def test_kea_leases_addresses_by_dhcpv6_and_again_after_it_was_killed(up: Up) -> None:
    with up(KEA, 'pools: ["2001:db8::40-2001:db8::4f"]') as lab:
        for host in ("a", "b"):
            has(lab[host], r"inet6 2001:db8::4[0-9a-f]/128")
        assert addresses(lab["a"]) != addresses(lab["b"])
        is_restarted_after_sigkill(lab["s"].services["kea-dhcp6"])
        lab["a"].services["dhcpcd"].restart()


def test_kea_that_was_mis_configured_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)step failed on node s: start kea-dhcp6\n.*ended with status 1.*banana"):
        up(KEA, "pools: [banana]").__enter__()


def test_two_keas_side_by_side_lease_from_pools_of_their_own(up: Up) -> None:
    with up(KEA) as one, up(KEA, name=f"{one.name}2") as two:
        for lab in (one, two):
            has(lab["a"], r"inet6 2001:db8::1[0-9a-f]{2}/128")
        two["s"].services["kea-dhcp6"].stop()
        assert one["s"].services["kea-dhcp6"].state().running


def test_the_same_lab_twice_with_the_same_daemons_side_by_side(up: Up) -> None:
    """Each dnsmasq has its own leases, each dhcpcd its own state: neither meets the other, nor the host's."""
    with up(LEASED) as one, up(LEASED, name=f"{one.name}2") as two:
        for lab in (one, two):
            has(lab["a"], r"inet 10\.0\.0\.1\d\d/24")
            assert lab["s"].services["dnsmasq"].log.count("DHCPACK") == 1
        two["s"].services["dnsmasq"].stop()
        assert one["s"].services["dnsmasq"].state().running


def peers(other: str, params: str) -> str:
    """Two routers, the one with FRR, the other with `other`, and the same parameters but for whose they are."""
    mine, its = (params.replace("PLACE", here).replace("OTHER", there) for here, there in (("1", "2"), ("2", "1")))
    return PEERS.replace("FRR", mine).replace("OTHER", other).replace("BIRD", its)


def vtysh(node: Node, command: str) -> str:
    return node.run(["vtysh", "-c", command]).stdout


LEARNED = ("10.2.0.2/32", "2001:db8:2::2/128")


@pytest.mark.parametrize("other", ["frr", "bird"])
def test_frr_and_its_neighbour_speak_ospf_over_both_families_and_again_after_frr_was_killed(up: Up, other: str) -> None:
    with up(peers(other, OSPF)) as lab:
        a, service = lab["a"], lab["a"].services["frr"]
        for prefix in LEARNED:
            a.wait(Routed(prefix), 20)
        assert "Full/" in vtysh(a, "show ip ospf neighbor")
        is_restarted_after_sigkill(service)
        until("the neighbour is back", lambda: "Full/" in vtysh(a, "show ip ospf neighbor"))
        assert service.stop() == 0
        for prefix in LEARNED:
            a.wait(Gone(Routed(prefix)))


def test_frr_ends_as_a_whole_when_one_of_its_daemons_ends_and_says_which(up: Up) -> None:
    with up(peers("frr", OSPF)) as lab:
        a, service = lab["a"], lab["a"].services["frr"]
        a.run(["sh", "-c", "kill -KILL $(cat /run/frr/ospfd.pid)"])
        until("the service has ended", lambda: service.state().died)
        assert "ospfd was killed by signal 9" in service.log
        assert a.run(["pidof", "zebra", "ospf6d"], check=False).stdout == ""
        service.start()
        service.wait_ready()


@pytest.mark.parametrize("other", ["frr", "bird"])
def test_bgp_with_a_password_and_bfd_is_established_with_its_neighbour(up: Up, other: str) -> None:
    with up(peers(other, BGP)) as lab:
        a, b = lab["a"], lab["b"]
        a.wait(Routed("10.2.0.2/32"), 20)
        b.wait(Routed("10.1.0.1/32"), 20)
        until("BFD is up", lambda: "Status: up" in vtysh(a, "show bfd peers"))


def test_bird_is_asked_by_birdc_and_starts_again_after_it_was_killed(up: Up) -> None:
    with up(peers("bird", OSPF)) as lab:
        b = lab["b"]
        b.wait(Routed("10.1.0.1/32"), 20)
        assert "Full/PtP" in b.run(["birdc", "show", "ospf", "neighbors", "ospf4"]).stdout
        is_restarted_after_sigkill(b.services["bird"])
        assert "Daemon is up and running" in b.run(["birdc", "show", "status"]).stdout


def test_frr_that_was_mis_configured_fails_up_with_the_line_that_it_does_not_know(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)start frr\n.*% Unknown command.*: route-banana"):
        up(peers("frr", OSPF + ", lines: route-banana")).__enter__()


def test_bird_that_was_mis_configured_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)step failed on node b: start bird\n.*bird.conf:\d+:\d+ syntax error"):
        up(PEERS.replace("FRR", "").replace("OTHER", "bird").replace("BIRD", "lines: banana")).__enter__()
