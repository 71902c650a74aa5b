"""The shipped experiment on bonding, in a guest: it holds, and with a cause removed exactly the named checks fail."""

from __future__ import annotations

import pytest
from support import inside
from support.inside import Run, checks
from support.scenarios import not_held

pytestmark = pytest.mark.root

ANNOUNCED = "test_the_new_card_announces_the_address"
OUTAGE = "test_without_an_announcement_the_outage_lasts_as_long_as_a_switch_remembers"
SAYS = "test_the_host_ends_the_outage_by_saying_anything"
FORGETS = "test_a_switch_that_loses_the_carrier_itself_forgets_at_once"
STAYS = "test_the_bond_stays_with_the_new_card"
LOOKS_NOT = "test_a_bond_that_does_not_look_keeps_to_the_dead_card"


def test_announcements_are_made_by_a_bond_that_looks_and_is_told_to() -> None:
    announced, looks_not = checks("bonding", ANNOUNCED), checks("bonding", LOOKS_NOT)
    runs: list[Run] = [([*announced, *looks_not], {}), (announced, {"num_grat_arp": 0}), (looks_not, {"miimon": 50})]
    assert inside.failed(*runs) == [set(), {ANNOUNCED}, {LOOKS_NOT}]


@pytest.mark.soak
def test_every_check_holds_and_the_outages_are_told() -> None:
    said = inside.run("bonding")
    assert said.status == 0, not_held(said)
    (table,) = [table for check in said.json("run")["checks"] for table in check["tables"].values()]
    announced, silent, longer = (float(row[3]) for row in table["rows"])
    assert announced < silent < longer


@pytest.mark.soak
def test_with_the_cause_removed_exactly_the_claims_about_it_fail() -> None:
    causes: dict[str, tuple[dict[str, object], set[str]]] = {
        "it announces itself": ({"num_grat_arp": 0}, {ANNOUNCED, OUTAGE}),
        "it is silent": ({"num_grat_arp": 1}, {SAYS}),
        "the bond looks": ({"miimon": 0}, {ANNOUNCED, OUTAGE, SAYS, FORGETS, STAYS}),
        "a switch of its own": ({"switches": "three"}, {FORGETS}),
    }
    found = inside.failed(*((["bonding"], sets) for sets, _ in causes.values()))
    assert dict(zip(causes, found, strict=True)) == {name: wrong for name, (_, wrong) in causes.items()}
