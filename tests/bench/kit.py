"""What every measurement needs: where to put files, the floor compiled, the commands, and repetitions that alternate."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from gone import Watcher
from rows import BrokenError, CannotMeasureError

HERE = Path(__file__).parent
FLOOR = HERE / "floor.c"
CFLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
MININET = ("/usr/bin/python3", "brctl", "mnexec", "ifconfig", "unshare")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kit:
    """`scratch` ends with the run; `build` stays, for what is compiled. `quick`: one repetition of everything."""

    scratch: Path
    build: Path
    quick: bool = False

    def times(self, usual: int) -> int:
        return 1 if self.quick else usual

    def file(self, name: str, text: str) -> Path:
        path = self.scratch / name
        path.write_text(text)
        return path

    def name(self, of: str) -> str:
        """A lab's name that no other run of the benchmark uses."""
        return f"bench-{os.getpid()}-{of}"

    def watcher(self) -> Watcher:
        if os.geteuid():
            raise CannotMeasureError("network namespaces need root: run it with sudo")
        try:
            return Watcher()
        except PermissionError as error:
            raise CannotMeasureError(f"network namespaces need CAP_SYS_ADMIN ({error})") from error

    def floor(self, hosts: int) -> list[str]:
        """The command line of the floor, compiled where it is not yet."""
        binary = self.build / "floor"
        if not binary.exists() or binary.stat().st_mtime < FLOOR.stat().st_mtime:
            self._compile(binary)
        return [str(binary), str(hosts)]

    def engine(self, file: Path, name: str, *command: str) -> list[str]:
        """The command line of a Python process that makes a lab through the API, runs `command` on each node, and holds it."""
        self.lab()
        return [sys.executable, str(HERE / "engine_star.py"), str(file), name, *command]

    def lab(self) -> list[str]:
        """The `lab` command of the Python that runs this."""
        script = Path(sys.executable).with_name("lab")
        if script.exists():
            return [str(script)]
        if find_spec("lab"):
            return [sys.executable, "-m", "lab"]
        raise CannotMeasureError(f"lab is not installed for {sys.executable}: {sys.executable} -m pip install -e .")

    def mininet(self, hosts: int) -> list[str]:
        """The command line of Mininet's star, in a network namespace of its own."""
        probe = [MININET[0], "-c", "import mininet.net"]
        missing = [program for program in MININET if not shutil.which(program)]
        if missing or subprocess.run(probe, capture_output=True, check=False).returncode:
            raise CannotMeasureError("install Mininet: apt install mininet bridge-utils net-tools")
        return ["unshare", "--net", "--", MININET[0], str(HERE / "mininet_star.py"), str(hosts)]

    def _compile(self, binary: Path) -> None:
        if not shutil.which("gcc"):
            raise CannotMeasureError("install a C compiler: apt install gcc libc6-dev linux-libc-dev")
        binary.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["gcc", *CFLAGS, "-o", binary, FLOOR], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokenError(f"floor.c does not compile: {done.stderr.strip()}")


def slow_run_directory() -> str | None:
    """A caveat where /run is not the tmpfs that file-hierarchy(7) says it is."""
    mounts = (line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines())
    kinds = {place: kind for place, kind in mounts if Path("/run/netns").is_relative_to(place)}
    kind = kinds[max(kinds, key=len)]
    return None if kind == "tmpfs" else f"/run is {kind} here, not tmpfs: every name in /run/netns costs an inode of the disk"


def alternate(times: int, *subjects: Callable[[], T]) -> list[list[T]]:
    """Runs A B C, A B C, … `times` times, so that a slow moment of the machine falls on all of them; a list for each."""
    rounds = [[subject() for subject in subjects] for _ in range(times)]
    return [list(column) for column in zip(*rounds, strict=True)]


def median(values: Sequence[T], of: Callable[[T], float]) -> float:
    return statistics.median(map(of, values))
