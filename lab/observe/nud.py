"""How soon a host misses a neighbour that is gone, by the sysctls of neighbour unreachability detection (RFC 4861, 7.3).

An entry is REACHABLE for a random time around its base, is trusted for a while more once it is used (DELAY), and then asked so
many times by unicast (PROBE); unanswered, the address is resolved anew (net/core/neighbour.c, neigh_timer_handler).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_LEAST_RANDOM, _MOST_RANDOM = 0.5, 1.5  # neigh_rand_reach_time: of the base
_LATE = 9 / 8  # the kernel's timers are late by up to an eighth (kernel/time/timer.c)


@dataclass(frozen=True, slots=True)
class Unreachability:
    """Times in seconds: the base of REACHABLE, DELAY, and between two of `probes`."""

    base: float
    delay: float
    between: float
    probes: int

    @property
    def from_stale(self) -> float:
        """From the next packet on; no sooner than this."""
        return self.delay + self.probes * self.between

    @property
    def from_stale_at_most(self) -> float:
        return _LATE * self.from_stale

    @property
    def from_reachable(self) -> float:
        """Where the entry has just become REACHABLE; no sooner than this."""
        return _LEAST_RANDOM * self.base + self.from_stale

    @property
    def from_reachable_at_most(self) -> float:
        return _LATE * (_MOST_RANDOM * self.base + self.from_stale)


def unreachability(sysctls: Mapping[str, str], device: str, family: str = "ipv6") -> Unreachability:
    """As a node's sysctls have it for one device. Raises KeyError where there is no such device."""

    def number(name: str) -> int:
        return int(sysctls[f"net.{family}.neigh.{device}.{name}"])

    return Unreachability(
        base=number("base_reachable_time_ms") / 1000,
        delay=number("delay_first_probe_time"),
        between=number("retrans_time_ms") / 1000,
        probes=number("ucast_solicit") + number("app_solicit"),
    )
