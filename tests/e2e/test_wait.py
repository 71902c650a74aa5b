"""`lab wait`: what it says, what it ends with, and that it ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import LAB, SECONDS, lab, started, well
from support.privilege import without_privilege
from support.topologies import ALONE, PAIR

from lab.live import unique_name

pytestmark = pytest.mark.root

Write = Callable[[str], Path]


@pytest.fixture(scope="module")
def pair(own_run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = unique_name("wait")
    file = tmp_path_factory.mktemp("pair") / "pair.yaml"
    file.write_text(PAIR.format(name=name))
    well("up", file)
    for node in ("a", "b"):
        well("exec", name, node, "true")
    yield name
    well("down", name)


TRUE = [
    "ready",
    "a carrier eth0",
    "a address 2001:db8::1 eth0",
    "a route 10.0.0.0/24",
    "a reaches 10.0.0.2",
    "a reaches 2001:db8::2",
    "a neighbour 10.0.0.2",
    "a gone route default",
    "a gone listening udp/53",
    "b runs -- test 1 = 1",
]


@pytest.mark.parametrize("words", TRUE)
def test_what_is_true_is_0_at_once(pair: str, words: str) -> None:
    said = well("wait", pair, *words.split())
    assert said.stderr == ""
    assert said.stdout.rstrip().endswith(" s")


@pytest.mark.parametrize(
    ("words", "within", "seen"),
    [
        ("a carrier eth1", "0.2", "last seen: no interface eth1"),
        ("a address 10.9.9.9", "0.2", "last seen: 10.9.9.9 is not on any interface"),
        ("a gone carrier eth0", "0.2", "never came true: no longer: eth0 has its carrier; last seen: eth0 is up"),
        ("a listening tcp/80", "0.2", "last seen: nobody serves TCP port 80"),
        ("a route default", "0.2", "last seen: routes to 10.0.0.0/24, "),
        ("a neighbour 10.0.0.77", "0.2", "last seen: 10.0.0.77 is no neighbour"),
        ("a reaches 10.0.0.78", "0.2", "10.0.0.78 answers an echo request; last seen: it "),
        ("a runs -- sh -c 'echo why >&2; exit 3'", "3", "last seen: it ended with "),
        ("a runs -- sleep 1000", "0.2", "last seen: it did not end in time"),
    ],
)
def test_what_never_comes_true_is_1_in_time_and_says_what_was_seen(pair: str, words: str, within: str, seen: str) -> None:
    """In time: where nothing is said it waits for 30 s."""
    start = time.monotonic()
    said = lab("wait", pair, "--timeout", within, *words.split())
    assert (said.status, said.stdout) == (1, "")
    assert f"lab: on node {words[0]}, within {within} s never came true: " in said.stderr
    assert seen in said.stderr
    assert time.monotonic() - start < 20


def test_it_ends_when_it_comes_true(pair: str) -> None:
    with started("-v", "wait", pair, "a", "route", "default") as process:
        well("exec", pair, "a", "--", "ip", "route", "add", "default", "via", "10.0.0.2")
        stdout, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.startswith("on node a: there is a route to default, after ")
    with started("wait", pair, "a", "gone", "route", "default") as process:
        well("exec", pair, "a", "--", "ip", "route", "del", "default")
        assert process.wait(SECONDS) == 0


def test_in_json_both_outcomes_are_one_envelope_with_the_time_it_took(pair: str) -> None:
    held = well("wait", pair, "a", "carrier", "eth0", "-f", "json").json("wait")
    assert held == {**held, "lab": pair, "condition": "a carrier eth0", "holds": True}
    assert 0 < held["seconds"] < SECONDS
    said = lab("wait", pair, "a", "carrier", "eth1", "-f", "json", "--timeout", "0.1")
    never = said.json("wait")
    assert (said.status, never["holds"]) == (1, False)
    assert never["said"] in said.stderr
    assert 0.1 <= never["seconds"] < SECONDS


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("c carrier eth0", "the lab has no node 'c'"),
        ("a carier eth0", "did you mean 'carrier'?"),
        ("raedy", "did you mean 'ready'?"),
        ("a carrier eth0 --timeout -1", "is a number of seconds, 0 or more"),
        ("a carrier eth0 --timeout nan", "is a number of seconds, 0 or more"),
    ],
)
def test_words_that_are_wrong_are_2(pair: str, words: str, hint: str) -> None:
    said = lab("wait", pair, *words.split())
    assert (said.status, said.stdout) == (2, "")
    assert hint in said.stderr


def test_a_lab_that_there_is_not_is_2_and_a_program_that_there_is_not_is_3(pair: str) -> None:
    assert lab("wait", "nobody-has-this-name", "ready").status == 2
    said = lab("wait", pair, "a", "runs", "--", "no-such-program")
    assert said.status == 3
    assert "no-such-program cannot be run on node a: No such file or directory" in said.stderr


def test_without_privilege_it_is_3(pair: str) -> None:
    done = without_privilege(*LAB, "wait", pair, "ready")
    assert (done.returncode, done.stdout) == (3, "")


def test_a_lab_that_is_not_ready_is_1_and_says_what_it_lacks(topology: Write, name: str) -> None:
    """Detection takes a minute here, so that it goes on when the command comes to look; then the addresses do without."""
    detects = "defaults: {{nodes: {{sysctls: {{net.ipv6.conf.default.dad_transmits: 60}}}}}}\n"
    well("up", "--no-wait", topology(PAIR.replace(", nodad: true", "") + detects))
    said = lab("wait", name, "ready", "--timeout", "0")
    assert said.status == 1
    assert f"lab {name} is not ready: on node " in said.stderr
    assert "is tentative" in said.stderr
    for node, address in (("a", "2001:db8::1/64"), ("b", "2001:db8::2/64")):
        again = f"address del {address} dev eth0\naddress add {address} dev eth0 nodad\n"
        well("exec", name, node, "--", "sh", "-c", f"printf '{again}' | ip -batch -")
    assert well("wait", name, "ready").stdout.startswith(f"lab {name} is ready, after ")
    well("down", name)


def test_a_lab_that_goes_down_meanwhile_is_not_waited_for(topology: Write, name: str) -> None:
    well("up", topology(ALONE))
    with started("wait", name, "a", "route", "default", "--timeout", "1000") as process:
        until_it_waits(process.pid, name)
        well("down", name)
        _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "last seen: the lab has gone down" in stderr


def until_it_waits(pid: int, name: str) -> None:
    """Until a thread of it has a netlink socket, by which it hears of changes: in another namespace than its first thread."""
    deadline = time.monotonic() + SECONDS
    while True:
        spaces = {path.readlink() for path in Path(f"/proc/{pid}/task").glob("*/ns/net")}
        if len(spaces) > 1:
            return
        assert time.monotonic() < deadline, f"{name}: it never begins to wait"
        time.sleep(0.005)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("words", ["route default", "runs -- sleep 1000"])
def test_an_interrupt_ends_it(pair: str, number: signal.Signals, status: int, words: str) -> None:
    with started("wait", pair, "a", *words.split()) as process:
        until_it_waits(process.pid, pair)
        process.send_signal(number)
        assert process.wait(SECONDS) == status
