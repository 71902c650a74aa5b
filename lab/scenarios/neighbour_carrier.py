"""What becomes of a neighbour entry when the carrier goes, and which setting keeps it.

The kernel flushes the neighbours of an interface that loses its carrier (net/core/neighbour.c, neigh_carrier_down). From Linux
5.16 on net.ipv4.conf.*.arp_evict_nocarrier=0 keeps them, for a link that comes back soon (net/ipv4/arp.c, arp_netdev_event).
"""

from __future__ import annotations

import json

import pytest

from lab import Lab
from lab.observe.conditions import Carrier, Gone

PEER = "10.0.0.2"
KEEPS = "net.ipv4.conf.eth0.arp_evict_nocarrier"


def known(lab: Lab) -> bool:
    """Whether a has an entry for b."""
    return bool(json.loads(lab["a"].run(["ip", "-j", "neighbour", "show", PEER]).stdout or "[]"))


def lose_carrier(lab: Lab) -> None:
    lab["a"].run(["ping", "-c1", "-W5", PEER])
    assert known(lab)
    lab["b"].run(["ip", "link", "set", "eth0", "down"])
    lab["a"].wait(Gone(Carrier("eth0")))


@pytest.mark.lab("two-hosts")
def test_neighbours_go_with_the_carrier(lab: Lab) -> None:
    """When the other end goes down, the neighbour entry goes with the carrier."""
    lose_carrier(lab)
    lab["a"].wait(lambda: not known(lab), what="the neighbour entry is gone")


@pytest.mark.lab("two-hosts")
def test_the_setting_keeps_them(lab: Lab) -> None:
    """With arp_evict_nocarrier=0 the neighbour entry outlives the carrier."""
    assert KEEPS in lab["a"].sysctl, "this kernel has no arp_evict_nocarrier: it came with Linux 5.16"
    lab["a"].sysctl[KEEPS] = "0"
    lose_carrier(lab)
    assert known(lab)
