"""The container of a living node: whether it runs, how it ended, what it said.

That it lives is asked of the kernel, by the process that it was started with; Docker is asked how it ended, and for its log.
A container that somebody restarts has a new process without any link, which waits at its gate for ever: it counts as ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lab.errors import HostError, StepError
from lab.substrate.contained import Contained, ContainerError
from lab.substrate.endings import readable

_ENDED_WITHIN = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class State:
    """`status` is that of its command, or 128 and a signal's number; None while it runs, and where nobody knows it."""

    running: bool
    status: int | None = None
    why: str = ""
    told_to_end: bool = False

    @property
    def died(self) -> bool:
        """It ended, and nobody had told it to by `kill`."""
        return not self.running and not self.told_to_end

    def __str__(self) -> str:
        if self.running:
            return "running"
        return " ".join(("ended" if self.status is None else f"ended with status {self.status}", *self._why))

    @property
    def _why(self) -> tuple[str, ...]:
        return (f"({self.why})",) if self.why else ()


class Container:
    """What a node of kind container is made of, by the node's directory."""

    def __init__(self, node: str, node_dir: Path) -> None:
        self.node, self._node_dir = node, node_dir
        self._told = node_dir / "container.told-to-end"

    def __repr__(self) -> str:
        return f"<Container of {self.node}: {self.state()}>"

    @property
    def contained(self) -> Contained:
        return Contained.read(self._node_dir)

    def state(self) -> State:
        """Never raises for a daemon that is gone: then how it ended is not known."""
        contained = self.contained
        return State(running=True) if contained.lives() else replace(_ended(contained), told_to_end=self._told.exists())

    def kill(self) -> None:
        """SIGKILL to everything in it; already ended is success. Its links stay, and lead nowhere."""
        self._told.touch()
        with contextlib.suppress(ContainerError), os.fdopen(self.contained.open(), "rb", buffering=0) as pidfd:
            signal.pidfd_send_signal(pidfd.fileno(), signal.SIGKILL)
            if not readable(pidfd.fileno(), time.monotonic() + _ENDED_WITHIN):
                raise StepError("end the container", self.node, why=f"it still lives after {_ENDED_WITHIN:g} s")

    @property
    def log(self) -> str:
        """Standard output and error of its command. Raises HostError where Docker is gone."""
        from lab.substrate.containers import Docker

        contained = self.contained
        with Docker(contained.docker) as docker:
            return docker.log(contained.id)

    def follow(self) -> Iterator[bytes]:
        """The same from its beginning and as it comes, until the container ends."""
        from lab.substrate.containers import Docker

        contained = self.contained
        with Docker(contained.docker) as docker:
            yield from docker.follow(contained.id)

    def last_lines(self) -> str:
        """The end of what it said, indented below a title."""
        from lab.substrate import containers

        contained = self.contained
        try:
            with containers.Docker(contained.docker) as docker:
                return containers.last_lines(docker, contained.id)
        except HostError as error:
            return f"    its last lines are not to be had: {error.problems[0].message}"


def _ended(contained: Contained) -> State:
    from lab.substrate.containers import Docker

    try:
        with Docker(contained.docker) as docker:
            end = docker.ended(contained.id, contained.process.pid)
    except HostError as error:
        return State(running=False, why=error.problems[0].message)
    if end is None:
        return State(running=False, why="and was removed, not by lab")
    if end.pid:
        return State(running=False, why="and was started again, not by lab: it has no links, and waits for them")
    return State(running=False, status=end.status, why="out of memory" if end.out_of_memory else "")
