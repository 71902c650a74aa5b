"""When `up` returns its lab can be used: carriers have come, and the addresses of the file are there for good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import lab as command
from support.topologies import PAIR
from support.world import look

from lab import Lab, StepError, live

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
DETECTING = PAIR.replace(", nodad: true", "")
LONG = DETECTING + "defaults: {{nodes: {{sysctls: {{net.ipv6.conf.default.dad_transmits: 60}}}}}}\n"
"""Detection takes a minute here: an address is still tentative when a busy machine comes to look at it."""
DETECTED = 0.9  # seconds; RFC 4862: one probe and a second of waiting, after a random delay of up to a second
TRIES = 8
SWITCHED = """\
name: {name}
nodes: {{lan: {{kind: switch}}, a: {{}}, b: {{}}}}
links:
  - {{endpoints: [a, lan], addresses: {{a: [10.0.0.1/24, "2001:db8::1/64"]}}}}
  - {{endpoints: [b, lan], addresses: {{b: [10.0.0.2/24, "2001:db8::2/64"]}}}}
"""


def flags(lab: Lab, node: str, address: str) -> set[str]:
    told = json.loads(lab[node].run(["ip", "-j", "-6", "address", "show", "dev", "eth0"]).stdout)
    (found,) = [each for each in told[0]["addr_info"] if each["local"] == address]
    return {flag for flag in ("tentative", "dadfailed", "nodad") if found.get(flag)}


def seconds(file: Path) -> float:
    """That `up` takes."""
    start = time.monotonic()
    with Lab.up(file):
        return time.monotonic() - start


def is_quick(file: Path) -> bool:
    """Whether some try takes less than detection takes at least, which is a part of each if of any; load only adds to it."""
    return any(seconds(file) < DETECTED for _ in range(TRIES))


@pytest.mark.parametrize("text", [DETECTING, SWITCHED], ids=["a wire", "a switch"])
def test_addresses_are_usable_when_up_returns(topology: Write, text: str) -> None:
    with Lab.up(topology(text)) as lab:
        assert flags(lab, "a", "2001:db8::1") == flags(lab, "b", "2001:db8::2") == set()
        lab["a"].run(["ping", "-c1", "-W1", "2001:db8::2"])
        lab["a"].run(["ping", "-c1", "-W1", "10.0.0.2"])


def test_duplicate_detection_takes_its_time_and_is_left_out_where_that_is_said(topology: Write) -> None:
    assert is_quick(topology(PAIR))
    with Lab.up(topology(PAIR)) as lab:
        assert flags(lab, "a", "2001:db8::1") == {"nodad"}
    assert seconds(topology(DETECTING)) > DETECTED


def test_without_waiting_an_address_may_still_be_tentative(topology: Write) -> None:
    with Lab.up(topology(LONG), wait=False) as lab:
        assert flags(lab, "a", "2001:db8::1") == {"tentative"}


def test_no_wait_is_an_option_of_the_command(topology: Write, name: str) -> None:
    assert command("up", "--no-wait", topology(LONG)).status == 0
    assert flags(Lab.attach(name), "a", "2001:db8::1") == {"tentative"}
    assert command("down", name).status == 0


def test_an_address_that_another_node_has_fails_the_lab_and_is_named(topology: Write) -> None:
    """The file cannot show it: a answers for it as a proxy, at once, since it looks for no duplicates of its own."""
    text = DETECTING.replace(
        "{{a: {{}},",
        "{{a: {{sysctls: {{net.ipv6.conf.all.forwarding: 1, net.ipv6.conf.default.proxy_ndp: 1, "
        "net.ipv6.conf.default.accept_dad: 0}}, "
        'neighbours: [{{address: "2001:db8::2", dev: eth0, proxy: true}}]}},',
    )
    before = look()
    with pytest.raises(StepError) as caught, Lab.up(topology(text)):
        pass
    assert (caught.value.step, caught.value.node) == ("wait until the lab is ready", "b")
    assert "2001:db8::2 on eth0 is usable" in str(caught.value)
    assert "duplicate" in str(caught.value)
    assert look() == before


def test_what_never_comes_is_told_and_everything_undone(topology: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_READY_WITHIN", 1.0)
    before = look()
    with pytest.raises(StepError, match=r"within 1 s never came true: .* is usable; last seen: .* is tentative"):
        Lab.up(topology(LONG))
    assert look() == before


@pytest.mark.parametrize(
    "said",
    [
        "{{node: a, up: false}}, b",
        "a, {{node: b, up: false}}",
        "{{node: a, up: false}}, {{node: b, up: false}}",
    ],
)
def test_an_end_that_stays_down_is_not_waited_for(topology: Write, said: str) -> None:
    """What is waited for in vain fails after 15 s."""
    with Lab.up(topology(f"name: {{name}}\nnodes: {{{{a: {{{{}}}}, b: {{{{}}}}}}}}\nlinks: [{{{{endpoints: [{said}]}}}}]\n")):
        pass


def test_an_optimistic_address_is_usable_at_once(topology: Write) -> None:
    text = (
        "name: {name}\nnodes: {{a: {{interfaces: {{eth0: {{sysctls: {{ipv6.optimistic_dad: 1}}, "
        'addresses: {{address: "2001:db8::1/64", optimistic: true}}}}}}}}, b: {{}}}}\nlinks: [{{endpoints: [a, b]}}]\n'
    )
    assert is_quick(topology(text))


def test_neighbours_are_kept_though_the_other_end_is_raised_later(topology: Write) -> None:
    """A device forgets them when it tells that it has no carrier, which it does up to a second after it is raised."""
    text = PAIR.replace(
        "{{a: {{}},",
        "{{a: {{neighbours: [{{address: 10.0.0.9, dev: eth0, proxy: true}}, "
        '{{address: "2001:db8::9", dev: eth0, proxy: true}}, '
        '{{address: 10.0.0.8, dev: eth0, mac: "02:00:00:00:00:08", state: stale}}]}},',
    )
    for _ in range(5):
        with Lab.up(topology(text), wait=False) as lab:
            told = [lab["a"].run(["ip", family, "neigh", "show", *more]).stdout for family, more in NEIGHBOURS]
            assert told == ["10.0.0.9 dev eth0 proxy \n", "2001:db8::9 dev eth0 proxy \n", told[2]]
            assert told[2].startswith("10.0.0.8 dev eth0 lladdr 02:00:00:00:00:08 STALE")


NEIGHBOURS = [("-4", ["proxy"]), ("-6", ["proxy"]), ("-4", [])]


def test_a_lab_without_links_or_addresses_is_ready_at_once(topology: Write) -> None:
    with Lab.up(topology("name: {name}\nnodes: {{a: {{}}}}\n")) as lab:
        assert lab["a"].run(["ping", "-c1", "-W1", "127.0.0.1"]).status == 0


ROUTED = """\
name: {name}
nodes:
  r: {{kind: router}}
  a: {{routes: [{{to: default, via: "2001:db8:1::fe"}}]}}
  b: {{routes: [{{to: default, via: "2001:db8:2::fe"}}]}}
