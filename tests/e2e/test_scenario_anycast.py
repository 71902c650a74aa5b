"""The shipped experiment on anycast groups: it holds, and with a cause removed exactly the named checks fail."""

from __future__ import annotations

import pytest
from support.scenarios import failed, not_held, run, setting

pytestmark = pytest.mark.root

FOLLOWS = "test_names_are_served_although_one_server_dies"
OUTLIVES = "test_a_join_that_outlives_its_server_keeps_the_client"
BINDS = {
    "test_dnsmasq_with_bind_interfaces_does_not_serve_the_group",
    "test_dnsmasq_with_bind_dynamic_does_not_serve_the_group",
}
SERVES = "test_dnsmasq_without_serves_the_group"
NAMES = {FOLLOWS, OUTLIVES, SERVES} | BINDS
MEMBERS = {
    "test_a_holder_that_is_killed_takes_its_join_along",
    "test_a_member_advertises_without_the_override_flag",
    "test_the_first_advertisement_wins",
    "test_proxy_delay_chooses_who_answers_first",
    "test_the_source_of_an_echo_reply",
    "test_the_client_moves_when_its_member_dies",
    "test_the_client_stays_while_its_member_lives",
    "test_a_member_that_left_drops_in_silence",
}
COUNTED = {"test_a_join_is_seen_everywhere_but_among_the_addresses", "test_joins_are_counted"}


def test_every_check_holds_and_the_tables_are_told() -> None:
    said = run("anycast")
    assert said.status == 0, not_held(said)
    tables = {title: table for check in said.json("run")["checks"] for title, table in check["tables"].items()}
    assert set(tables) >= {"who may join", "outage when the answering member dies"}
    assert [row[-1] for row in tables["who may join"]["rows"]].count("joins") == 4
    assert [row[0] for row in tables["outage when the answering member dies"]["rows"]] == ["STALE", "REACHABLE"]


@pytest.mark.parametrize(
    ("sets", "wrong"),
    [
        ({"join": 0}, MEMBERS | NAMES),  # nobody answers for the group
        ({"dns": 0}, NAMES),
        ({"tied": 0}, {FOLLOWS}),  # the join outlives the server
        ({"tied": 1}, {OUTLIVES}),
        ({"bind": "wildcard"}, BINDS),
        ({"bind": "interfaces"}, {FOLLOWS, OUTLIVES, SERVES}),
    ],
    ids=setting,
)
def test_with_the_cause_removed_exactly_the_claims_about_it_fail(sets: dict[str, object], wrong: set[str]) -> None:
    assert failed(run("anycast", **sets)) == wrong


@pytest.mark.parametrize("check", sorted(COUNTED))
def test_where_others_hold_the_group_already_the_counts_are_other_ones(check: str) -> None:
    assert failed(run(f"anycast::{check}", join=1)) == {check}


def test_with_the_kernels_own_delay_of_advertisements_every_check_holds() -> None:
    said = run("anycast", proxy_delay=80)
    assert said.status == 0, not_held(said)
