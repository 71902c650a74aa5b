"""Guests that live on: the records of those that `lab up` booted, how their labs are reached, and how they end.

    /run/lab/guests/<id>/guest.json   which lab lives there, on which kernel, and who its keeper is: pid, start time, boot id
                         socket       where the keeper takes jobs
                         failure      why the guest has ended by itself, in words

A record is written before its keeper is made, and removed after it is gone; only a process that is proven to be the keeper is
ended (`lab.substrate.endings`), and the guest dies with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import state
from lab.errors import HostError, TopologyError
from lab.guest import harmless
from lab.guest.session import Exit, FailedError, GoneError, Job, Session, SilentError, TamperedError
from lab.substrate import endings, signals
from lab.substrate.endings import InitRecord

if TYPE_CHECKING:
    from lab.guest.choose import Wishes
    from lab.guest.once import Limits
    from lab.kernels import Kernel

_FOLDER = "guests"
_RECORD, _SOCKET, _FAILURE = "guest.json", "socket", "failure"
_INSIDE = "lab.guest.inside.record"
_ENDED_WITHIN = 10.0  # seconds after SIGKILL
_SILENT = 45.0  # seconds after which a guest that does not answer counts as hanging


@dataclass(frozen=True, slots=True)
class Kept:
    """One guest and the lab in it. `nodes` maps a node to its kind, and is empty where only the guest has read the stranger's
    topology; `keeper` is None before it is known."""

    lab: str
    nodes: Mapping[str, str]
    source: str
    kernel: str
    release: str
    memory: int
    created: float
    id: str
    keeper: Mapping[str, str | int] | None = None
    untrusted: bool = False

    @property
    def home(self) -> Path:
        return _root() / self.id

    def lives(self) -> bool:
        return self.keeper is not None and endings.lives(InitRecord.from_dict(self.keeper))


def _root() -> Path:
    return state.root() / _FOLDER


def kept() -> Iterator[Kept]:
    """All that there are, dead ones too."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for home in sorted(_root().iterdir()):
            with contextlib.suppress(OSError, ValueError, TypeError):
                yield Kept(**json.loads((home / _RECORD).read_text()))


def find(lab: str) -> Kept | None:
    """The guest in which a lab of that name lives, or lived until it died."""
    return next((each for each in kept() if each.lab == lab), None)


# Making one.


def up(
    kernel: Kernel,
    wishes: Wishes,
    lab: str,
    nodes: Mapping[str, str],
    source: str,
    argv: Sequence[str],
    limits: Limits,
    booting: Callable[[str], object],
    ready: Callable[[], object],
) -> int:
    """Boots a guest that lives on, and brings a lab up in it by `lab ARGV`; the exit status of that. Where it is not 0, or this
    process is interrupted, nothing is left. `booting` and `ready` are called as `tell` and `ready` of `lab.guest.run`. Raises
    TopologyError, HostError."""
    from lab.guest import choose, keeper

    memory = choose.checked_memory(wishes.memory)
    id, untrusted = os.urandom(4).hex(), wishes.untrusted is not None
    made = Kept(lab, dict(nodes), source, kernel.name, kernel.release, memory, time.time(), id, untrusted=untrusted)
    try:
        with signals.held_back():
            _claim(made)
            child = keeper.start(kernel, wishes, limits, made.home / _SOCKET, made.home / _FAILURE)
            made = _with_keeper(made, InitRecord.of("guest", child.pid))
        more = ", untrusted" if untrusted else ""
        booting(f"{kernel.release} in {choose.substrates(kernel, wishes)[0].words}, {memory} MiB{more}")
        child.wait_until_ready()
        ready()
        status = run(made, Job(argv))
        if untrusted and not status:
            made = _with_nodes(made)
    except BaseException:
        with signals.held_back():
            end(made)
        raise
    if status:
        end(made)
    return status


