"""The `lab` command as a user types it: a process of its own, with its status and what it wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 60.0
REPOSITORY = Path(__file__).resolve().parents[2]
LAB = (sys.executable, "-m", "lab")


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended; `status` is negative for a signal, as in `subprocess`."""

    status: int
    stdout: str
    stderr: str

    def json(self, kind: str) -> Any:
        """The data of the one envelope on stdout."""
        envelope = json.loads(self.stdout)
        assert envelope["version"] == 1
        assert envelope["kind"] == kind
        return envelope["data"]


def lab(*words: str | Path, timeout: float = SECONDS, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Said:
    """Runs `lab …` to its end; `env` is added to this process's environment."""
    argv = [*LAB, *map(str, words)]
    everything = {**os.environ, **(env or {})}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, cwd=cwd, env=everything, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


def well(*words: str | Path) -> Said:
    """The same where nothing but 0 will do."""
    said = lab(*words)
    assert said.status == 0, said.stderr
    return said


@contextmanager
def started(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """`lab …` while it runs; killed at the end of the block where it still does."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*LAB, *map(str, words)], stdout=pipe, stderr=pipe, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted_after(line: int, numbers: tuple[signal.Signals, ...], *words: str | Path) -> Said:
    """`lab …`, sent these signals when it has written so many lines on stderr."""
    with started(*words) as process:
        assert process.stderr is not None
        first = [process.stderr.readline() for _ in range(line)]
        for number in numbers:
            process.send_signal(number)
        stdout, stderr = process.communicate(timeout=SECONDS)
    return Said(process.returncode, stdout, "".join(first) + stderr)


def host(*argv: str | Path) -> str:
    """A command of the host that must succeed; what it wrote."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=SECONDS).stdout
