"""What is read of a living lab: who answers ARP, the kernel's log, the state beside a failure, what stays behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, recipe
from lab.errors import HostError
from lab.live import unique_name
from lab.observe import arp, kmsg
from lab.observe.conditions import ConditionTimeout
from lab.observe.evidence import Watch
from lab.observe.remains import Footprint

pytestmark = pytest.mark.root

TWO_HOSTS = """
name: two
nodes: {lan: {kind: switch}, a: {}, b: {}, twin: {}}
links:
  - {endpoints: ["a:eth0", lan], addresses: {a: 10.0.0.1/24}}
  - {endpoints: ["b:eth0", lan], addresses: {b: 10.0.0.2/24}}
  - {endpoints: ["twin:eth0", lan]}
"""


@pytest.fixture(scope="module")
def two_hosts(tmp_path_factory: pytest.TempPathFactory) -> recipe.Recipe:
    file = tmp_path_factory.mktemp("topology") / "two.yaml"
    file.write_text(TWO_HOSTS)
    return recipe.read(file)


@pytest.fixture
def two(two_hosts: recipe.Recipe) -> Iterator[Lab]:
    with Lab.up(two_hosts, name=unique_name("two")) as up:
        yield up


# -- asking by ARP


def test_whoever_has_the_address_answers_with_its_mac(two: Lab) -> None:
    assert two["a"].who_has("eth0", "10.0.0.2") == (two["b"].mac("eth0"),)


def test_all_who_have_the_address_answer(two: Lab) -> None:
    two["twin"].run(["ip", "address", "add", "10.0.0.2/24", "dev", "eth0"])
    assert set(two["a"].who_has("eth0", "10.0.0.2")) == {two["b"].mac("eth0"), two["twin"].mac("eth0")}


def test_who_is_told_to_ignore_a_stranger_is_proven_silent_without_waiting(two: Lab) -> None:
    two["b"].sysctl["net.ipv4.conf.eth0.rp_filter"] = "1"
    assert two["a"].who_has("eth0", "10.0.0.2", "198.51.100.1") == ()
    two["b"].sysctl["net.ipv4.conf.eth0.rp_filter"] = "0"
    assert two["a"].who_has("eth0", "10.0.0.2", "198.51.100.1") == (two["b"].mac("eth0"),)


def test_silence_is_not_claimed_where_nobody_has_the_address(two: Lab) -> None:
    with pytest.raises(arp.NoAnswerError, match=r"on eth0 nobody answered an ARP probe for 10\.0\.0\.9 within 2 s"):
        two["a"].who_has("eth0", "10.0.0.9")


def test_silence_is_not_claimed_where_the_cable_is_cut(two: Lab) -> None:
    two["b"].run(["ip", "link", "set", "eth0", "down"])
    with pytest.raises(arp.NoAnswerError):
        two["a"].who_has("eth0", "10.0.0.2")


def test_asking_out_of_a_device_that_is_not_there_names_the_error(two: Lab) -> None:
    with pytest.raises(OSError, match="No such device"):
        two["a"].who_has("eth7", "10.0.0.2")


# -- the kernel's log


def refuse_a_stranger(lab: Lab, log: kmsg.Log) -> tuple[kmsg.Martian, ...]:
    """Node b refuses what node a asks in a stranger's name, and the kernel logs that."""
    for key in ("rp_filter", "log_martians"):
        lab["b"].sysctl[f"net.ipv4.conf.eth0.{key}"] = "1"
    mac = lab["a"].mac("eth0")
    return log.wait(
        lambda entries: kmsg.martians(entries, {mac}),
        lambda: lab["a"].who_has("eth0", "10.0.0.2", "198.51.100.1"),
        f"a martian from {mac}",
    )


def test_a_martian_is_told_by_the_mac_of_who_sent_it(two: Lab) -> None:
    with kmsg.Log() as log:
        found = refuse_a_stranger(two, log)
        assert (found[0].to, found[0].sender, found[0].device) == ("10.0.0.2", "198.51.100.1", "eth0")
        assert kmsg.martians(log.entries(), {"02:00:00:00:00:01"}) == ()
        own = kmsg.of_macs(log.entries(), {two["a"].mac("eth0")})
        assert {entry.text.split(" ", 1)[0] for entry in own} == {"IPv4:", "ll"}


def test_what_was_logged_before_is_not_seen(two: Lab) -> None:
    with kmsg.Log() as log:
        refuse_a_stranger(two, log)
    with kmsg.Log() as later:
        assert kmsg.of_macs(later.entries(), {two["a"].mac("eth0")}) == ()


