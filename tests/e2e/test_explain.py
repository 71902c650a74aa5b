"""`lab explain`: a command's own status, what was dropped meanwhile and why, and nothing once the cause is removed. A check
that fails shows the same, also where an ordinary user may not trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Said, host, lab, well
from support.user import new_user, until_gone

pytestmark = pytest.mark.root

PAIR = """\
name: pair
nodes: {a: {}, b: {}}
links: [{endpoints: ["a:eth0", "b:eth0"], nodad: true, addresses: {a: 10.0.0.1/24, b: 10.0.0.2/24}}]
"""
CALLS = ("bash", "-c", "echo called; echo > /dev/udp/10.0.0.2/7777; exit 7")
FAILS = '''
import contextlib, pytest, socket

@pytest.mark.lab("pair.yaml")
def test_it_arrives(lab):
    """What is sent to a closed port arrives."""
    with lab["a"].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("10.0.0.2", 7777))
        sock.send(b"words")
        with contextlib.suppress(ConnectionError):
            sock.recv(9)
    assert lab["b"].counters()["UdpNoPorts"] == 0

@pytest.mark.lab("pair.yaml")
def test_it_is_quiet(lab):
    """Nothing is sent, and that fails."""
    assert False
'''


@pytest.fixture
def pair(tmp_path: Path, name: str) -> Iterator[str]:
    path = tmp_path / "pair.yaml"
    path.write_text(PAIR)
    well("up", path, "--name", name)
    yield name
    well("down", name)


def explained(*words: str) -> Any:
    return lab("explain", "-f", "json", *words).json("drops")


def test_the_command_keeps_its_status_and_its_output_and_the_drop_follows(pair: str) -> None:
    said = lab("explain", pair, "a", "--", *CALLS)
    assert said.status == 7
    first, place, why, setting, change = said.stdout.splitlines()[:5]
    assert first == "called"
    assert place.startswith("b:eth0  10.0.0.1:")
    assert place.endswith(" > 10.0.0.2:7777 UDP, 1 bytes")
    assert why.strip() == "NO_SOCKET: no socket has UDP port 7777 of 10.0.0.2"
    assert setting.strip() == "sockets that listen (UDP): none"
    assert change.strip().startswith("to change: start the server")


def test_a_rule_is_named_and_gone_with_it_nothing_is_dropped(pair: str) -> None:
    rules = "table inet t {\nchain c {\ntype filter hook input priority 0\nicmp type echo-request drop\n}\n}\n"
    well("exec", pair, "b", "--", "nft", rules)
    ping = (pair, "a", "--", "ping", "-c1", "-W0.2", "10.0.0.2")
    found = explained(*ping)
    (drop,) = [each for each in found["drops"] if not (each["cause"] or {}).get("harmless")]
    assert (found["status"], drop["node"], drop["device"], drop["reason"]) == (1, "b", "eth0", "NETFILTER_DROP")
    assert drop["cause"]["value"].startswith("inet t c (hook input): icmp type echo-request drop # handle")
    well("exec", pair, "b", "--", "nft", "flush", "ruleset")
    found = explained(*ping)
    assert (found["status"], [each for each in found["drops"] if not (each["cause"] or {}).get("harmless")]) == (0, [])


def test_with_json_stdout_is_the_envelope_alone(pair: str) -> None:
    said = lab("explain", "-f", "json", pair, "a", "--", *CALLS)
    data = json.loads(said.stdout)["data"]
    assert said.stderr.splitlines() == ["called"]
    assert (said.status, data["status"], data["traced"], data["untraced"]) == (7, 7, True, "")


def test_harmless_drops_are_told_with_v_alone(pair: str) -> None:
    ping = (pair, "a", "--", "ping", "-c1", "-W5", "10.0.0.2")
    assert "NO_SOCKET" not in well("explain", *ping).stdout
    assert "NO_SOCKET: nobody but raw sockets wanted it" in well("explain", "-v", *ping).stdout
    assert "missed by nobody" not in well("explain", "-q", *ping).stdout


@pytest.mark.parametrize(
    ("words", "status", "what"),
    [
        (("{lab}", "nobody", "--", "true"), 125, "has no node 'nobody'"),
        (("no-such-lab", "a", "--", "true"), 125, "there is no lab named"),
        (("{lab}", "a", "--", "no-such-program"), 125, "no-such-program: node a: cannot execute"),
        (("{lab}", "a"), 2, "Missing argument"),
        (("{lab}", "a", "--", "sh", "-c", "kill -9 $$"), 137, ""),
    ],
)
def test_what_cannot_be_run_is_told_as_by_exec(pair: str, words: tuple[str, ...], status: int, what: str) -> None:
    said = lab("explain", *[word.format(lab=pair) for word in words])
    assert said.status == status
    assert what in said.stderr


def test_tracing_leaves_no_instance_and_no_event_behind(pair: str) -> None:
    look = "mount -t tracefs none /mnt && ls /mnt/instances && cat /mnt/dynamic_events"
    before = host("unshare", "--mount", "--propagation", "private", "sh", "-c", look)
    lab("explain", pair, "a", "--", *CALLS)
    assert host("unshare", "--mount", "--propagation", "private", "sh", "-c", look) == before


def sections(said: Said) -> dict[str, dict[str, str]]:
    """Check -> its evidence."""
    return {check["name"]: dict(check["evidence"]) for check in said.json("run")["checks"]}


TITLE = "packets that the kernel dropped"


def test_a_check_that_fails_shows_what_was_dropped(tmp_path: Path) -> None:
    (tmp_path / "pair.yaml").write_text(PAIR)
    file = tmp_path / "test_mine.py"
    file.write_text(FAILS)
    found = sections(lab("run", file, "-f", "json"))
    assert "NO_SOCKET: no socket has UDP port 7777 of 10.0.0.2" in found["test_it_arrives"][TITLE]
    assert TITLE not in found["test_it_is_quiet"]


def test_an_ordinary_user_is_shown_the_counters_instead() -> None:
    with new_user(subordinate=False) as user:
        user.write("pair.yaml", PAIR)
        file = user.write("test_mine.py", FAILS)
        shown = sections(user.runs_lab("run", file, "-f", "json"))["test_it_arrives"][TITLE]
        until_gone(user)
    assert "b  counted in UdpNoPorts\n    NO_SOCKET: no socket has the port" in shown
    assert "only counters are told, without packets and interfaces: drops cannot be traced" in shown
