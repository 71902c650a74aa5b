"""The shipped experiment on Open vSwitch: it holds, and with a cause removed exactly the named checks fail."""

from __future__ import annotations

import dataclasses

import pytest
from support.scenarios import failed, run, run_here
from support.user import new_user

pytestmark = pytest.mark.root

APART = "test_hosts_hear_those_of_their_own_vlan_alone"
TRUNK = "test_a_trunk_carries_its_vlans_with_tags"
ARP = "test_an_arp_request_is_answered_in_the_vlan_that_its_tag_names"
NATIVE = "test_what_comes_without_a_tag_is_in_the_native_vlan"
INTERNAL = "test_an_internal_port_is_a_member_of_its_vlan"
MOVED = "test_an_internal_port_may_be_in_another_namespace"
TCP = "test_tcp_needs_whole_checksums"
TAGS = "test_push_vlan_and_pop_vlan"
SAMPLE = "test_sample"
RULES = "test_openflow_rules"
RESTART = "test_a_restart_keeps_the_configuration_and_loses_the_rules"
KERNEL = "test_the_kernels_datapath_without_ovs_vswitchd"


def test_every_check_holds_and_what_this_kernel_lacks_is_told() -> None:
    said = run("open-vswitch")
    checks = {check["name"]: check for check in said.json("run")["checks"]}
    untold = {name: check["message"] for name, check in checks.items() if check["outcome"] != "held"}
    assert said.status == 0, untold
    assert set(untold) <= {KERNEL}
    assert all("this kernel has no openvswitch" in message for message in untold.values())
    tables = {title: table for check in checks.values() for title, table in check["tables"].items()}
    assert [row[2:] for row in tables["what the datapath counts"]["rows"]] == [["0", "1"], ["4", "0"], ["0", "3"]]
    assert [row[0] for row in tables["what a restart keeps"]["rows"] if row[1] == row[2]] == ["VLAN of c", "numbers of ports"]


# A view of /dev/net/tun of the user's own, with this mode; see `support.user`.
_TUN = """
import stat
os.mknod(f"{{home}}/tun", stat.S_IFCHR, os.makedev(10, 200))
os.chmod(f"{{home}}/tun", {mode})
done(libc.mount(f"{{home}}/tun".encode(), b"/dev/net/tun", None, ctypes.c_ulong(0x1000), None))
"""


@pytest.mark.parametrize(("mode", "status", "told"), [("0o666", 0, "1 held"), ("0o600", 4, "must be let open /dev/net/tun")])
def test_an_ordinary_user_has_it_who_may_open_the_device_of_taps(mode: str, status: int, told: str) -> None:
    with new_user(subordinate=True) as plain:
        user = dataclasses.replace(plain, before=_TUN.format(mode=mode))
        said = user.runs_lab("run", "open-vswitch::test_output", "--set", "datapath=userspace")
    assert said.status == status, said.stdout + said.stderr
    assert told in said.stdout


@pytest.mark.parametrize(
    ("sets", "wrong"),
    [
        ({"vlans": 0}, {APART, TRUNK, ARP, NATIVE, INTERNAL, MOVED, TAGS, RULES, RESTART}),
        ({"apart": 7}, {APART, TRUNK, INTERNAL, MOVED, RULES}),  # c is in the VLAN of the others
        ({"native": 8, "internal": 0, "checksums": "hardware"}, {NATIVE} | {INTERNAL, MOVED, SAMPLE} | {TCP}),
    ],
    ids=["no VLANs", "c not apart", "native VLAN, internal port and checksums"],
)
def test_with_the_cause_removed_exactly_the_claims_about_it_fail(sets: dict[str, object], wrong: set[str]) -> None:
    assert failed(run_here("open-vswitch", **sets)) == wrong
