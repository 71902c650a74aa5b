"""The shipped experiment on IPv4 and IPv6 side by side: it holds, and each claim fails where its cause is taken away."""

from __future__ import annotations

import pytest
from support.commands import Said, lab
from support.scenarios import SECONDS

pytestmark = pytest.mark.root

REMEMBERED = {"test_the_path_mtu_is_remembered_for_ten_minutes", "test_the_path_mtu_is_forgotten"}
NARROW = REMEMBERED | {
    "test_without_df_ipv4s_router_fragments",
    "test_with_df_ipv4s_router_refuses",
    "test_ipv4s_host_fragments_by_default_once_it_knows",
    "test_ipv6s_host_fragments_once_it_knows",
    "test_no_router_fragments_ipv6",
}
WIDE = {"test_over_a_wide_hop_nobody_fragments"}
ADVERTISED = {
    "test_a_host_finds_its_address_and_its_router",
    "test_without_a_router_there_is_a_link_local_address_alone",
}
HAS_ITS_COUNTERFACTUAL_INSIDE = {
    "test_a_link_local_source_does_not_cross_the_router",
    "test_the_router_says_that_the_scope_ends_there",
    "test_a_link_local_destination_does_not_cross_the_router",
    "test_other_private_sources_cross_in_both_families",
    "test_options_lengthen_ipv4s_header_and_follow_ipv6s",
    "test_fragments_carry_a_header_of_their_own",
    "test_a_router_recomputes_ipv4s_checksum_and_ipv6_has_none",
    "test_a_wrong_header_checksum_is_dropped",
    "test_udp_needs_its_checksum_over_ipv6",
    "test_arp_asks_everybody_and_nd_a_group",
    "test_only_the_router_of_the_link_is_believed",
    "test_who_asks_from_afar_gets_no_answer",
}
EVERY = NARROW | WIDE | ADVERTISED | HAS_ITS_COUNTERFACTUAL_INSIDE  # but the slow one, which takes ten minutes


def run(*words: str) -> Said:
    return lab("run", *(f"ipv4-to-ipv6::{name}" for name in sorted(EVERY)), "-f", "json", *words, timeout=SECONDS)


def names(said: Said, outcome: str) -> set[str]:
    return {check["name"] for check in said.json("run")["checks"] if check["outcome"] == outcome}


def test_every_check_holds() -> None:
    said = run()
    assert said.status == 0, said.stdout
    assert names(said, "held") == EVERY


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        # Nothing is too big for the second hop: there is nothing to refuse, to fragment and to remember.
        ("mtu=1500", NARROW),
        ("mtu=1280", WIDE),
        # What is remembered for an hour is not forgotten after a few seconds.
        ("mtu_expires=3600", REMEMBERED),
        # Nobody advertises.
        ("slaac=0", ADVERTISED),
    ],
)
def test_with_a_cause_taken_away_exactly_the_claims_that_rest_on_it_fail(setting: str, wrong: set[str]) -> None:
    said = run("--set", setting)
    assert said.status == 1
    assert names(said, "failed") == wrong
    assert names(said, "held") == EVERY - wrong