links:
  - {{endpoints: [a, r], nodad: true, addresses: {{a: "2001:db8:1::1/64", r: "2001:db8:1::fe/64"}}}}
  - {{endpoints: [b, r], nodad: true, addresses: {{b: "2001:db8:2::1/64", r: "2001:db8:2::fe/64"}}}}
"""


@pytest.mark.parametrize(("text", "quick"), [(ROUTED, True), (ROUTED.replace(", nodad: true", ""), False)])
def test_the_first_ipv6_packet_through_a_router_arrives(topology: Write, text: str, quick: bool) -> None:
    """Where detection is skipped that costs nothing; where it is not, its second."""
    file, start = topology(text), time.monotonic()
    with Lab.up(file) as lab:
        took = time.monotonic() - start
        lab["a"].run(["ping", "-c1", "-W1", "2001:db8:2::1"])
    assert is_quick(file) if quick else took > DETECTED


def test_a_router_without_its_link_local_address_loses_the_first_packet(topology: Write) -> None:
    """Why it is waited for: the kernel has no source to ask for the neighbour with. A host that was told to forward is not
    known to be a router."""
    told = "r: {{sysctls: {{net.ipv6.conf.all.forwarding: 1, net.ipv6.conf.default.dad_transmits: 9}}}}"
    with Lab.up(topology(ROUTED.replace("r: {{kind: router}}", told))) as lab:
        assert lab["a"].run(["ping", "-c1", "-W1", "2001:db8:2::1"], check=False).status == 1


@pytest.mark.parametrize("setting", ["ipv6.disable_ipv6: 1", "ipv6.addr_gen_mode: 1"])
def test_a_routers_interface_that_has_no_link_local_address_is_not_waited_for(topology: Write, setting: str) -> None:
    unnumbered = """\
name: {name}
nodes: {{r: {{kind: router, routes: [{{to: "2001:db8:9::/64", type: unreachable}}]}}, a: {{}}}}
links: [{{endpoints: [a, {{node: r, sysctls: {{SETTING}}}}]}}]
"""
    with Lab.up(topology(unnumbered.replace("SETTING", setting))) as lab:
        assert "fe80" not in lab["r"].run(["ip", "-6", "address", "show", "dev", "eth0"]).stdout
