"""The shipped experiment on jumbo frames and advertised MTUs: it holds, and each claim fails where its cause is taken away."""

from __future__ import annotations

from typing import Any

import pytest
from support.commands import Said, lab
from support.scenarios import SECONDS

pytestmark = pytest.mark.root

LOWERED = {
    "test_the_advertisement_lowers_ipv6_alone",
    "test_only_the_default_route_shows_it",
    "test_what_must_not_be_fragmented_is_refused_at_home",
    "test_what_may_be_fragmented_goes_in_fragments",
    "test_what_fits_passes_in_one_packet",
    "test_ipv4_is_untouched",
    "test_it_outlives_the_router",
    "test_a_real_change_of_the_links_mtu_restores_it",
    "test_raising_the_link_anew_restores_it",
    "test_writing_the_sysctl_restores_it",
    "test_accept_ra_0_and_the_mtu_restored_cure_a_host",
    "test_accept_ra_mtu_0_and_the_mtu_restored_cure_a_host",
    "test_a_host_that_forwards_is_cured_unless_accept_ra_is_2",
    "test_all_accept_ra_does_nothing_for_a_device_that_is_there",
    "test_dhcpv6_alone_does_not_cure",
}
HARMLESS = {"test_without_the_option_8000_bytes_pass", "test_the_links_own_mtu_is_harmless"}
WITHOUT_ADVERTISEMENTS = {
    "test_with_accept_ra_0_a_host_takes_nothing",
    "test_dnsmasq_gives_addresses_where_advertisements_are_off",
    "test_kea_gives_addresses_where_advertisements_are_off",
}
WITHOUT_THE_MTU = {"test_with_accept_ra_mtu_0_a_host_takes_the_rest"}
MAKES_ITS_OWN_DEVICE = {"test_default_accept_ra_cures_devices_that_are_made_later"}
EVERY = LOWERED | HARMLESS | WITHOUT_ADVERTISEMENTS | WITHOUT_THE_MTU | MAKES_ITS_OWN_DEVICE


def run(*words: str) -> Said:
    return lab("run", "ra-mtu", "-f", "json", *words, timeout=SECONDS)


def names(said: Said, outcome: str) -> set[str]:
    return {check["name"] for check in checks(said) if check["outcome"] == outcome}


def checks(said: Said) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = said.json("run")["checks"]
    return found


def test_every_check_holds() -> None:
    said = run()
    assert said.status == 0, said.stdout
    assert names(said, "held") == EVERY


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        # Nothing is lowered; the rest of the advertisement is taken all the same.
        ("ra_mtu=0", LOWERED),
        # Nor is anything learnt.
        ("accept_ra=0", LOWERED | HARMLESS | WITHOUT_THE_MTU),
        # The advertisement reaches those who are said to ignore it.
        ("accept_ra=1", WITHOUT_ADVERTISEMENTS),
        ("accept_ra_mtu=1", WITHOUT_THE_MTU),
        ("ra_mtu=1500", HARMLESS),
    ],
)
def test_with_a_cause_taken_away_exactly_the_claims_that_rest_on_it_fail(setting: str, wrong: set[str]) -> None:
    said = run("--set", setting)
    assert said.status == 1
    assert names(said, "failed") == wrong
    assert names(said, "held") == EVERY - wrong


def test_an_advertisement_of_the_links_own_mtu_is_the_harmless_case() -> None:
    said = run("--set", "ra_mtu=9000")
    assert said.status == 0, said.stdout
    assert names(said, "held") == EVERY - LOWERED
    reasons = {check["message"] for check in checks(said) if check["outcome"] == "skipped"}
    assert reasons == {"ra_mtu=9000: what the router advertises is the link's own MTU, and lowers nothing"}
