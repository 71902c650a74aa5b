"""What the processes of a node see of the host's files: everything but what is their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.nodes import Scratch

from lab.substrate.processes import run

pytestmark = pytest.mark.root


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def own(scratch: Scratch, node: str, *places: str) -> dict[str, Path]:
    """A new directory of the node's for each place."""
    found = {}
    for place in places:
        source = scratch.directory(node) / "own" / place.strip("/")
        source.mkdir(parents=True)
        found[place] = source
    return found


def test_run_and_shared_memory_of_two_nodes_and_of_the_host_are_three(scratch: Scratch) -> None:
    for node in ("a", "b"):
        init = scratch.init(node)
        run(init, ["sh", "-c", f"echo {node} > /run/who; echo {node} > /dev/shm/who"])
    for node in ("a", "b"):
        assert run(scratch.init(node), ["cat", "/run/who", "/dev/shm/who"]).stdout == f"{node}\n{node}\n"
        assert (scratch.directory(node) / "run" / "who").read_text() == f"{node}\n"
    assert not Path("/run/who").exists()
    assert not Path("/dev/shm/who").exists()


def test_a_directory_of_its_own_hides_the_hosts(scratch: Scratch, tmp_path: Path) -> None:
    (hosts := tmp_path / "state").mkdir()
    (hosts / "leases").write_text("the host's")
    init = scratch.init("a", own=own(scratch, "a", str(hosts)))
    assert run(init, ["ls", hosts]).stdout == ""
    run(init, ["touch", hosts / "mine"])
    assert names(hosts) == ["leases"]
    assert names(scratch.directory("a") / "own" / str(hosts)[1:]) == ["mine"]


def test_a_directory_that_the_host_lacks_is_there_for_the_node_alone(scratch: Scratch, tmp_path: Path) -> None:
    parent = tmp_path / "var"
    (parent / "folder").mkdir(parents=True)
    (parent / "folder" / "deep").write_text("deep")
    (parent / "file").write_text("file")
    (parent / "link").symlink_to("file")
    (parent / "broken").symlink_to("nowhere")
    places = [str(parent / "one"), str(parent / "two"), str(parent / "new" / "er" / "est")]
    init = scratch.init("a", own=own(scratch, "a", *places))
    assert run(init, ["ls", parent]).stdout.split() == ["broken", "file", "folder", "link", "new", "one", "two"]
    assert run(init, ["cat", parent / "folder" / "deep", parent / "link"]).stdout == "deepfile"
    assert run(init, ["readlink", parent / "broken"]).stdout == "nowhere\n"
    for place in places:
        run(init, ["touch", f"{place}/mine"])
    run(init, ["sh", "-c", f"echo more >> {parent / 'file'}"])
    assert names(parent) == ["broken", "file", "folder", "link"]
    assert (parent / "file").read_text() == "filemore\n"


def test_what_is_mounted_below_a_renewed_directory_is_still_there(scratch: Scratch) -> None:
    """/var and what the host has mounted there, seen beside a directory that the host lacks."""
    init = scratch.init("a", own=own(scratch, "a", "/var/no-such-thing/of-a-daemon"))
    listed = run(init, ["ls", "/var"]).stdout.split()
    assert sorted(listed) == sorted([*names(Path("/var")), "no-such-thing"])
    assert run(init, ["ls", "/var/lib"]).stdout.split() == run(scratch.init("b"), ["ls", "/var/lib"]).stdout.split()
    assert not Path("/var/no-such-thing").exists()
