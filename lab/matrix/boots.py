"""Runs scenarios on several kernels, some at a time: each is this very command in a process of its own, with its own guest."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from lab.errors import HostError, Problem, TopologyError
from lab.kernels import versions
from lab.matrix.verdicts import Column, Matrix
from lab.report import part, results
from lab.substrate import syscalls

HOST = "host"
_BESIDE = 256  # MiB that a guest takes beside its own memory
_ENDING = 30.0  # seconds that an interrupted command has to undo what it made
_LINES = 12  # of what was said last, where nothing of it is an error
_BOOTS, _ERRORS = re.compile(r"lab: kernel \S+ in "), ("lab: ", "ERROR: ")
"""How the line begins that says what is booted, and how errors do: ours and pytest's."""


@dataclass(frozen=True, slots=True)
class Place:
    """A kernel to run on: `name` is what `--kernel` is given."""

    name: str
    release: str


@dataclass(slots=True)
class _Running:
    place: Place
    process: subprocess.Popen[bytes]
    pidfd: int
    began: float
    folder: Path

    @property
    def part(self) -> Path:
        return self.folder / "part.json"

    @property
    def log(self) -> Path:
        return self.folder / "log"


def places(names: Sequence[str]) -> list[Place]:
    """From the oldest kernel to the newest, each once. Raises TopologyError, HostError with all that were not fetched."""
    from lab import kernels

    found: dict[str, Place] = {}
    problems: list[Problem] = []
    for name in names:
        try:
            release = os.uname().release if name == HOST else kernels.find(name).release
        except HostError as error:
            problems += error.problems
            continue
        found.setdefault(release, Place(name, release))
    if problems:
        raise HostError(problems)
    if not found:
        raise TopologyError("no kernel is named", "--kernels 5.10,6.1,latest")
    return sorted(found.values(), key=lambda place: versions.key(place.release))


def at_once(wished: int | None, memory: int, guests: int) -> int:
    """How many guests this machine carries: no more than it has processors for, nor memory (MiB) that is free."""
    free = _available() // (memory + _BESIDE)
    return max(1, min(wished or len(os.sched_getaffinity(0)), free, guests))


def _available() -> int:
    """MiB, as the kernel estimates it (proc(5), MemAvailable)."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next((int(line[1]) // 1024 for line in lines if line[0] == "MemAvailable:"), 1 << 20)


class Matrices:
    """One matrix while it is run. `alone` is a block in which this process has no second thread."""

    def __init__(self, kernels: Sequence[Place], words: Sequence[str], jobs: int, memory: int) -> None:
        self._waiting, self._words, self._jobs, self._memory = deque(kernels), list(words), jobs, memory
        self._running: list[_Running] = []
        self._done: dict[str, Column] = {}
        self.alone: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
        self.told: Callable[[Column], object] = lambda _: None
        """Hears of each kernel that is done."""

    def __str__(self) -> str:
        """What goes on."""
        names = ", ".join(running.place.release for running in [*self._running])
        left = f", {len(self._waiting)} more to come" if self._waiting else ""
        return f"on {names}{left}"

    def run(self) -> Matrix:
        """Raises KeyboardInterrupt once every guest has ended."""
        order, began = [place.release for place in self._waiting], time.monotonic()
        started = time.time()
        with tempfile.TemporaryDirectory(prefix="lab-") as folder, self._ended():
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._jobs:
                    self._start(self._waiting.popleft(), Path(folder))
                self._hear()
        return Matrix(tuple(self._done[release] for release in order), started, time.monotonic() - began)

    def _start(self, place: Place, folder: Path) -> None:
        own = folder / str(len(self._done) + len(self._running))
        own.mkdir()
        running = _Running(place, *self._spawn(place, own), time.monotonic(), own)
        self._running.append(running)

    def _spawn(self, place: Place, own: Path) -> tuple[subprocess.Popen[bytes], int]:
        argv = [sys.executable, "-m", "lab", "--kernel", place.name, "--memory", str(self._memory)]
        argv = argv[:-2] if place.name == HOST else argv
        argv += ["run", "--part", str(own / "part.json"), *self._words]
        with self.alone(), (own / "log").open("wb") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "NO_COLOR": "1"},
                preexec_fn=_dies_with_us,  # noqa: PLW1509 - no thread runs meanwhile
            )
        return process, os.pidfd_open(process.pid)

    def _hear(self) -> None:
        ready = set(wait([running.pidfd for running in self._running]))
        for running in [each for each in self._running if each.pidfd in ready]:
            running.process.wait()
            os.close(running.pidfd)
            self._running.remove(running)
            column = self._done[running.place.release] = _column(running)
            self.told(column)

    @contextlib.contextmanager
    def _ended(self) -> Iterator[None]:
        """No guest outlives the block."""
        try:
            yield
        finally:
            for running in self._running:
                running.process.send_signal(signal.SIGTERM)
            for running in self._running:
                try:
                    running.process.wait(_ENDING)
                except subprocess.TimeoutExpired:
                    running.process.kill()
                    running.process.wait()
                os.close(running.pidfd)


def _dies_with_us() -> None:
    syscalls.signal_at_parents_death(signal.SIGTERM)


def _column(running: _Running) -> Column:
    seconds, place = time.monotonic() - running.began, running.place
    try:
        run = part.loads(running.part.read_text())
        if run.checks or run.status not in (results.WRONG_CALL, results.FAULT):
            return Column(place.name, place.release, run, seconds)
    except (part.PartError, OSError):
        pass
    status = running.process.returncode or results.FAULT
    said = trouble(running.log.read_text(errors="replace").splitlines())
    return Column(place.name, place.release, None, seconds, said, status if status > 0 else 128 - status)


def trouble(lines: Sequence[str]) -> str:
    """What the command said last: its error begins with its name, and is told whole."""
    errors = (at for at, line in enumerate(lines) if line.startswith(_ERRORS) and not _BOOTS.match(line))
    begin = next(errors, max(len(lines) - _LINES, 0))
    return "\n".join(line for line in lines[begin:] if line.strip()).removeprefix("lab: ") or "it said nothing"
