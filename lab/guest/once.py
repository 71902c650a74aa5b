"""A guest for one command: booted, used, and thrown away."""

from __future__ import annotations

import dataclasses
import math
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import HostError
from lab.guest import choose, compiled, verdict
from lab.guest.choose import Wishes
from lab.guest.frames import LINE, UNLIMITED
from lab.guest.machine import Machine
from lab.guest.session import Exit, GoneError, Job, Session, SilentError, TamperedError
from lab.guest.spec import Substrate
from lab.guest.verdict import End

if TYPE_CHECKING:
    from lab.guest.trial import Trial
    from lab.kernels import Kernel

_LOOK_AGAIN = 0.01  # seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: until the agent must have spoken; until one that is asked must have answered; for a trial of KVM."""

    boot: float = 90.0
    silent: float = 45.0
    trial: float = 15.0


def run(
    kernel: Kernel | str,
    argv: Sequence[str],
    report: Sequence[Path],
    wishes: Wishes | None,
    warp: bool,
    keys: bool,
    env: Mapping[str, str] | None,
    limits: Limits | None,
    tell: Callable[[str], object],
    ready: Callable[[], object],
) -> int:
    """See `lab.guest.run`."""
    from lab import kernels

    found = kernels.find(kernel) if isinstance(kernel, str) else kernel
    wished = dataclasses.replace(wishes or Wishes(), warp=warp or bool(wishes and wishes.warp))
    limits = limits or Limits()
    with booted(found, wished, limits, tell) as (machine, session):
        ready()
        more = {**(env or {}), **({"LAB_VIRTUAL_TIME": "1"} if wished.warp else {})}
        job = Job(argv, keys, report, more, signals=not wished.debugger, untrusted=wished.untrusted is not None)
        with explained(machine, limits):
            done = session.run(job, machine.guest.release)
        return status_of(done, machine)


@contextmanager
def booted(
    kernel: Kernel, wishes: Wishes, limits: Limits, tell: Callable[[str], object], folder: Path | None = None
) -> Iterator[tuple[Machine, Session]]:
    """A guest whose agent has spoken; ended at the end of the block. One for a stranger's work has been tried before: `folder`
    is where that is prepared. Raises HostError."""
    for substrate in choose.substrates(kernel, wishes):
        with _prepared(wishes, folder) as trial:
            guest = choose.sealed(kernel, wishes, substrate, trial.place) if trial else choose.guest(kernel, wishes, substrate)
            with Machine(guest) as machine:
                if wishes.debugger:
                    _await_debugger(machine, wishes.debugger, limits)
                tell(guest.words)
                compiled.bring_up_to_date()
                silent = math.inf if wishes.debugger else limits.silent
                session = Session(machine.channel, machine.fileno(), silent, line_of(machine))
                if _speaks(machine, session, wishes, limits):
                    if trial:
                        hold(trial, machine, session, limits)
                    yield machine, session
                    return
        if wishes.untrusted is None:  # it may be for what is kept from a stranger's machine
            choose.kvm_failed(kernel)
    raise AssertionError("the last substrate boots, or says why it does not")


def _await_debugger(machine: Machine, socket: Path, limits: Limits) -> None:
    """Until gdb can attach."""
    deadline = time.monotonic() + limits.boot
    while not machine.listens(socket):
        ended = bool(select.select([machine], [], [], _LOOK_AGAIN)[0])
        if ended or time.monotonic() > deadline:
            raise _failure(machine, End.BOOT, ready=False, seconds=0 if ended else limits.boot)


def _prepared(wishes: Wishes, folder: Path | None) -> AbstractContextManager[Trial | None]:
    if wishes.untrusted is None:
        return nullcontext()
    from lab.guest import trial

    return trial.Trial(folder)


def hold(trial: Trial, machine: Machine, session: Session, limits: Limits) -> None:
    """Raises HostError where its root gets at the host's files."""
    from lab.guest import trial as trials

    with explained(machine, limits):
        trials.made(trial, session, machine.guest)


def line_of(machine: Machine) -> int:
    """How many bytes may be on their way to its agent."""
    return LINE if machine.guest.substrate is Substrate.UML else UNLIMITED


def _speaks(machine: Machine, session: Session, wishes: Wishes, limits: Limits) -> bool:
    """False only where KVM fails its trial. A guest that waits for a debugger has all the time."""
    trial = machine.guest.substrate is Substrate.KVM
    seconds = math.inf if wishes.debugger else limits.trial if trial else limits.boot
    try:
        session.ready(time.monotonic() + seconds)
    except (GoneError, SilentError) as error:
        if trial:
            return False
        late = seconds if isinstance(error, SilentError) else 0
        raise _failure(machine, End.BOOT if late else None, ready=False, seconds=late) from error
    return True


@contextmanager
def explained(machine: Machine, limits: Limits) -> Iterator[None]:
    """What became of the guest, as a HostError."""
    try:
        yield
    except TamperedError as error:
        raise verdict.tampered(str(error), machine.guest) from error
    except GoneError as error:
        raise _failure(machine, None, ready=True) from error
    except SilentError as error:
        raise _failure(machine, End.HANG, ready=True, seconds=limits.silent) from error


def _failure(machine: Machine, end: End | None, ready: bool, seconds: float = 0) -> HostError:
    machine.await_end()
    console = machine.console()
    return verdict.failure(end or verdict.of_process(console, ready), machine.guest, console, machine.complaints(), seconds)


def status_of(done: Exit, machine: Machine) -> int:
    """As a shell counts it. Raises HostError where it ended badly, and the kernel had ended a process for want of memory."""
    if done.oom and done.status != 0:
        raise verdict.failure(End.MEMORY, machine.guest, machine.console())
    return done.status if done.status >= 0 else 128 - done.status
