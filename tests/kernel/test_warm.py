"""What a process keeps from one lab for the next: one of each helper, back where it came from, and gone at the end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.nodes import host, until
from support.topologies import PAIR
from support.world import look, until_as

from lab import Lab, warm
from lab.substrate import crew, namespaces

pytestmark = pytest.mark.root

Write = Callable[[str], Path]
RENDERED = PAIR + "# {{{{ 1 + 1 }}}}\n"
"""It has an expression, so that Jinja2 is needed."""


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "netns"
    path.touch()
    host("unshare", f"--net={path}", "true")
    yield path
    host("umount", path)


def children() -> set[int]:
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def hands() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "netns"]


def test_labs_one_after_the_other_have_the_same_helpers_which_end_with_the_block(topology: Write, name: str) -> None:
    file, before, seen = topology(RENDERED), look(), list[set[int]]()
    with warm.kept():
        for _ in range(3):
            with Lab.up(file, name=name) as lab:
                lab["a"].run(["ping", "-c1", "-W5", "10.0.0.2"])
                seen.append(children())
    assert len(seen[0]) == 2, "who forks inits, and who has Jinja2"
    assert seen == [seen[0]] * 3
    assert children() & seen[0] == set()
    until_as(before)


def test_a_block_within_has_the_helpers_of_the_outer_and_leaves_them(topology: Write, name: str) -> None:
    file = topology(RENDERED)
    with warm.kept():
        with warm.kept(), Lab.up(file, name=name) as lab:
            lab["a"].run(["true"])
            inner = children()
        assert children() == inner
        with Lab.up(file, name=name) as lab:
            lab["a"].run(["true"])
            assert children() == inner
        assert hands()
    assert not hands()


def test_without_the_block_each_lab_has_its_own(topology: Write, name: str) -> None:
    file, seen = topology(RENDERED), list[set[int]]()
    for _ in range(2):
        with Lab.up(file, name=name) as lab:
            lab["a"].run(["true"])
            seen.append(children())
    assert seen[0] & seen[1] == set()


def test_a_helper_that_was_killed_is_followed_by_another(topology: Write, name: str) -> None:
    file = topology(RENDERED)
    with warm.kept():
        with Lab.up(file, name=name) as lab:
            lab["a"].run(["true"])
            first = children()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with Lab.up(file, name=name) as lab:
            lab["a"].run(["true"])
            assert children() - first


def test_a_thread_is_kept_in_the_namespace_of_the_process_and_works_in_any(netns: Path) -> None:
    own = namespaces.inode()
    with crew.kept():
        seen = [namespaces.inside(netns, lambda: (threading.get_ident(), namespaces.inode())) for _ in range(3)]
        (hand,) = hands()
        assert namespaces.inode(Path(f"/proc/self/task/{hand.native_id}/ns/net")) == own
    assert seen == [(hand.ident, netns.stat().st_ino)] * 3
    assert not hands()


def test_a_thread_that_is_not_kept_ends(netns: Path) -> None:
    first, second = (namespaces.inside(netns, threading.current_thread) for _ in range(2))
    assert first is not second
    until("threads ended", lambda: not hands())


def test_a_fork_has_threads_of_its_own(netns: Path) -> None:
    with crew.kept():
        namespaces.inside(netns, int)
        pid = os.fork()
        if not pid:
            os._exit(0 if namespaces.inside(netns, namespaces.inode) == netns.stat().st_ino else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert namespaces.inside(netns, namespaces.inode) == netns.stat().st_ino