def _claim(made: Kept) -> None:
    with state.locked_root():
        if state.find(made.lab) or find(made.lab):
            raise TopologyError([state.name_in_use(made.lab)])
        made.home.mkdir(parents=True, mode=0o700)
        _write(made)


def _with_keeper(made: Kept, record: InitRecord) -> Kept:
    known = Kept(**{**asdict(made), "keeper": record.to_dict()})
    _write(known)
    return known


def _with_nodes(made: Kept) -> Kept:
    """As the guest tells them, of which nothing is believed but that names are names."""
    from lab.guest import ask

    with contextlib.closing(_connected(made)) as channel:
        told = ask.ask(Session(channel, None, _SILENT), _INSIDE).get("nodes")
    pairs = told.items() if isinstance(told, dict) else ()
    nodes = {name: str(kind) for name, kind in pairs if state.LAB_NAME.match(name) and state.LAB_NAME.match(str(kind))}
    known = dataclasses.replace(made, nodes=nodes)
    _write(known)
    return known


def _write(made: Kept) -> None:
    draft = made.home / f"{_RECORD}.new"
    draft.write_text(json.dumps(asdict(made)))
    draft.rename(made.home / _RECORD)


# Reaching one.


def run(guest: Kept, job: Job) -> int:
    """Runs `lab` in it; the exit status as a shell counts it. Raises HostError."""
    try:
        with contextlib.closing(_connected(guest)) as channel:
            job = dataclasses.replace(job, untrusted=guest.untrusted)
            done = Session(channel, None, _SILENT).run(job, guest.release)
    except FailedError as error:
        raise HostError(error.problems) from error
    except TamperedError as error:
        hint = f"what runs in it has tampered with its agent: lab down {guest.lab}"
        raise HostError(f"the guest of lab {guest.lab} was left: {harmless.line(str(error))}", hint) from error
    except (GoneError, FileNotFoundError, ConnectionError) as error:
        raise HostError(_why_dead(guest), f"lab down {guest.lab}") from error
    except SilentError as error:
        said = f"kernel {guest.release}, in whose guest lab {guest.lab} lives, hangs: it has not answered for {_SILENT:g} s"
        raise HostError(said, f"lab down {guest.lab}") from error
    return _status(done, guest)


def _status(done: Exit, guest: Kept) -> int:
    if done.oom and done.status != 0:
        raise HostError(f"the guest ran out of memory: it has {guest.memory} MiB", f"--memory {guest.memory * 2}")
    return done.status if done.status >= 0 else 128 - done.status


def _connected(guest: Kept) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(str(guest.home / _SOCKET))
    except BaseException:
        channel.close()
        raise
    return channel


def _why_dead(guest: Kept) -> str:
    with contextlib.suppress(OSError):
        return f"lab {guest.lab} is gone with its guest: {(guest.home / _FAILURE).read_text()}"
    return f"lab {guest.lab} is gone: somebody ended the guest that it lived in"


# Ending one.


def end(guest: Kept) -> None:
    """Kills the keeper, with which the guest dies, and removes the record; already gone is success. Raises HostError."""
    known = guest if guest.keeper else next((each for each in kept() if each.id == guest.id), guest)
    if known.keeper and not endings.end(InitRecord.from_dict(known.keeper), time.monotonic() + _ENDED_WITHIN):
        raise HostError(f"the guest of lab {guest.lab} did not end within {_ENDED_WITHIN:g} s", f"lab down {guest.lab}")
    with state.locked_root(make=False):
        shutil.rmtree(guest.home, ignore_errors=True)
        with contextlib.suppress(OSError):
            _root().rmdir()


def prune(told: Callable[[str, str], object]) -> list[dict[str, Any]]:
    """Removes the records of guests that are dead; `told` hears the lab's name and why."""
    gone = []
    for guest in [each for each in kept() if not each.lives()]:
        why = "its guest has ended"
        end(guest)
        told(guest.lab, why)
        gone.append({"name": guest.lab, "why": why})
    return gone
