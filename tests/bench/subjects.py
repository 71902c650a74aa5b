"""The things that are timed: a process that makes a star and holds it, or two commands that make it and remove it.

Whatever is measured, it is measured alike. `up_s` runs from the start of the process until the star stands; between the
two the watcher takes note of the namespaces, which is counted nowhere; `down_s` runs from the moment at which the
removal is asked for until the kernel has finished with every one of them (gone.py), or the process, if that takes longer.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gone import StillThereError, Watcher
from rows import BrokenError

NETNS = Path("/run/netns")
DEADLINE_S, UNDO_S = 120.0, 20.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `create_s` is what the process itself says of its work alone, where it says so."""

    up_s: float
    down_s: float
    create_s: float | None = None

    @property
    def whole_s(self) -> float:
        return self.up_s + self.down_s

    @property
    def created_s(self) -> float:
        if self.create_s is None:
            raise BrokenError("the process did not say how long it took to create the star")
        return self.create_s


def held_by_a_process(watcher: Watcher, argv: Sequence[str], hosts: int) -> Timing:
    """A process that prints one line of JSON, with "namespaces" and perhaps "create_s", when the star stands, and that
    removes it when its stdin ends. BrokenError where it does neither."""
    start = time.monotonic()
    with _process(argv) as process:
        said = _first_line(process, argv)
        up_s = time.monotonic() - start
        _watch(watcher, said["namespaces"], hosts)
        start = time.monotonic()
        _, errors = _end(process, argv, "\n")
        ended = time.monotonic()
        if process.returncode:
            raise BrokenError(_failure(argv, errors))
    return Timing(up_s, max(_gone(watcher), ended) - start, said.get("create_s"))


def made_by_commands(watcher: Watcher, lab: Sequence[str], file: Path, name: str, hosts: int) -> Timing:
    """`lab up FILE --name NAME` and `lab down NAME`, whole commands."""
    with contextlib.ExitStack() as undo:
        undo.callback(subprocess.run, [*lab, "down", name], capture_output=True, check=False)
        start = time.monotonic()
        run([*lab, "up", str(file), "--name", name])
        up_s = time.monotonic() - start
        _watch(watcher, [str(path) for path in namespaces_of(name)], hosts)
        start = time.monotonic()
        run([*lab, "down", name])
        ended = time.monotonic()
        undo.pop_all()
    return Timing(up_s, max(_gone(watcher), ended) - start)


def seconds(argv: Sequence[str]) -> float:
    """How long a whole command takes."""
    start = time.monotonic()
    run(argv)
    return time.monotonic() - start


def run(argv: Sequence[str]) -> str:
    """Runs a command to its end and gives its stdout. BrokenError with the end of its stderr where it fails."""
    with _process(argv) as process:
        output, errors = _end(process, argv, None)
    if process.returncode:
        raise BrokenError(_failure(argv, errors))
    return output


def namespaces_of(name: str) -> list[Path]:
    """The network namespaces of a living lab, as `ip netns` sees them."""
    return sorted(NETNS.glob(f"{name}.*"))


@contextlib.contextmanager
def _process(argv: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is asked to end, with time to undo what it made, where the block is left by an exception."""
    with _started(argv) as process:
        try:
            yield process
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=UNDO_S)
            process.kill()
            raise


def _started(argv: Sequence[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    except OSError as error:
        raise BrokenError(f"cannot run {_called(argv)}: {error.strerror}") from error


def _end(process: subprocess.Popen[str], argv: Sequence[str], said: str | None) -> tuple[str, str]:
    try:
        return process.communicate(said, timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise BrokenError(f"{_called(argv)} did not end within {DEADLINE_S:g} s") from None


def _gone(watcher: Watcher) -> float:
    try:
        return watcher.wait()
    except StillThereError as error:
        raise BrokenError(str(error)) from error


def _first_line(process: subprocess.Popen[str], argv: Sequence[str]) -> dict[str, Any]:
    assert process.stdout and process.stderr
    line = process.stdout.readline()
    if not line:
        raise BrokenError(_failure(argv, process.stderr.read()))
    said: dict[str, Any] = json.loads(line)
    return said


def _watch(watcher: Watcher, namespaces: Sequence[str], hosts: int) -> None:
    found = watcher.watch(namespaces)
    if found != hosts + 1:
        raise BrokenError(f"{found} network namespaces instead of {hosts} hosts and a switch")


def _failure(argv: Sequence[str], errors: str) -> str:
    last = errors.strip().splitlines()[-1:] or ["nothing on stderr"]
    return f"{_called(argv)}: {last[0]}"


def _called(argv: Sequence[str]) -> str:
    return " ".join((Path(argv[0]).name, *argv[1:3]))
