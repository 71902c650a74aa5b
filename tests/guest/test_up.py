"""A lab that lives in a guest, from `up` to `down`: every command that names it reaches it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import LAB, lab, well
from support.guests import BOOTED, descendants, on, until_gone
from support.screens import on_screen

pytestmark = pytest.mark.root


def record() -> dict[str, object]:
    (home,) = (Path(os.environ["LAB_RUN_DIR"]) / "guests").iterdir()
    found: dict[str, object] = json.loads((home / "guest.json").read_text())
    return found


def keeper() -> int:
    known = record()["keeper"]
    assert isinstance(known, dict)
    return int(known["pid"])


@pytest.fixture(scope="module")
def living(own_run_directory: Path, uml: str) -> Iterator[str]:
    name = f"g{os.getpid()}"
    said = on(uml, "up", "two-hosts", "--name", name)
    assert said.status == 0, said.stderr
    assert f"lab {name} is up: 2 nodes" in said.stdout
    yield name
    guest = {keeper(), *descendants(keeper())}
    assert well("down", name).stdout == f"lab {name} is gone\n"
    until_gone(guest)


def test_it_is_listed_with_its_kernel(living: str) -> None:
    (found,) = well("ls", "-f", "json").json("labs")
    assert (found["name"], found["status"], found["nodes"]) == (living, "up", 2)
    assert found["kernel"].startswith("6.1.")


def test_a_command_on_a_node_has_its_streams_and_its_status(living: str) -> None:
    argv = [*LAB, "exec", living, "a", "--", "sh", "-c", "cat; echo there >&2; exit 7"]
    done = subprocess.run(argv, input=b"x" * 1_000_000, capture_output=True, timeout=BOOTED, check=False)
    assert (done.returncode, len(done.stdout), done.stderr) == (7, 1_000_000, b"there\n")


def test_inspect_shows_the_nodes_of_the_guest(living: str) -> None:
    nodes = well("inspect", living, "-f", "json").json("lab")["nodes"]
    assert {*nodes} == {"a", "b"}


def test_a_shell_has_a_terminal(living: str) -> None:
    with on_screen("shell", living, "a", env={"SHELL": "/bin/sh"}) as (process, screen):
        screen.shows(rf"\[{living} a\]")
        screen.type("tty; uname -r; stty size\r")
        screen.shows(r"/dev/pts/\d+\r?\n6\.1\.\S+\r?\n33 99")
        screen.type("exit 5\r")
        screen.ends()
        assert process.wait() == 5


def test_a_signal_reaches_the_command(living: str) -> None:
    argv = [*LAB, "exec", living, "a", "--", "sh", "-c", "trap 'exit 9' TERM; echo on; while :; do sleep 0.1; done"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOOTED) == 9


def test_its_name_is_taken(living: str, uml: str) -> None:
    said = on(uml, "up", "two-hosts", "--name", living)
    assert said.status == 2
    assert f"a lab named '{living}' exists already" in said.stderr


def test_a_node_that_there_is_not_is_told_as_outside(living: str) -> None:
    said = lab("exec", living, "zz", "true")
    assert said.status == 125
    assert f"lab {living} has no node 'zz'" in said.stderr


def test_a_topology_that_is_wrong_boots_nothing(uml: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: x\nnodez: {}\n")
    inside, outside = on(uml, "up", file), lab("up", file)
    assert (inside.status, inside.stderr) == (outside.status, outside.stderr) == (2, outside.stderr)


def test_a_guest_that_was_killed_is_dead_until_it_is_pruned(own_run_directory: Path, uml: str) -> None:
    name = f"k{os.getpid()}"
    assert on(uml, "up", "two-hosts", "--name", name).status == 0
    known = [json.loads((home / "guest.json").read_text()) for home in (own_run_directory / "guests").iterdir()]
    pid = next(each["keeper"]["pid"] for each in known if each["lab"] == name)
    guest = {pid, *descendants(pid)}
    os.kill(pid, signal.SIGKILL)
    until_gone(guest)
    assert name in {each["name"] for each in well("ls", "-f", "json").json("labs") if each["status"] == "dead"}
    said = lab("inspect", name)
    assert said.status == 3
    assert f"lab down {name}" in said.stderr
    assert f"{name}: its guest has ended: removed" in well("prune").stdout
