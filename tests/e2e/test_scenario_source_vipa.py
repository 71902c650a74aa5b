"""The shipped experiment on source VIPAs: it holds, and with a cause removed exactly the named checks fail."""

from __future__ import annotations

import pytest
from support.scenarios import failed, not_held, run, setting

pytestmark = pytest.mark.root

UNBOUND = "test_an_unbound_client_uses_the_vipa"
EVERY_RECORD = "test_every_record_comes_through_while_a_card_fails"
SILENT = "test_a_silent_loss_costs_the_dead_interval"
BFD = "test_bfd_finds_a_silent_loss_before_the_dead_interval"
EQUAL = "test_with_two_equal_ways_the_other_one_is_there_already"
STATIC = "test_a_static_route_names_the_source_and_stays_when_the_carrier_is_lost"
TRANSLATED = "test_a_connection_translated_to_the_vipa_outlives_a_card_that_goes_down_and_not_its_address"
FROM_THE_VIPA = {UNBOUND, EVERY_RECORD, SILENT, BFD, EQUAL, STATIC}


def test_every_check_holds_and_the_tables_are_told() -> None:
    said = run("source-vipa")
    assert said.status == 0, not_held(said)
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
    assert failed(run("source-vipa", **sets)) == wrong


@pytest.mark.soak
def test_every_check_holds_with_bird() -> None:
    said = run("source-vipa", daemon="bird")
    assert said.status == 0, not_held(said)
