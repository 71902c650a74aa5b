"""Commands in guests, and what is left of them on the host."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from support.commands import Said, lab

BOOTED = 240.0  # seconds, for a boot on a busy host and a command in it; `lab` itself gives a boot up sooner
_GONE_WITHIN = 30.0

_WITH_LIMITS = """
import sys
from lab import guest
from lab.errors import LabError
from lab.guest.choose import Wishes
from lab.guest.once import Limits
boot, silent, memory, kernel, *words = sys.argv[1:]
try:
    limits, wishes = Limits(float(boot), float(silent)), Wishes(int(memory))
    sys.exit(guest.run(kernel, words, limits=limits, wishes=wishes))
except LabError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
"""


def on(kernel: str, *words: str | Path, env: dict[str, str] | None = None) -> Said:
    """`lab --kernel KERNEL …`, to its end."""
    return lab("--kernel", kernel, *words, timeout=BOOTED, env=env)


def with_limits(kernel: str, *words: str | Path, boot: float = 90, silent: float = 45, memory: int = 512) -> Said:
    """The same with other limits than the command has, in seconds and MiB."""
    import subprocess

    argv = [sys.executable, "-c", _WITH_LIMITS, str(boot), str(silent), str(memory), kernel, *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BOOTED, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


def descendants(pid: int) -> set[int]:
    """Of a process, and of those."""
    found: set[int] = set()
    for path in Path("/proc").glob(f"{pid}/task/*/children"):
        children = {int(word) for word in path.read_text().split()}
        found |= children.union(*map(descendants, children)) if children else set()
    return found


def until_gone(pids: set[int]) -> None:
    deadline = time.monotonic() + _GONE_WITHIN
    while left := {pid for pid in pids if _runs(pid)}:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
