"""The undo of everything durable, from the record alone: no file of the user's is read, no name is trusted.

`down`, `prune`, the rollback of a failed `up` and the sweep before an `up` are all this one teardown.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from lab import state
from lab.errors import TeardownError
from lab.state import Home
from lab.substrate import endings, mounts, signals

_ENDED_WITHIN = 10.0  # seconds until every process of a lab must be gone after SIGKILL


def teardown(home: Home) -> None:
    """Removes a lab. The caller holds its lock. Every undo is tried; raises TeardownError with those that failed."""
    name = _name(home)
    failures: list[str] = []
    with signals.held_back():
        _try("journal the end", lambda: home.note("down"), failures)
        contained = _try("remove the containers", lambda: _remove_containers(home), failures)
        for words, undo in (
            ("end the nodes' inits", lambda: _end_inits(home)),
            ("end processes left in the nodes", lambda: _end_strays(home)),
            ("remove the links in /run/netns", lambda: state.unlink_namespaces(home)),
        ):
            _try(words, undo, failures)
        if contained:
            _try("unmount the lab's tree", lambda: state.remove_home(home), failures)
        else:
            home.release()  # the record alone tells another `down` or `prune` of the containers
    if failures:
        raise TeardownError(name, failures)


def _try(words: str, undo: Callable[[], object], failures: list[str]) -> bool:
    """Whether it is undone; what has gone already is."""
    try:
        undo()
    except FileNotFoundError:
        return True
    except Exception as error:
        failures.append(f"{words}: {error}")
        return False
    return True


def _name(home: Home) -> str:
    with contextlib.suppress(OSError, ValueError):
        return home.record().name
    return home.path.name


def _remove_containers(home: Home) -> None:
    """By the daemon that they were asked of, whatever DOCKER_HOST says now."""
    journal = home.journal()
    made = [entry["name"] for entry in journal if entry["event"] == "container"]
    for entry in journal:
        if entry["event"] == "containers":
            from lab.substrate.containers import Docker

            with Docker(entry["docker"]) as docker:
                docker.remove_all(home.path.name, entry["images"], made)


def _end_inits(home: Home) -> None:
    records = [endings.InitRecord.from_dict(entry["record"]) for entry in home.journal() if entry["event"] == "init"]
    left = endings.end_all(records, time.monotonic() + _ENDED_WITHIN)
    if left:
        nodes = ", ".join(f"{record.node} (pid {record.pid})" for record in left)
        raise TimeoutError(f"still alive after {_ENDED_WITHIN:g} s: {nodes}")


def _end_strays(home: Home) -> None:
    """Processes that somebody started in a node by other ways, such as `ip netns exec`: they would keep the namespace alive."""
    tree = home.path.stat().st_dev
    own = {status.st_ino for path in (home.path / "ns").iterdir() if (status := path.stat()).st_dev != tree}
    left = endings.end_strays(own, time.monotonic() + _ENDED_WITHIN) if own else ()
    if left:
        raise TimeoutError(f"still alive after {_ENDED_WITHIN:g} s: {', '.join(map(str, left))}")


@dataclass(frozen=True, slots=True)
class Pruned:
    name: str
    why: str


def prune(told: Callable[[Pruned], object] = lambda _: None) -> list[Pruned]:
    """Removes what dead processes left: homes half made, labs whose making never ended, ephemeral labs without their owner.

    `told` hears of each that is gone. Raises TeardownError when all were tried."""
    pruned: list[Pruned] = []
    failed: list[TeardownError] = []
    with state.locked_root(make=False):
        for home in state.homes():
            try:
                found = _prune(home)
            except TeardownError as error:
                failed.append(error)
                continue
            pruned += found
            for each in found:
                told(each)
        orphans = [Pruned(link, "a link into a lab that is gone") for link in state.unlink_orphans()]
        orphans += _orphaned_containers()
    for each in orphans:
        told(each)
    if failed:
        raise TeardownError(", ".join(error.lab for error in failed), [line for error in failed for line in error.failures])
    return pruned + orphans


def _orphaned_containers() -> list[Pruned]:
    """Of labs below our root that are not there: a daemon may finish what a killed process had asked for."""
    from lab.substrate import contained

    if not contained.daemon_may_be_there():
        return []
    from lab.errors import HostError
    from lab.substrate.containers import Docker

    found: dict[str, str] = {}
    with contextlib.suppress(HostError), Docker() as docker:
        for name, uuid in docker.of_root(state.root()).items():
            if not (state.root() / uuid).exists():
                docker.remove_all(uuid, {name: ""}, [name])
                found[name] = uuid
    return [Pruned(name, "a container of a lab that is gone") for name in found]


def _prune(home: Home) -> list[Pruned]:
    name, why = _name(home), why_dead(home)
    if not why or not _lock_dead(home):
        return []
    teardown(home)
    return [Pruned(name, why)]


def sweep(name: str) -> None:
    """Before a name is claimed: removes what a dead process left of that name, and what has no name yet.

    The caller holds the root's lock."""
    for home in state.homes():
        nameless = not (home.path / "lab.json").exists()
        if not ((nameless or _name(home) == name) and why_dead(home) and _lock_dead(home)):
            continue
        with contextlib.suppress(TeardownError) if nameless else contextlib.nullcontext():  # that one is in nobody's way
            teardown(home)


def why_dead(home: Home) -> str | None:
    """None while somebody owns the home: a process that works on it, or the user who brought it up; or who is not seen from
    here, for its tree is mounted in another mount namespace."""
    if not (home.path / "lab.json").exists():
        return None if mounts.elsewhere(home.path) else "its making was cut off"
    if home.busy():
        return None
    if not home.is_up():
        return "its making or its teardown was cut off"
    return "its owner is gone" if home.record().ephemeral else None


def _lock_dead(home: Home) -> bool:
    """A home without its tmpfs has no lock to take, and nobody to take it from: the root's lock is held."""
    return not (home.path / "lock").exists() or home.lock()
