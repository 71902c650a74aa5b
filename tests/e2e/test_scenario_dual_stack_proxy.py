"""The shipped experiment on a proxy that learns IPv6: it holds, and each of its claims fails where its cause is taken away."""

from __future__ import annotations

import pytest
from support.commands import Said, lab

pytestmark = pytest.mark.root

SECONDS = 300.0
SILENT = {  # what a server's silence costs
    "test_in_sequence_every_blackholed_address_costs_its_time_out",
    "test_with_ipv6_first_broken_ipv6_is_what_costs",
    "test_with_ipv4_first_broken_ipv4_is_what_costs",
    "test_a_group_is_tried_to_its_end",
    "test_happy_eyeballs_cost_less_than_a_time_out",
    "test_happy_eyeballs_wait_for_all_at_once",
    "test_an_outgoing_address_takes_the_other_family_away",
}
RESET = {"test_a_reset_costs_nothing", "test_happy_eyeballs_do_not_wait_after_a_reset"}
ICMP = {"test_an_icmp_error_ends_an_attempt"}
ANY_FAULT = {
    "test_in_sequence_a_sound_server_costs_nothing",
    "test_no_route_costs_nothing",
    "test_happy_eyeballs_stay_with_what_answers",
    "test_an_outgoing_address_leaves_its_own_family",
    "test_the_kernel_ties_destination_to_source",
}
WHOLE = "test_a_transparent_proxy_speaks_with_the_clients_address"
OWN = {
    "test_without_the_clients_address_the_server_hears_the_proxy",
    "test_the_rule_for_the_way_back_is_for_the_clients_address",
}
PAST = {
    "test_without_the_rule_that_hands_over_nothing_is_taken",
    "test_nothing_is_handed_to_a_socket_that_is_not_transparent",
}
SPEAKER = "test_only_a_transparent_socket_speaks_with_anothers_address"
DIVERT = "test_without_the_rule_for_the_way_back_the_servers_answers_are_lost"
DROPPED = {
    "test_without_the_routing_rule_what_is_handed_over_is_dropped",
    "test_without_the_local_route_what_is_handed_over_is_dropped",
}
SMALL = {WHOLE, SPEAKER, DIVERT} | OWN | PAST | DROPPED
SQUID_WHOLE = "test_squid_speaks_with_the_clients_address"
SQUID_PAST = "test_nothing_is_handed_to_squid_without_the_rule"
SQUID_DIVERT = "test_squid_hears_no_answer_without_the_rule_for_the_way_back"
SQUID_DROPPED = {
    "test_nothing_reaches_squid_without_the_routing_rule",
    "test_nothing_reaches_squid_without_the_local_route",
}
SQUID_TAKES_OVER = {SQUID_WHOLE, SQUID_PAST, SQUID_DIVERT} | SQUID_DROPPED
SOURCES = {
    "test_squid_has_an_ipv4_source_for_ipv4_only",
    "test_squid_has_an_ipv6_source_for_ipv6_only",
}
SQUID_SILENT, SQUID_RESET = "test_squid_gives_up_after_its_time_out", "test_squid_does_not_wait_after_a_reset"
SQUID_ASKED = SOURCES | {
    "test_squid_finds_the_family_that_works",
    SQUID_SILENT,
    SQUID_RESET,
    "test_squid_goes_where_the_name_server_answers_first",
}


def run(checks: set[str], *words: str) -> Said:
    """These checks, all of the scenario where none is named."""
    named = [f"dual-stack-proxy::{check}" for check in sorted(checks)] or ["dual-stack-proxy"]
    return lab("run", *named, "-f", "json", *words, timeout=SECONDS)


def outcomes(said: Said) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in said.json("run")["checks"]}


def failed(said: Said) -> set[str]:
    return {check for check, outcome in outcomes(said).items() if outcome == "failed"}


def test_every_check_holds() -> None:
    said = run(set())
    assert said.status == 0, said.stdout
    everything = SILENT | RESET | ICMP | ANY_FAULT | SMALL | SQUID_TAKES_OVER | SQUID_ASKED
    assert outcomes(said) == dict.fromkeys(everything, "held")


def test_with_resets_exactly_the_claims_about_silence_and_icmp_fail() -> None:
    said = run(SILENT | RESET | ICMP | ANY_FAULT | {SQUID_SILENT, SQUID_RESET}, "--set", "fault=reset")
    assert failed(said) == SILENT | ICMP | {SQUID_SILENT}


def test_with_silence_exactly_the_claims_about_resets_and_icmp_fail() -> None:
    said = run(RESET | ICMP | ANY_FAULT | {SQUID_SILENT, SQUID_RESET}, "--set", "fault=blackhole", "--set", "attempt=1.5")
    assert failed(said) == RESET | ICMP | {SQUID_RESET}


@pytest.mark.parametrize(
    ("without", "held"),
    [
        ("nothing", {WHOLE} | OWN),
        ("capture", PAST),
        ("listener", PAST),
        ("speaker", {SPEAKER} | OWN),
        ("divert", {DIVERT} | OWN),
    ],
)
def test_with_a_piece_removed_exactly_the_claims_about_that_piece_hold(without: str, held: set[str]) -> None:
    assert failed(run(SMALL, "--set", f"without={without}")) == SMALL - held


@pytest.mark.parametrize(("without", "whole"), [("rule", WHOLE), ("route", SQUID_WHOLE)])
def test_without_either_half_of_the_routing_the_client_reaches_nobody(without: str, whole: str) -> None:
    said = run({whole} | DROPPED | SQUID_DROPPED, "--set", f"without={without}")
    assert failed(said) == {whole}


@pytest.mark.parametrize(
    ("without", "held"),
    [("nothing", {SQUID_WHOLE}), ("capture", {SQUID_PAST}), ("divert", {SQUID_DIVERT})],
)
def test_with_a_piece_removed_before_squid_exactly_the_claims_about_it_hold(without: str, held: set[str]) -> None:
    assert failed(run(SQUID_TAKES_OVER, "--set", f"without={without}")) == SQUID_TAKES_OVER - held


def test_without_a_source_of_its_own_squid_has_the_proxys_in_both_families() -> None:
    assert failed(run(SOURCES, "--set", "outgoing=none")) == SOURCES
