"""A lab of a stranger's that lives in a guest: its topology is read there, and every command of later is told as little."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Said, lab, well
from support.guests import descendants, until_gone

pytestmark = pytest.mark.root

SECONDS = 400.0  # for the whole of a run on a busy host
TOPOLOGY = """
name: another
nodes: {left: {}, right: {}}
links:
  - endpoints: ["left:eth0", "right:eth0"]
"""


@pytest.fixture(scope="module")
def living(own_run_directory: Path, stock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = f"u{os.getpid()}"
    file = tmp_path_factory.mktemp("bug") / f"{name}.yaml"
    file.write_text(TOPOLOGY)
    said = lab("--kernel", stock, "--untrusted", "up", file, timeout=SECONDS, env={"LAB_TEST_SECRET": name})
    assert said.status == 0, said.stderr
    yield name
    records = [json.loads(path.read_text()) for path in (own_run_directory / "guests").glob("*/guest.json")]
    pid = next(int(each["keeper"]["pid"]) for each in records if each["lab"] == name)
    guest = {pid, *descendants(pid)}
    well("down", name)
    until_gone(guest)


def run_in(name: str, *argv: str) -> Said:
    return lab("exec", name, "left", "--", *argv, timeout=SECONDS, env={"LAB_TEST_SECRET": "a secret"})


def test_it_has_the_name_of_its_file_and_the_nodes_that_the_guest_tells(living: str) -> None:
    (found,) = (each for each in well("ls", "-f", "json").json("labs") if each["name"] == living)
    assert (found["status"], found["nodes"], found["source"].endswith(f"{living}.yaml")) == ("up", 2, True)


def test_a_command_on_a_node_is_told_nothing_of_the_callers(living: str) -> None:
    said = run_in(living, "sh", "-c", "env; ls /root /home /etc/shadow")
    assert "LAB_NODE=left" in said.stdout
    assert "a secret" not in said.stdout
    assert "/etc/shadow': No such file" in said.stderr
    assert said.stdout.endswith("/home:\n\n/root:\n")


def test_what_it_writes_is_not_the_hosts(living: str, tmp_path: Path) -> None:
    assert run_in(living, "sh", "-c", f"mkdir -p {tmp_path} && touch {tmp_path}/mark").status == 0
    assert not (tmp_path / "mark").exists()
