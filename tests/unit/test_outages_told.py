"""Outages from numbered probes, and how soon neighbour unreachability detection ends one: pure."""

from __future__ import annotations

import pytest

from lab.observe.nud import unreachability
from lab.observe.outage import Outage, Probe, outages


def probes(answers: str) -> list[Probe]:
    """One a second: a letter is who answered, a dot nobody."""
    return [Probe(float(at), "" if who == "." else who) for at, who in enumerate(answers)]


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ("", []),
        ("aaa", []),
        ("..aaa", []),
        ("aa..aaa", [Outage(2.0, 2, "a", "a")]),
        ("a.b...bb", [Outage(1.0, 1, "a", "b"), Outage(3.0, 3, "b", "b")]),
        ("aaa...", []),
        ("aaa......", [Outage(5.0, 6, "a", "", False)]),
    ],
)
def test_an_outage_is_a_run_of_lost_requests_up_to_the_next_answered_one(answers: str, found: list[Outage]) -> None:
    assert outages(probes(answers)) == found


def test_the_time_until_a_dead_neighbour_is_missed_is_that_of_the_sysctls() -> None:
    values = {"base_reachable_time_ms": 30000, "delay_first_probe_time": 5, "retrans_time_ms": 1000, "ucast_solicit": 3}
    sysctls = {f"net.ipv6.neigh.eth0.{name}": str(value) for name, value in {**values, "app_solicit": 0}.items()}
    times = unreachability(sysctls, "eth0")
    assert (times.from_stale, times.from_stale_at_most) == (8.0, 9.0)
    assert times.from_reachable == 15 + 8
    assert times.from_reachable_at_most == pytest.approx((45 + 8) * 9 / 8)
    with pytest.raises(KeyError):
        unreachability(sysctls, "eth1")
