"""The roles that a proxy is made of, with their real programs: rules of nftables, a small transparent proxy, and squid."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.nodes import until

from lab import Lab, StepError
from lab.node import Node
from lab.observe import names
from lab.services.living import Service

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
Up = Callable[..., contextlib.AbstractContextManager[Lab]]

PROXIED = """\
name: {name}
nodes:
  client: {{}}
  proxy: {{services: {{SERVICES}}}}
  web: {{services: {{http: {{page: the page}}}}}}
links:
  - endpoints: ["client:eth0", "proxy:eth0"]
    nodad: true
    addresses: {{client: [10.0.1.1/24, "2001:db8:1::1/64"], proxy: [10.0.1.2/24, "2001:db8:1::2/64"]}}
  - endpoints: ["proxy:eth1", "web:eth0"]
    nodad: true
    addresses: {{proxy: [10.0.2.1/24, "2001:db8:2::1/64"], web: [10.0.2.2/24, "2001:db8:2::2/64"]}}
"""
NAMED = "dnsmasq: {records: {www.lab: 10.0.2.2}}"
SECONDS = 10.0


@pytest.fixture
def up(topology: Write) -> Up:
    @contextlib.contextmanager
    def bring(services: str, **options: object) -> Iterator[Lab]:
        written = services.replace("{", "{{").replace("}", "}}")
        with Lab.up(topology(PROXIED.replace("SERVICES", written)), **options) as lab:  # type: ignore[arg-type]
            yield lab

    return bring


def got(node: Node, server: str, port: int, url: str) -> str:
    """The whole answer, headers and page, to one request of HTTP/1.0."""
    with node.socket(socket.AF_INET6 if ":" in server else socket.AF_INET) as sock:
        sock.settimeout(SECONDS)
        sock.connect((server, port))
        sock.sendall(f"GET {url} HTTP/1.0\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(1 << 16), b"")).decode()


def killed_and_started(service: Service) -> None:
    assert service.kill() == -signal.SIGKILL
    service.start()
    service.wait_ready()


def test_squid_is_asked_over_both_families_by_address_and_name_and_again_after_it_was_killed(up: Up) -> None:
    with up(f"{NAMED}, squid: ") as lab:
        for server in ("10.0.1.2", "2001:db8:1::2"):
            for host in ("www.lab", "10.0.2.2", "[2001:db8:2::2]"):
                answer = got(lab["client"], server, 3128, f"http://{host}/")
                assert "the page" in answer
                assert "Via: 1.1 proxy (squid/" in answer
        killed_and_started(lab["proxy"].services["squid"])
        assert "the page" in got(lab["client"], "10.0.1.2", 3128, "http://www.lab/")


def test_squid_serves_whom_it_may_and_says_what_it_did(up: Up) -> None:
    with up('squid: {port: 8080, allow: ["2001:db8:1::/64"]}') as lab:
        assert "200 OK" in got(lab["client"], "2001:db8:1::2", 8080, "http://10.0.2.2/")
        assert "403 Forbidden" in got(lab["client"], "10.0.1.2", 8080, "http://10.0.2.2/")
        squid = lab["proxy"].services["squid"]
        assert "Accepting HTTP Socket connections at" in squid.log
        log = lab["proxy"].run(["cat", f"{squid.spec.folder}/access.log"]).stdout
        assert [line.split()[2:4] for line in log.splitlines()] == [
            ["2001:db8:1::1", "TCP_MISS/200"],
            ["10.0.1.1", "TCP_DENIED/403"],
        ]


def test_squid_that_was_mis_configured_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)step failed on node proxy: start squid\n.*banana"):
        up("squid: {outgoing: [banana]}").__enter__()


def test_squid_twice_side_by_side(up: Up) -> None:
    """Both have /run, /dev/shm and /var/log/squid for themselves."""
    with up("squid: {}") as one, up("squid: {}", name=f"{one.name}2") as two:
        two["proxy"].services["squid"].stop()
        assert "the page" in got(one["client"], "10.0.1.2", 3128, "http://10.0.2.2/")


SHUT = "table inet shut { chain input { type filter hook input priority 0; tcp dport 80 reject with tcp reset; }; }"


def test_rules_of_nftables_are_in_force_once_their_service_is_ready(up: Up) -> None:
    with up(f"nftables: {{rules: '{SHUT}'}}, web: {{role: http}}") as lab:
        with pytest.raises(ConnectionRefusedError):
            got(lab["client"], "10.0.1.2", 80, "/")
        lab["proxy"].run(["nft", "add", "table", "inet", "another"])
        lab["proxy"].services["nftables"].restart()
        assert lab["proxy"].run(["nft", "list", "tables"]).stdout == "table inet shut\n", "it begins from nothing"


def test_wrong_rules_of_nftables_fail_up_with_what_nft_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)step failed on node proxy: start nftables\n.*rules.nft:2:.*Error: syntax error"):
        up("nftables: {rules: banana}").__enter__()


HANDED_OVER = (
    "table inet handover { chain prerouting { type filter hook prerouting priority mangle;"
    " iifname eth0 meta nfproto ipv4 tcp dport 80 tproxy ip to :3129 meta mark set 1;"
    " iifname eth0 meta nfproto ipv6 tcp dport 80 tproxy ip6 to :3129 meta mark set 1; }; }"
)


def test_the_small_transparent_proxy_passes_on_what_is_handed_over_and_nothing_else(up: Up) -> None:
    """What was meant for the node itself is local without any route: neither a rule nor a table is needed here."""
    web = "web: {role: http, page: its own}"
    with up(f"nftables: {{rules: '{HANDED_OVER}'}}, {web}, tproxy: {{source: own}}") as lab:
        proxy = lab["proxy"].services["tproxy"]
        for server in ("10.0.1.2", "2001:db8:1::2"):
            assert "its own" in got(lab["client"], server, 80, "/")
            assert f"to {server} port 80: connected from" in proxy.log
        with lab["client"].socket() as sock:
            sock.settimeout(SECONDS)
            sock.connect(("10.0.1.2", 3129))
            assert sock.recv(1) == b""
        assert "10.0.1.1 to 10.0.1.2 port 3129: not handed over" in proxy.log
        killed_and_started(proxy)
        assert "its own" in got(lab["client"], "10.0.1.2", 80, "/")


def test_a_rule_that_hands_the_proxys_own_connections_over_does_not_use_up_the_machine(up: Up) -> None:
    everywhere = HANDED_OVER.replace("iifname eth0 ", "")
    with up(f"nftables: {{rules: '{everywhere}'}}, tproxy: {{source: own, patience: 0.5}}") as lab:
        with lab["client"].socket() as sock:
            sock.settimeout(SECONDS)
            sock.connect(("10.0.1.2", 80))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            proxy = lab["proxy"].services["tproxy"]
            until("it has used up its room", lambda: proxy.log.count("10.0.1.2 to 10.0.1.2 port 80: connected") >= 190)
        assert proxy.state().running


def test_the_small_transparent_proxy_whose_port_is_taken_fails_up_with_what_it_says(up: Up) -> None:
    with pytest.raises(StepError, match=r"(?s)step failed on node proxy: start tproxy\n.*Address already in use"):
        up("http: {port: 3129}, tproxy: {}").__enter__()


def test_a_name_server_is_asked_by_a_socket_of_the_node(up: Up) -> None:
    with up('dnsmasq: {records: {www.lab: ["2001:db8::7", 10.0.0.7, 10.0.0.8]}}') as lab:
        ask = lab["client"].socket
        for server in ("10.0.1.2", "2001:db8:1::2"):
            found = names.resolve(ask, server, "www.lab")
            assert (found[0], set(found[1:])) == ("2001:db8::7", {"10.0.0.7", "10.0.0.8"})
        assert names.resolve(ask, "10.0.1.2", "www.lab", (names.AAAA,)) == ["2001:db8::7"]
        assert names.resolve(ask, "10.0.1.2", "nobody.lab") == []
        with pytest.raises(ConnectionRefusedError):
            names.resolve(lab["proxy"].socket, "10.0.2.2", "www.lab")
        with pytest.raises(names.NameServerError):
            names.resolve(ask, "10.0.1.2", "www.example")  # it knows nobody to ask, and refuses
