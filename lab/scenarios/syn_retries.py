"""A SYN that nobody answers is sent again: when, and which setting decides.

RFC 6298 doubles the time-out with each retransmission (5.5): 1, 3, 7 and 15 seconds after the first SYN. From Linux 6.5 on the
first ones come a second apart, as many as net.ipv4.tcp_syn_linear_timeouts says, which is 4; only then the time doubles
(net/ipv4/tcp_timer.c, tcp_retransmit_timer). The address that is asked for is nobody's, but a neighbour entry leads there.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

import pytest

from lab import Lab

NOBODYS, PORT = "10.0.0.9", 7474
LINEAR = "net.ipv4.tcp_syn_linear_timeouts"
SLACK = 0.8  # seconds: a timer never comes early, and late on a busy machine
Report = Callable[[str, Iterable[str], Iterable[Iterable[object]]], None]


def sent(lab: Lab, count: int, within: float) -> list[float]:
    """Seconds after the first SYN at which each of `count` leaves, when nobody answers."""
    a, b = lab["a"], lab["b"]
    a.run(["ip", "neighbour", "replace", NOBODYS, "lladdr", b.mac("eth0"), "dev", "eth0", "nud", "permanent"])
    with lab.capture("a:eth0", filter=f"tcp dst port {PORT}") as wire, a.socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex((NOBODYS, PORT)) == errno.EINPROGRESS
        frames = wire.expect_in_order(*((lambda _: True, f"SYN {number}") for number in range(1, count + 1)), within=within)
    return [(each.frame.time - frames[0].frame.time) / 1e9 for each in frames]


def at(expected: Iterable[float]) -> list[object]:
    return [pytest.approx(seconds + SLACK / 2, abs=SLACK / 2 + 0.01) for seconds in expected]


@pytest.mark.lab("two-hosts")
def test_the_first_retransmissions_come_a_second_apart(lab: Lab, report_table: Report) -> None:
    """A SYN that nobody answers is sent again after 1, 2 and 3 seconds, not after 1, 3 and 7."""
    found = sent(lab, 4, within=9)
    report_table("SYNs", ("number", "s after the first"), enumerate(found, 1))
    assert found[1:] == at((1, 2, 3))


@pytest.mark.lab("two-hosts")
def test_without_linear_time_outs_the_time_doubles(lab: Lab, report_table: Report) -> None:
    """With tcp_syn_linear_timeouts=0, and on kernels that have no such setting, it is sent again after 1 and 3 seconds."""
    if LINEAR in lab["a"].sysctl:
        lab["a"].sysctl[LINEAR] = "0"
    found = sent(lab, 3, within=6)
    report_table("SYNs", ("number", "s after the first"), enumerate(found, 1))
    assert found[1:] == at((1, 3))
