"""The outage meter against real nodes: none where all is well, the length of a real one, and who answered around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.nodes import until
from support.topologies import PAIR

from lab import Lab
from lab.observe.conditions import ConditionTimeout
from lab.observe.outage import NONE, Meter

pytestmark = pytest.mark.root

BOTH = pytest.mark.parametrize("address", ["10.0.0.2", "2001:db8::2"])


@BOTH
def test_where_everything_is_answered_there_is_no_outage(topology: Callable[[str], Path], address: str) -> None:
    with Lab.up(topology(PAIR)) as lab, Meter(lab["a"].ns, address) as meter:
        assert meter.wait_answered().by == address
        assert meter.longest() == NONE
        until("a hundred are answered", lambda: sum(bool(each.by) for each in meter.probes) > 100)


@BOTH
def test_an_outage_lasts_as_long_as_nobody_answers(topology: Callable[[str], Path], address: str) -> None:
    with Lab.up(topology(PAIR)) as lab, Meter(lab["a"].ns, address) as meter:
        meter.wait_answered()
        keep_silent(lab, True)
        asked = len(meter.probes)
        until("fifty are lost", lambda: len(meter.probes) > asked + 50)
        with pytest.raises(ConditionTimeout, match=f"no echo request to {address} was answered"):
            meter.wait_answered(within=0.1)
        keep_silent(lab, False)
        meter.wait_answered()
        outage = meter.longest()
    lost = [each for each in meter.probes if not each.by]
    assert (outage.ended, outage.before, outage.after) == (True, address, address)
    assert 50 <= outage.lost <= len(lost)
    assert outage.seconds >= lost[outage.lost - 1].sent - lost[0].sent


def keep_silent(lab: Lab, on: bool) -> None:
    for name in ("net.ipv4.icmp_echo_ignore_all", "net.ipv6.icmp.echo_ignore_all"):
        lab["b"].sysctl[name] = int(on)


def test_waiting_for_an_answer_of_somebody_else_says_who_did_not(topology: Callable[[str], Path]) -> None:
    refused = pytest.raises(ConditionTimeout, match=r"by 10\.0\.0\.9$")
    with Lab.up(topology(PAIR)) as lab, Meter(lab["a"].ns, "10.0.0.2") as meter, refused:
        meter.wait_answered(within=0.1, by="10.0.0.9")


def test_an_interface_that_is_down_is_an_outage_and_no_error(topology: Callable[[str], Path]) -> None:
    with Lab.up(topology(PAIR)) as lab, Meter(lab["a"].ns, "10.0.0.2") as meter:
        meter.wait_answered()
        lab["a"].run(["ip", "link", "set", "eth0", "down"])
        asked = len(meter.probes)
        until("ten are lost", lambda: len(meter.probes) > asked + 10)
        lab["a"].run(["ip", "link", "set", "eth0", "up"])
        meter.wait_answered()
        assert meter.longest().lost >= 10
