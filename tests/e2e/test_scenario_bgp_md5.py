"""The shipped experiment on BGP over signed TCP: it holds, and each of its claims fails where its cause is taken away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.commands import Said
from support.scenarios import failed, not_held, run

pytestmark = pytest.mark.root

SAME, LIVING = (
    "test_with_the_same_password_they_exchange_routes",
    "test_a_password_that_changes_ends_the_sessions_until_both_sides_have_it",
)
DIFFERENT, ONE_SIDE, OTHER_SIDE = (
    "test_with_different_passwords_they_never_meet",
    "test_with_a_password_on_one_side_they_never_meet",
    "test_with_a_password_on_the_other_side_they_never_meet",
)
CAUSES = {
    "sides=one": {LIVING},
    # Another password, where somebody has one, is as good for who has none.
    "r1=wrong": {SAME, LIVING, OTHER_SIDE},
    "r1=none": {SAME, LIVING, DIFFERENT, ONE_SIDE},
    "neighbours=wrong": {SAME, LIVING, DIFFERENT, ONE_SIDE},
    "neighbours=none": {SAME, LIVING, DIFFERENT, OTHER_SIDE},
}
SOON = ("sides=one", "r1=wrong")


def test_every_check_holds() -> None:
    said = run("bgp-md5")
    assert said.status == 0, not_held(said)
    assert {check["outcome"] for check in said.json("run")["checks"]} == {"held"}


def without(causes: tuple[str, ...]) -> dict[str, set[str]]:
    """The checks that fail, by the cause that is taken away; runs side by side, since most of each is waiting."""
    with ThreadPoolExecutor(3) as pool:
        said: list[Said] = list(pool.map(lambda cause: run("bgp-md5", **dict([cause.split("=")])), causes))
    assert [each.status for each in said] == [1] * len(causes)
    return dict(zip(causes, map(failed, said), strict=True))


def test_with_a_cause_taken_away_exactly_the_claims_that_rest_on_it_fail() -> None:
    assert without(SOON) == {cause: CAUSES[cause] for cause in SOON}


@pytest.mark.soak
def test_with_any_other_cause_taken_away_exactly_the_claims_that_rest_on_it_fail() -> None:
    others = tuple(cause for cause in CAUSES if cause not in SOON)
    assert without(others) == {cause: CAUSES[cause] for cause in others}
