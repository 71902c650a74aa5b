"""Measures the memory of a lab, in a process of its own that nothing of the lab can escape.

    footprint.py commands LAB... FILE NAME      `LAB... up FILE --name NAME`, the living lab, `LAB... down NAME`
    footprint.py held ARGV...                   a process that says in one line that its lab stands, and ends with its stdin

It is the reaper of everything that descends from it (PR_SET_CHILD_SUBREAPER of prctl(2)), so a process that a command
leaves behind stays countable; and it allows itself and them 1024 open files, the hard limit too, so that nobody can
raise it. On stdout a JSON list of phases, each {"pss_mb": highest sum, "processes": then, "files": most in one process}.
PSS is the kernel's own (smaps_rollup of proc(5)): what several processes share is counted once.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
OPEN_FILES = 1024
SAMPLE_S = 0.005
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Phase:
    pss_mb: float = 0.0
    processes: int = 0
    files: int = 0

    def or_more(self, other: Phase) -> Phase:
        larger = max(self, other, key=lambda phase: phase.pss_mb)
        return Phase(larger.pss_mb, larger.processes, max(self.files, other.files))


def main(kind: str, *argv: str) -> None:
    """Prints the phases; SystemExit with the reason where a command fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything made is undone
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise SystemExit(f"prctl: {os.strerror(ctypes.get_errno())}")
    phases = _commands(*argv) if kind == "commands" else [_held(argv)]
    print(json.dumps([asdict(phase) for phase in phases]))


def _commands(*argv: str) -> list[Phase]:
    *lab, file, name = argv
    up = _while_it_runs([*lab, "up", file, "--name", name])
    try:
        living = _now()
    finally:
        down = _while_it_runs([*lab, "down", name])
    return [up, living, down]


def _while_it_runs(argv: list[str]) -> Phase:
    with _process(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        return _highest(lambda: process.poll() is None)


def _held(argv: tuple[str, ...]) -> Phase:
    with _process(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        line = process.stdout
        os.set_blocking(line.fileno(), False)
        while_silent = _highest(lambda: not line.read(1) and process.poll() is None)
        living = _now()
        process.communicate()
    return while_silent.or_more(living)


@contextlib.contextmanager
def _process(argv: Sequence[str], stdin: int, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, stdin=stdin, stdout=stdout) as process:
        try:
            yield process
        except BaseException:
            process.terminate()  # it then undoes what it made; leaving the block waits for that
            raise
    if process.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with status {process.returncode}")


def _highest(goes_on: Callable[[], bool]) -> Phase:
    highest = Phase()
    while goes_on():
        highest = highest.or_more(_now())
        time.sleep(SAMPLE_S)
    return highest


def _now() -> Phase:
    processes = list(_descendants())
    return Phase(sum(map(_pss_mb, processes)), len(processes), max(map(_open_files, processes), default=0))


def _descendants() -> Iterator[Path]:
    children: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [os.getpid()]
    for pid in found:
        for child in children.get(pid, ()):
            found.append(child)
            yield PROC / str(child)


def _pss_mb(process: Path) -> float:
    with contextlib.suppress(OSError):  # it may just have ended
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _open_files(process: Path) -> int:
    try:
        return sum(1 for _ in (process / "fd").iterdir())
    except OSError:
        return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
