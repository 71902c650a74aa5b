"""Processes that die by SIGKILL at a chosen moment of a lab's life: run as a program, steered by `Mortals`.

The program imports `lab` once and forks a process for each order, so that a death costs hundredths of a second. An order
says what to do and before which change to the world to die: every file, link and directory that is made, renamed or
removed (the interpreter's audit events), every mount, namespace, batch of netlink messages and record of the journal (the
few functions of lab that do these). Or it says after which time; then the parent kills.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FILES = {"os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir", "subprocess.Popen", "os.posix_spawn"}


@dataclass(frozen=True, slots=True)
class Order:
    """`do`: up, run (up and start a process), down, prune. `change` counts from 1; 0 never comes. `after` is in seconds."""

    do: str
    lab: str
    file: str = ""
    change: int = 0
    after: float | None = None
    detach: bool = True


@dataclass(frozen=True, slots=True)
class Fate:
    """How it ended: negative for a signal. `at` is the change before which it died; `seconds` how long it lived."""

    status: int
    at: str
    seconds: float


class Mortals:
    """Gives orders to a running program. A context manager."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        argv = [sys.executable, "-m", "support.mortal"]
        paths = os.pathsep.join(str(Path(__file__).parents[up]) for up in (1, 2))
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env={**os.environ, "PYTHONPATH": paths})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()
        assert self._process.returncode == 0

    def __call__(self, order: Order) -> Fate:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        return Fate(**json.loads(self._process.stdout.readline()))


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(asdict(_carried_out(Order(**json.loads(line))))), flush=True)


def _carried_out(order: Order) -> Fate:
    """Forks, waits for the end or brings it, and reaps."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with contextlib.suppress(BaseException):
            _die_before(order.change, writer)
            os.write(writer, b"begins\n")
            _do(order)
            os._exit(0)
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        return _fate(pid, order, said)


def _fate(pid: int, order: Order, said: Any) -> Fate:
    import time

    said.readline()
    begin = time.monotonic()
    pidfd = os.pidfd_open(pid)
    ended, _, _ = select.select([pidfd], [], [], order.after)
    if not ended:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(pidfd)
    return Fate(os.waitstatus_to_exitcode(status), said.read().decode(), time.monotonic() - begin)


def _do(order: Order) -> None:
    from lab import Lab, live, undo

    if order.do == "down":
        live.take_down(live.find(order.lab), order.lab)
        return
    if order.do == "prune":
        undo.prune()
        return
    made = Lab.up(order.file, name=order.lab, detach=order.detach)
    if order.do == "run":
        made["a"].spawn(["sleep", "1000"], keep=True)


def _die_before(change: int, writer: int) -> None:
    """Counts changes from now on, and dies before the one of that number, after saying which it is."""
    left = change

    def count(what: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.write(writer, what.encode())
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()

    if change:
        sys.addaudithook(lambda event, arguments: _audit(event, arguments, count))
        for module, function in _changing():
            setattr(module, function, _counted(getattr(module, function), function, count))


def _audit(event: str, arguments: tuple[Any, ...], count: Callable[[str], None]) -> None:
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if event in FILES or writes:
        count(f"{event} {arguments[0]}")


def _counted(do: Callable[..., Any], name: str, count: Callable[[str], None]) -> Callable[..., Any]:
    def counted(*arguments: Any, **options: Any) -> Any:
        count(f"{name} {arguments[1:2]}")
        result = do(*arguments, **options)
        if name == "note":
            count(f"what follows {name} {arguments[1:2]}")
        return result

    return counted


def _changing() -> Iterator[tuple[Any, str]]:
    """Where lab changes what no audit event tells; each is looked up in the module that calls it."""
    from lab import state
    from lab.substrate import mounts, namespaces
    from lab.substrate.netlink import batch

    yield from ((mounts, "mount"), (mounts, "unmount"), (namespaces, "mount"), (namespaces, "unshare"))
    yield from ((batch, "send"), (state.Home, "note"), (state.Home, "release"))


if __name__ == "__main__":
    import lab.live
    import lab.observe.ready
    import lab.recipe
    import lab.substrate.build
    import lab.substrate.processes
    import lab.substrate.spawner  # noqa: F401 - once, for all that are forked

    main()
