"""The leak check around every test sees what it is there for."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support import world
from support.commands import host

from lab.substrate import namespaces

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What these tests leave is never gone in time; what others do meanwhile cannot hide it."""
    with monkeypatch.context() as patch:
        patch.setattr(world, "_GONE_WITHIN", 1.0)
        patch.setattr(world, "others_at_work", lambda: False)
        yield


@contextmanager
def told(words: str) -> Iterator[None]:
    check = world.Check.begin(counted=True)
    yield
    with pytest.raises(world.LeakError, match=words):
        check.end()


def test_a_namespace_that_only_a_socket_holds_is_told() -> None:
    with told("network namespaces: 1 more than before"):
        held = namespaces.inside_scratch(socket.socket)
    held.close()


def test_a_process_that_is_left_in_a_namespace_is_told() -> None:
    with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = world.look()
        process.stdin.write(b"started")
        process.stdin.flush()
        assert process.stdout.read(7) == b"started"
        assert world.look().more_than(before) in ({}, {"processes": [f"{process.pid} cat "]})
        assert f"{process.pid} cat " in world.look().processes
        process.stdin.close()


def test_a_mount_a_name_and_a_device_that_are_left_are_told(tmp_path: Path) -> None:
    with told("mounts: .*leak-test; names: leak-test; links: leak0"):
        (made := tmp_path / "leak-test").mkdir()
        host("mount", "-t", "tmpfs", "left", made)
        world.NETNS.mkdir(exist_ok=True)
        (name := world.NETNS / "leak-test").symlink_to("/nowhere")
        host("ip", "link", "add", "leak0", "type", "bridge")
    host("ip", "link", "delete", "leak0")
    host("umount", made)
    name.unlink()
    with suppress(OSError):  # others have names there
        world.NETNS.rmdir()


def test_nothing_is_told_where_nothing_is_left() -> None:
    check = world.Check.begin(counted=True)
    namespaces.inside_scratch(int)
    check.end()
