"""What is not lab's own survives every command and is named where it is in the way; what is lab's own goes for certain."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import LAB, host, lab, well
from support.mortal import Mortals, Order
from support.topologies import ALONE, PAIR
from support.world import NETNS, look, run_directory, until_as

from lab import HostError, Lab, TopologyError, live

pytestmark = pytest.mark.root

Write = Callable[[str], Path]


@contextlib.contextmanager
def undone(*argv: str | Path) -> Iterator[None]:
    """Runs a command of the host at the end of the block, whatever happened in it."""
    try:
        yield
    finally:
        host(*argv)


@contextlib.contextmanager
def existing(path: Path) -> Iterator[Path]:
    """A directory that is there during the block, with those above it."""
    made = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


@contextlib.contextmanager
def netns_folder_as_before() -> Iterator[None]:
    """iproute2 mounts something on /run/netns with the first namespace, and leaves it there."""
    mounted = NETNS.is_mount()
    try:
        yield
    finally:
        if NETNS.is_mount() and not mounted:
            host("umount", NETNS)
            with contextlib.suppress(OSError):  # others have names there
                NETNS.rmdir()


def test_a_namespace_of_somebody_else_is_named_in_the_error_and_survives(topology: Write, name: str) -> None:
    file, theirs = topology(PAIR), NETNS / f"{name}.b"
    with netns_folder_as_before():
        host("ip", "netns", "add", theirs.name)
        with undone("ip", "netns", "delete", theirs.name):
            before, inode = look(), theirs.stat().st_ino
            with pytest.raises(HostError, match=f"{theirs} exists already and is not of this lab"):
                Lab.up(file)
            said = lab("up", file)
            assert (said.status, said.stdout) == (3, "")
            assert f"lab: {theirs} exists already and is not of this lab\n" in said.stderr
            assert "--name" in said.stderr
            well("prune")
            assert look() == before
            assert theirs.stat().st_ino == inode
            host("ip", "netns", "exec", theirs.name, "true")


@pytest.mark.parametrize("made", ["symlink_to", "mkdir", "touch"])
def test_whatever_else_has_the_name_of_a_node_is_named_in_the_error_and_survives(
    topology: Write, name: str, tmp_path: Path, made: str
) -> None:
    theirs = NETNS / f"{name}.a"
    with existing(NETNS):
        theirs.symlink_to(tmp_path / "nothing") if made == "symlink_to" else getattr(theirs, made)()
        with undone("rm", "-d", theirs):
            before = look()
            with pytest.raises(HostError, match=f"{theirs} exists already"):
                Lab.up(topology(PAIR))
            well("prune")
            assert look() == before
            assert os.path.lexists(theirs)


def test_a_link_of_somebody_else_into_a_living_lab_survives_its_end(topology: Write, name: str) -> None:
    with existing(NETNS):
        theirs = NETNS / f"x-{name}"
        with Lab.up(topology(ALONE)) as made:
            theirs.symlink_to(made.directory / "ns" / "a")
        try:
            assert theirs.is_symlink()
        finally:
            theirs.unlink()


VOLATILE = {"state", "expires", "valid_life_time", "preferred_life_time", "used", "confirmed", "updated", "probes"}
"""What the kernel itself changes of the host's addresses, routes and neighbours while time passes."""


def own(*command: str) -> object:
    """What ip(8) tells of the host's own namespace."""
    return json.loads(host("ip", "-j", *command), object_hook=lambda each: {k: each[k] for k in each if k not in VOLATILE})


def test_a_device_of_the_same_name_in_the_hosts_own_namespace_is_not_touched(topology: Write) -> None:
    before = own("-d", "address")
    text = "name: {name}\nnodes: {{a: {{interfaces: {{lo: {{addresses: 10.9.9.9/32}}, mine0: {{kind: bridge}}}}}}}}\n"
    host("ip", "link", "add", "mine0", "type", "bridge")
    with undone("ip", "link", "delete", "mine0"):
        during = own("-d", "address")
        with Lab.up(topology(text)):
            assert own("-d", "address") == during
        assert own("-d", "address") == during
    assert own("-d", "address") == before


