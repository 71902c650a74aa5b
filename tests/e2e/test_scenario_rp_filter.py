"""The shipped experiment on the reverse path filter: it holds, and each of its claims fails where its cause is taken away."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import inside
from support.commands import Said, lab
from support.inside import Run, checks
from support.scenarios import SECONDS, not_held

from lab.kernels import fetch
from lab.substrate import features

pytestmark = pytest.mark.root

STRICT = {
    "test_only_the_interface_of_the_first_route_answers",
    "test_swapping_the_routes_swaps_who_answers",
    "test_log_martians_names_the_refused_request",
    "test_without_log_martians_the_log_is_silent",
    "test_a_refused_request_does_not_count",
    "test_the_counter_counts_ip_and_never_arp",
    "test_a_route_without_carrier_still_refuses_unless_it_is_ignored",
    "test_a_strict_router_drops_what_comes_in_by_another_way",
    "test_a_route_back_is_the_cure_of_a_strict_router",
}
WAYS_BACK = {"test_the_loose_filter_wants_some_way_back", "test_a_loose_router_wants_some_way_back"}
OFF = {"test_without_the_filter_both_answer", "test_a_router_without_the_filter_carries_an_asymmetric_conversation"}
LOOSE = {"test_with_the_loose_filter_both_answer", "test_a_loose_router_carries_an_asymmetric_conversation"} | WAYS_BACK
SETS_IT_ITSELF = {
    "test_the_greater_of_all_and_the_device_is_in_force",
    "test_the_greater_of_all_and_the_device_filters_forwarded_traffic",
    "test_an_ip_packet_from_the_wrong_side_counts",
}
TWO_TAGS = "test_of_two_tagged_requests_the_first_vlan_s_is_answered"
OTHER_ORDER = "test_raised_in_the_other_order_the_other_vlan_s_is_answered"
UNTAGGED = "test_without_a_tag_the_device_beneath_answers"
TAGGED = {TWO_TAGS, OTHER_ORDER, "test_the_priority_of_a_tag_changes_nothing", "test_the_order_of_raising_decides"}
TAGS_ALONE = {"test_a_tag_that_no_device_has_is_nobody_s", UNTAGGED}


def run(*words: str | Path) -> Said:
    """On this kernel, whatever others there are."""
    return lab("--kernel", "host", "run", "rp-filter", "-f", "json", *words, timeout=SECONDS)


@pytest.fixture(scope="module")
def tagged() -> set[str]:
    """The checks that are about tags and the filter, where this kernel has VLAN devices."""
    return set() if features.missing(["vlan"]) else TAGGED


def failed(said: Said) -> set[str]:
    return {check["name"] for check in said.json("run")["checks"] if check["outcome"] == "failed"}


def test_every_check_holds(tagged: set[str]) -> None:
    said = run()
    assert said.status == 0, said.stdout
    outcomes = {check["name"]: check["outcome"] for check in said.json("run")["checks"]}
    on_vlans = dict.fromkeys(TAGGED | TAGS_ALONE, "held" if tagged else "skipped")
    assert outcomes == {**dict.fromkeys(STRICT | OFF | LOOSE | SETS_IT_ITSELF, "held"), **on_vlans}


def test_every_check_holds_where_the_other_interface_is_raised_first() -> None:
    said = run("--set", "first=b")
    assert said.status == 0, said.stdout


def test_what_holds_of_a_host_holds_of_a_router() -> None:
    said = run("--set", "forwards=1")
    assert said.status == 0, said.stdout


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        # Without the filter nothing is refused, and with the loose one only the stranger.
        ("0", STRICT | WAYS_BACK),
        ("2", STRICT),
        # Where all is strict: nobody asks in a stranger's name without the filter's being in the way already.
        ("1", OFF | LOOSE - WAYS_BACK),
    ],
)
def test_with_another_filter_exactly_the_claims_about_this_one_fail(value: str, wrong: set[str], tagged: set[str]) -> None:
    said = run("--set", f"rp_filter={value}")
    assert said.status == 1
    assert failed(said) == wrong | (tagged if value != "1" else set())


def test_a_claim_that_fails_says_what_was_seen_instead() -> None:
    said = lab("run", "rp-filter::test_only_the_interface_of_the_first_route_answers", "--set", "rp_filter=0", "-f", "json")
    (check,) = said.json("run")["checks"]
    assert "['eth0', 'eth1'] == ['eth0']" in check["message"]


def test_on_vlans_it_holds_or_is_skipped_where_the_kernel_has_none() -> None:
    said = run("--set", "lan=vlan")
    checks = said.json("run")["checks"]
    if features.missing(["vlan"]):
        assert said.status == 4
        assert {(check["outcome"], check["message"].split(":")[0]) for check in checks} == {
            ("skipped", "this kernel has no vlan")
        }
    else:
        assert said.status == 0, said.stdout


def test_in_a_guest_tagged_requests_are_answered_by_the_first_vlan_and_not_without_the_filter() -> None:
    asked = checks("rp-filter", TWO_TAGS, OTHER_ORDER, UNTAGGED)
    runs: list[Run] = [(asked, {}), (asked[:2], {"rp_filter": 2}), (asked[1:2], {"first": "a"})]
    assert inside.failed(*runs) == [set(), {TWO_TAGS, OTHER_ORDER}, {OTHER_ORDER}]


@pytest.mark.soak
def test_in_a_guest_every_check_holds_on_vlans_and_the_log_says_why() -> None:
    """Debian's own kernel: that of User-mode Linux logs no martians."""
    fetch.fetch("6.1")
    said = inside.run("rp-filter", kernel_name="6.1", lan="vlan")
    assert said.status == 0, not_held(said)
    outcomes = {check["name"]: check["outcome"] for check in said.json("run")["checks"]}
    carrier = "test_a_route_without_carrier_still_refuses_unless_it_is_ignored"
    assert outcomes == {**dict.fromkeys(outcomes, "held"), carrier: "skipped"}
    assert outcomes.keys() >= TAGGED | TAGS_ALONE


def test_two_at_once_do_not_disturb_each_other() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: run(), range(2)))
    assert [each.status for each in said] == [0, 0], said
