"""The shipped experiment on floating addresses: it holds, and with a cause removed exactly the named checks fail."""

from __future__ import annotations

import pytest
from support.scenarios import failed, not_held, run, setting

pytestmark = pytest.mark.root

CLONED = "test_a_cloned_mac_address_ends_ipv6_with_accept_dad_2"
ASKED = "test_an_address_that_nobody_has_becomes_usable"
TAKEN_BACK = "test_an_optimistic_duplicate_is_taken_back"
DETECTED = {
    "test_a_duplicate_is_detected_and_of_no_use",
    "test_the_defender_answers_everybody",
    "test_the_kernel_logs_the_duplicate",
    "test_an_optimistic_address_is_used_meanwhile",
    TAKEN_BACK,
    CLONED,
    "test_who_takes_the_address_again_after_the_partition_finds_the_other",
}
KEPT_ALIVE = {
    "test_keepalived_moves_the_address",
    "test_keepalived_that_is_killed_leaves_the_address_behind",
    "test_keepalived_ends_a_split_brain",
}


def test_every_check_holds_and_the_tables_are_told() -> None:
    said = run("floating-ip")
    assert said.status == 0, not_held(said)
    tables = {title: table["rows"] for check in said.json("run")["checks"] for title, table in check["tables"].items()}
    assert [len(rows) for rows in tables.values()] == [6, 2]
    least = {row[0]: float(row[1]) for row in tables["outage when the address moves"]}
    assert {how for how in least if least[how] == 0} == {"an advertisement with override", "detection, ndisc_notify=1"}
    assert all(float(row[1]) <= float(row[2]) <= float(row[3]) for row in tables["outage when the address moves"])


@pytest.mark.parametrize(
    ("sets", "wrong"),
    [
        ({"accept_dad": 0}, DETECTED | {ASKED}),  # nobody asks
        pytest.param(
            {"dad_transmits": 0}, DETECTED, marks=pytest.mark.soak
        ),  # nobody asks, but one check says how often itself
        ({"accept_dad": 1}, {CLONED}),
        ({"optimistic_dad": 0}, {TAKEN_BACK}),
        ({"keepalived": 0}, KEPT_ALIVE),
    ],
    ids=setting,
)
def test_with_the_cause_removed_exactly_the_claims_about_it_fail(sets: dict[str, object], wrong: set[str]) -> None:
    assert failed(run("floating-ip", **sets)) == wrong