def test_nothing_is_made_in_the_namespace_of_the_host(topology: Write) -> None:
    commands = [["-d", "link"], ["address"], ["route", "show", "table", "all"], ["rule"], ["neigh"]]

    def hosts_own() -> list[object]:
        return [own(*command) for command in commands]

    before = hosts_own()
    with Lab.up(topology(PAIR)) as made:
        made["a"].run(["ping", "-c1", "-W5", "10.0.0.2"])
        during = hosts_own()
    assert before == during == hosts_own()


@pytest.mark.parametrize("folder", ["mine", str(uuid.UUID(int=7)), "5", ".hidden"])
def test_a_mount_of_somebody_else_among_the_labs_survives(topology: Write, folder: str) -> None:
    with existing(run_directory() / folder) as theirs:
        host("mount", "-t", "tmpfs", "theirs", theirs)
        with undone("umount", theirs):
            (theirs / "file").touch()
            before = look()
            with Lab.up(topology(ALONE)):
                assert (theirs / "file").exists()
            well("prune")
            assert look() == before
            assert [summary.name for summary in live.labs()] == []


def test_files_of_somebody_else_among_the_labs_are_in_nobodys_way(topology: Write) -> None:
    with existing(run_directory() / "theirs") as theirs:
        (theirs / "file").touch()
        with Lab.up(topology(ALONE)):
            pass
        well("prune")
        (theirs / "file").unlink()


def test_a_lab_is_taken_down_also_where_another_mount_namespace_has_a_copy_of_its_mounts(topology: Write) -> None:
    """A container or a service that starts while the lab is up copies its mounts; the leak check counts the namespaces."""
    made = Lab.up(topology(PAIR))
    pipe = subprocess.PIPE
    with subprocess.Popen(["unshare", "--mount", "cat"], stdin=pipe, stdout=pipe, text=True) as copy:
        assert copy.stdin is not None
        assert copy.stdout is not None
        copy.stdin.write("started\n")
        copy.stdin.flush()
        assert copy.stdout.readline() == "started\n"
        mountinfo = Path(f"/proc/{copy.pid}/mountinfo")
        assert str(made.directory) in mountinfo.read_text()
        made.down()
        assert str(made.directory) not in mountinfo.read_text()
        copy.stdin.close()


def test_a_process_of_one_lab_does_not_keep_the_namespaces_of_another_that_was_there_first(tmp_path: Path, name: str) -> None:
    files = [tmp_path / f"{each}.yaml" for each in "xy"]
    for file in files:
        file.write_text(PAIR.format(name=f"{name}{file.stem}"))
    first = Lab.up(files[0])
    with Lab.up(files[1]) as second, second["a"].spawn(["sleep", "1000"]) as sleeper:
        inodes = [node.ns.stat().st_ino for node in first]
        first.down()
        told = second["a"].run(["cat", "/proc/self/mountinfo"]).stdout
        assert not [inode for inode in inodes if f"net:[{inode}]" in told]
        assert sleeper.poll() is None


def test_down_ends_processes_that_were_started_on_a_node_by_other_ways(topology: Write, name: str) -> None:
    well("up", topology(PAIR))
    with subprocess.Popen(["ip", "netns", "exec", f"{name}.a", "sh", "-c", "echo here; exec sleep 1000"], stdout=-1) as stray:
        assert stray.stdout is not None
        assert stray.stdout.readline() == b"here\n"
        well("down", name)
        assert stray.wait(timeout=10) == -9


def test_processes_outside_of_its_nodes_do_not_end_with_a_lab(topology: Write, name: str) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as theirs:
        with Lab.up(topology(PAIR)) as made:
            made["a"].run(["true"])
        assert theirs.poll() is None


