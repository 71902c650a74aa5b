"""The shipped experiment on VLANs, in a guest: it holds, and with a cause removed exactly the named checks fail."""

from __future__ import annotations

import pytest
from support import inside
from support.inside import Run, checks
from support.scenarios import not_held

pytestmark = pytest.mark.root

ALONE = "test_hosts_of_one_vlan_hear_each_other_alone"
HOPS = "test_a_second_tag_hops_into_another_vlan_by_the_native_one"
PREVENTED = "test_a_native_vlan_of_nobody_prevents_the_hop"
PROVIDED = "test_a_provider_carries_all_vlans_in_one_of_its_own"
ONE_TAG = "test_a_cable_of_1500_carries_1500_bytes_with_a_tag"
OUT = "test_the_priority_of_a_packet_becomes_that_of_its_tag_by_the_map"
THROUGH = "test_the_priority_of_a_tag_passes_an_ipv6_router_by_both_maps"
TAGGED = "test_a_tag_says_which_vlan_only_where_there_are_several"
SORTS = "test_a_trunk_sorts_by_the_tag"
OWN_TAG = "test_an_access_port_takes_no_tag_but_its_own"
MISTAKEN = "test_switches_between_that_know_the_same_tag_take_it_for_their_own"
BY_TOS = "test_an_ipv4_router_takes_the_priority_from_the_packet_instead"


def test_claims_hold_and_each_fails_where_its_cause_is_removed() -> None:
    runs: list[Run] = [
        (checks("vlan", ALONE, HOPS, PROVIDED, ONE_TAG, THROUGH), {}),
        (checks("vlan", HOPS), {"native": 1}),
        (checks("vlan", PROVIDED), {"provider": "802.1Q"}),
        (checks("vlan", ONE_TAG, THROUGH), {"maps": 0, "mtu": 1499}),
    ]
    assert inside.failed(*runs) == [set(), {HOPS}, {PROVIDED}, {ONE_TAG, THROUGH}]


@pytest.mark.soak
def test_every_check_holds_and_what_passes_is_told() -> None:
    said = inside.run("vlan")
    assert said.status == 0, not_held(said)
    rows = [row for check in said.json("run")["checks"] for table in check["tables"].values() for row in table["rows"]]
    assert [[int(cell) for cell in row] for row in rows] == [[1, 1500, 1504, 1508], [2, 1500, 1500, 1508]]


CAUSES: list[tuple[dict[str, object], set[str]]] = [
    ({"maps": 0}, {OUT, THROUGH, BY_TOS}),
    ({"native": 9}, {TAGGED, PREVENTED, PROVIDED, MISTAKEN}),
    ({"native_right": 7}, {TAGGED, SORTS, "test_the_native_vlan_has_no_tag_on_the_cable"}),
    ({"carried": 8}, {ALONE, TAGGED, SORTS, OWN_TAG, PREVENTED, PROVIDED, THROUGH, BY_TOS}),
]


@pytest.mark.soak
def test_with_the_cause_removed_exactly_the_claims_about_it_fail() -> None:
    found = inside.failed(*((["vlan"], sets) for sets, _ in CAUSES))
    assert found == [wrong for _, wrong in CAUSES]
