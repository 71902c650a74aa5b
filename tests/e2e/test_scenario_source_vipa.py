"""The shipped experiment on source VIPAs: it holds, and with a cause removed exactly the named checks fail."""

from __future__ import annotations

import pytest
from support import inside
from support.inside import Run, checks
from support.scenarios import failed, not_held, run_here, setting

pytestmark = pytest.mark.root

UNBOUND = "test_an_unbound_client_uses_the_vipa"
EVERY_RECORD = "test_every_record_comes_through_while_a_card_fails"
SILENT = "test_a_silent_loss_costs_the_dead_interval"
BFD = "test_bfd_finds_a_silent_loss_before_the_dead_interval"
EQUAL = "test_with_two_equal_ways_the_other_one_is_there_already"
STATIC = "test_a_static_route_names_the_source_and_stays_when_the_carrier_is_lost"
TRANSLATED = "test_a_connection_translated_to_the_vipa_outlives_a_card_that_goes_down_and_not_its_address"
NFS_ON = "test_a_mounted_file_is_read_on_while_its_card_goes_down"
NFS_NOT_ON = "test_without_the_vipa_a_mounted_file_is_not_read_on"
MOUNTS = "test_which_way_covers_a_mount"
BOND_ON = "test_a_bond_carries_a_connection_on_within_one_network"
BOND_NOT_ON = "test_a_bond_does_not_carry_a_connection_on_to_another_network"
ELSEWHERE = {NFS_ON, NFS_NOT_ON, MOUNTS, BOND_ON, BOND_NOT_ON}
FROM_THE_VIPA = {UNBOUND, EVERY_RECORD, SILENT, BFD, EQUAL, STATIC}


def test_every_check_holds_and_the_tables_are_told() -> None:
    said = run_here("source-vipa")
    assert said.status == 0, not_held(said)
    assert not_held(said).keys() <= ELSEWHERE
    tables = {title: table["rows"] for check in said.json("run")["checks"] for title, table in check["tables"].items()}
    assert {title: len(rows) for title, rows in tables.items()} == {
        "a card fails (frr)": 6,
        "a card fails in silence (frr, hello 1 s, dead 4 s)": 2,
        "a card fails in silence (frr, BFD)": 2,
        "one of two equal ways fails (frr)": 2,
        "the source address, by the way that shall make it the VIPA": 4,
    }
    by_hello, by_bfd = (max(float(row[4]) for row in rows) for title, rows in tables.items() if "silence" in title)
    assert by_bfd < by_hello


@pytest.mark.parametrize(
    ("sets", "wrong"),
    [
        ({"source": "none"}, FROM_THE_VIPA),
        pytest.param({"nat": "none"}, {TRANSLATED}, marks=pytest.mark.soak),
        pytest.param({"bfd": 0}, {BFD}, marks=pytest.mark.soak),
        pytest.param({"ecmp": 0}, {EQUAL}, marks=pytest.mark.soak),
    ],
    ids=setting,
)
def test_with_the_cause_removed_exactly_the_claims_about_it_fail(sets: dict[str, object], wrong: set[str]) -> None:
    assert failed(run_here("source-vipa", **sets)) == wrong


def test_an_nfs_mount_outlives_its_card_by_the_vipa_alone() -> None:
    on = checks("source-vipa", NFS_ON)
    runs: list[Run] = [(on, {}), (on, {"source": "none"})]
    assert inside.failed(*runs) == [set(), {NFS_ON}]


@pytest.mark.soak
def test_the_nfs_server_serves_over_both_families_and_after_it_was_killed() -> None:
    said = inside.run(inside.GUEST / "nfsd.py")
    assert said.status == 0, not_held(said)


@pytest.mark.soak
def test_mounts_and_bonds_with_the_cause_removed() -> None:
    causes: list[tuple[tuple[str, ...], dict[str, object], set[str]]] = [
        ((NFS_NOT_ON, MOUNTS, BOND_ON, BOND_NOT_ON), {}, set()),
        ((NFS_NOT_ON, MOUNTS), {"source": "route"}, {NFS_NOT_ON, MOUNTS}),
        ((BOND_ON,), {"networks": 2}, {BOND_ON}),
        ((BOND_NOT_ON,), {"networks": 1}, {BOND_NOT_ON}),
    ]
    assert inside.failed(*((checks("source-vipa", *names), sets) for names, sets, _ in causes)) == [each for *_, each in causes]


@pytest.mark.soak
def test_every_check_holds_with_bird() -> None:
    said = run_here("source-vipa", daemon="bird")
    assert said.status == 0, not_held(said)
    assert not_held(said).keys() <= ELSEWHERE