def test_a_name_in_use_is_an_error_that_names_the_way_out(topology: Write, name: str) -> None:
    file = topology(ALONE)
    with Lab.up(file) as made:
        inode = made["a"].ns.stat().st_ino
        with pytest.raises(TopologyError, match=f"a lab named '{name}' exists already"):
            Lab.up(file)
        said = lab("up", file)
        assert (said.status, said.stdout) == (2, "")
        assert f"lab: a lab named '{name}' exists already\n    end it with `lab down {name}`" in said.stderr
        assert made["a"].ns.stat().st_ino == inode
        made["a"].run(["true"])


def test_down_of_a_lab_that_belongs_to_a_running_test_is_refused(
    topology: Write, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lab.up(topology(ALONE)):
        monkeypatch.setattr(live, "_FREE_WITHIN", 0.05)
        with pytest.raises(HostError, match=f"another process works on lab '{name}'"):
            live.take_down(live.find(name), name)
        well("prune")
        assert [summary.status for summary in live.labs()] == ["up"]


def test_one_home_that_cannot_be_removed_whole_is_in_the_way_of_no_other(topology: Write, tmp_path: Path, name: str) -> None:
    """A file below the mount point of one keeps its directory from being removed."""
    with existing(run_directory() / str(uuid.UUID(int=0, version=4))) as home, Mortals() as mortals:
        (home / "file").touch()
        assert mortals(Order("run", name, str(topology(ALONE)), detach=False)).status == 0
        said = lab("prune")
        assert said.status == 3
        assert f"lab {home.name} could not be undone whole" in said.stderr
        assert "Directory not empty" in said.stderr
        assert f"{name}: its owner is gone: removed" in said.stdout
        (home / "file").unlink()
    well("prune")


def test_the_run_directory_may_be_given_relative_or_through_a_link(topology: Write, name: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    before = look()
    for given in ("labs", str(tmp_path / "link" / "labs")):
        said = lab("up", topology(ALONE), cwd=tmp_path, env={"LAB_RUN_DIR": given})
        assert said.status == 0, said.stderr
        host("ip", "netns", "exec", f"{name}.a", "true")
        said = lab("exec", name, "a", "--", "true", cwd=tmp_path, env={"LAB_RUN_DIR": given})
        assert said.status == 0, said.stderr
        said = lab("down", name, cwd=tmp_path, env={"LAB_RUN_DIR": given})
        assert said.status == 0, said.stderr
        until_as(before)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real", "topology.yaml"]


def alone_with_mounts(script: str, *argv: str | Path) -> str:
    """A shell script, `$@` its words, in a mount namespace of its own that copies the host's mounts; what it wrote."""
    return host("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *argv)


def test_a_lab_whose_tree_is_mounted_in_another_mount_namespace_is_left_alone(topology: Write) -> None:
    """Who shares /run with the host in a container sees the empty folder of each lab there: a home whose making was cut off."""
    with Lab.up(topology(ALONE)) as made:
        assert alone_with_mounts('umount -l "$1"; shift; exec "$@"', made.directory, *LAB, "prune") == ""
        made["a"].run(["true"])
        assert made["a"].ns.exists()


def test_without_its_mark_that_folder_would_be_taken_for_a_home_cut_off(topology: Write) -> None:
    """And the kernel would take the tree from its lab as well."""
    with Lab.up(topology(ALONE)) as made:
        script = 'umount -l "$1"; rm "$1"/mounted-in; shift; exec "$@"'
        assert "its making was cut off" in alone_with_mounts(script, made.directory, *LAB, "prune")
        assert not made.directory.exists()


def test_a_lab_whose_mount_namespace_is_gone_is_pruned(topology: Write, name: str) -> None:
    before = look()
    file = topology(ALONE)
    said = alone_with_mounts('"$@"; mountpoint "$LAB_RUN_DIR"/*-*', *LAB, "up", file)
    assert said.endswith("is a mountpoint\n")
    assert look() != before
    assert "its making was cut off: removed" in well("prune").stdout
    until_as(before)
