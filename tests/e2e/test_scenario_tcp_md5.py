"""The shipped experiment on signed TCP: it holds, and each of its claims fails where its cause is taken away."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.commands import Said
from support.scenarios import failed, not_held, run

pytestmark = pytest.mark.root

RESETS = {"test_a_signed_session_survives_a_spoofed_reset"}
UNSIGNED = {"test_a_spoofed_reset_ends_an_unsigned_session"}
LIVING = {
    "test_a_key_that_changes_on_one_side_stalls_the_session",
    "test_a_key_that_is_taken_away_on_both_sides_leaves_the_session",
}
CONNECTS = {
    "test_the_same_key_connects",
    "test_an_ipv6_socket_has_keys_for_ipv4_peers",
    "test_the_clients_port_need_not_be_known",
    "test_a_client_that_is_bound_to_nothing_connects",
    "test_every_segment_bears_the_digest_of_the_rfc",
    "test_the_signature_takes_20_bytes_of_every_segment",
}
WRONG, NO_CLIENT, NO_SERVER = (
    "test_a_wrong_key_is_silence",
    "test_a_client_without_a_key_is_silence",
    "test_a_server_without_a_key_is_silence",
)
SAME_KEY = CONNECTS | LIVING | RESETS
"""What rests on both having the same key."""
SIGNED_SYN = {"test_a_closed_port_refuses_only_who_does_not_sign", "test_the_signature_takes_the_place_of_timestamps"}
PREFIXES = {"test_a_key_for_a_prefix_covers_every_address_in_it", "test_the_longest_prefix_wins"}


def test_every_check_holds() -> None:
    said = run("tcp-md5")
    assert said.status == 0, not_held(said)
    assert {check["outcome"] for check in said.json("run")["checks"]} == {"held"}


CAUSES = {
    # Whose key is right is no matter: they are the same, or not. The unsigned session is one that cannot be any more.
    "client=wrong": SAME_KEY | UNSIGNED | {NO_CLIENT},
    "server=wrong": SAME_KEY | UNSIGNED | {WRONG, NO_SERVER},
    "client=none": SAME_KEY | SIGNED_SYN | {WRONG, NO_SERVER},
    "server=none": SAME_KEY | {WRONG, NO_CLIENT},
    "prefix=host": PREFIXES,
    "sides=one": LIVING,
    "sequence=outside": UNSIGNED,
}


SOON = ("client=none", "prefix=host", "sides=one", "sequence=outside")


def without(causes: Iterable[str]) -> dict[str, set[str]]:
    """The checks that fail, by the cause that is taken away; runs side by side, since most of each is waiting."""
    with ThreadPoolExecutor(4) as pool:
        said: dict[str, Said] = dict(pool.map(lambda cause: (cause, run("tcp-md5", **dict([cause.split("=")]))), causes))
    assert {cause: each.status for cause, each in said.items()} == dict.fromkeys(said, 1)
    return {cause: failed(each) for cause, each in said.items()}


def test_with_a_cause_taken_away_exactly_the_claims_that_rest_on_it_fail() -> None:
    assert without(SOON) == {cause: CAUSES[cause] for cause in SOON}


@pytest.mark.soak
def test_with_any_other_cause_taken_away_exactly_the_claims_that_rest_on_it_fail() -> None:
    others = [cause for cause in CAUSES if cause not in SOON]
    assert without(others) == {cause: CAUSES[cause] for cause in others}