def test_a_line_that_never_comes_is_named_when_the_deadline_passes() -> None:
    with (
        kmsg.Log() as log,
        pytest.raises(ConditionTimeout, match="never had a line that nobody writes, within 0 s"),
    ):
        log.wait(lambda entries: None, lambda: None, "a line that nobody writes", timeout=0)


@pytest.mark.parametrize(
    ("leave", "sentence"),
    [
        ("unshare(0x10000000)  # CLONE_NEWUSER", "without root the kernel's log cannot be read here\n    run it as root; or"),
        ("os.setresuid(65534, 65534, 65534)", "/dev/kmsg cannot be opened: Operation not permitted\n    reading the kernel's"),
    ],
)
def test_a_log_that_cannot_be_read_is_what_the_host_lacks(leave: str, sentence: str) -> None:
    """In a user namespace of its own nobody has the privilege: the kernel asks for it in the first one."""
    code = (
        "import os; from lab.substrate.syscalls import unshare; from lab.observe import kmsg\n"
        f"{leave}\n"
        "try: kmsg.Log()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{HostError.__name__} {sentence}")


# -- evidence


def collected(lab: Lab, watch: Watch) -> dict[str, str]:
    return watch.collect({node.name: node.ns for node in lab}, {"name": lab.name}, lambda: lab.rendered)


def test_evidence_holds_the_state_of_every_node_and_the_versions_of_kernel_and_lab(two: Lab) -> None:
    with Watch() as watch:
        two["a"].run(["ping", "-c1", "10.0.0.2"])
        sections = collected(two, watch)
    assert f"name            {two.name}" in sections["lab"]
    assert os.uname().release in sections["lab"]
    assert f"eth0: veth, up, mtu 1500, {two['b'].mac('eth0')}  10.0.0.2/24" in sections["addresses"]
    assert "a:\n  10.0.0.0/24 src 10.0.0.1 dev eth0" in sections["routes"]
    assert f"10.0.0.1 dev eth0 lladdr {two['a'].mac('eth0')}" in sections["neighbours"]
    assert "IcmpInEchos 1" in sections["counters that moved"]
    assert "IpForwarding" not in sections["counters that moved"]
    assert sections["topology as deployed"] == two.rendered.rstrip()


def test_evidence_holds_the_log_lines_of_this_lab_alone(two: Lab, two_hosts: recipe.Recipe) -> None:
    with Watch() as watch, kmsg.Log() as log, Lab.up(two_hosts, name=unique_name("two")) as other:
        for lab in (two, other):
            refuse_a_stranger(lab, log)
        said = collected(two, watch)["kernel log"]
        assert two["a"].mac("eth0").replace(":", " ") in said
        assert other["a"].mac("eth0").replace(":", " ") not in said


def test_evidence_that_cannot_be_read_says_so_and_the_rest_stays(two: Lab, tmp_path: Path) -> None:
    with Watch() as watch:
        sections = watch.collect({"gone": tmp_path / "gone"}, {"name": "x"}, lambda: two.rendered)
    assert sections["addresses"].startswith("could not be read: FileNotFoundError")
    assert sections["topology as deployed"]


# -- what stays behind


def footprint(lab: Lab) -> Footprint:
    return Footprint.of(lab.directory, [node.ns for node in lab])


def test_a_lab_that_is_up_has_mounts_links_and_processes_here_and_one_that_is_down_has_nothing(two: Lab) -> None:
    process = two["a"].spawn(["sleep", "600"])
    before = footprint(two)
    told = "\n".join(before.remains())
    assert f"{two.directory} is still mounted" in told
    assert f"/run/netns/{two.name}.a still leads into the lab" in told
    assert "still lives in a namespace of the lab" in told
    process.close()
    two.down()
    assert before.remains() == []


def test_a_link_that_somebody_else_made_into_the_lab_is_a_leak(two: Lab) -> None:
    foreign = Path("/run/netns") / f"{two.name}-foreign"
    foreign.symlink_to(two["a"].ns)
    before = footprint(two)
    try:
        two.down()
        assert before.remains() == [f"{foreign} still leads into the lab"]
    finally:
        foreign.unlink()


def test_a_socket_of_a_node_that_is_still_open_is_no_leak_of_the_lab(two: Lab) -> None:
    with two["a"].socket(socket.AF_INET, socket.SOCK_DGRAM) as kept:
        before = footprint(two)
        two.down()
        assert before.remains() == []
        assert kept.getsockname() == ("0.0.0.0", 0)
