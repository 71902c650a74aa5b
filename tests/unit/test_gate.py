"""The gate holds a command back, and then becomes it: tried as a program, on this machine and on an emulated other."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.substrate import gate

EMULATED = {machine: shutil.which(f"qemu-{machine}") for machine in ("x86_64", "aarch64") if machine != platform.machine()}
NATIVE = {platform.machine(): ""}
_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class Gate:
    """The program, and how it is called."""

    folder: Path
    argv: tuple[str, ...]

    def start(self, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        argv = [*self.argv, *words]
        return subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, cwd=self.folder, env=env)

    def open(self, process: subprocess.Popen[str]) -> None:
        """As its owner does: without waiting, once the gate is there."""
        deadline = time.monotonic() + _WITHIN
        while process.poll() is None:
            try:
                os.close(os.open(self.folder / "fifo", os.O_WRONLY | os.O_NONBLOCK))
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.005)


@pytest.fixture(params=sorted({*NATIVE, *EMULATED}))
def gated(request: pytest.FixtureRequest, tmp_path: Path) -> Gate:
    machine = request.param
    emulator = {**NATIVE, **EMULATED}[machine]
    if emulator is None:
        pytest.skip(f"there is no qemu-{machine} here, of Debian's qemu-user: `make ready` brings it")
    program = tmp_path / "gate"
    program.write_bytes(gate.made_for(machine))
    program.chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    return Gate(tmp_path, (*([emulator] if emulator else []), str(program)))


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    said, complained = process.communicate(timeout=_WITHIN)
    return process.returncode, said, complained


def tried(gated: Gate, *words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = gated.start("fifo", *words, env=env)
    gated.open(process)
    return ended(process)


def test_the_command_runs_once_the_gate_is_opened_with_its_words_as_they_are(gated: Gate) -> None:
    assert tried(gated, "/bin/echo", "", "echo", "a  b", "", "*", "$x") == (0, "a  b  * $x\n", "")


def test_nothing_runs_before(gated: Gate) -> None:
    process = gated.start("fifo", "/bin/touch", "", "touch", str(gated.folder / "ran"))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    assert not (gated.folder / "ran").exists()
    gated.open(process)
    assert ended(process)[0] == 0
    assert (gated.folder / "ran").exists()


def test_the_process_stays_the_same_and_so_does_its_environment(gated: Gate) -> None:
    env = {"A": "1", "B": "x y"}
    process = gated.start("fifo", "/bin/sh", "", "sh", "-c", "echo $$ $A $B", env=env)
    gated.open(process)
    assert ended(process) == (0, f"{process.pid} 1 x y\n", "")


def test_places_are_tried_in_turn(gated: Gate) -> None:
    assert tried(gated, "/nowhere/echo", "/etc/passwd", "/bin/echo", "", "echo", "there")[:2] == (0, "there\n")


def test_what_is_nowhere_ends_with_127_and_a_word(gated: Gate) -> None:
    assert tried(gated, "/nowhere/x", "/bin/nothing-of-that-name", "", "x") == (127, "", gate.FAILED.decode())


def test_what_may_not_be_executed_ends_with_126(gated: Gate) -> None:
    assert tried(gated, "/etc/passwd", "/nowhere/x", "", "x") == (126, "", gate.FAILED.decode())


def test_a_gate_without_its_fifo_ends_with_125(gated: Gate) -> None:
    assert ended(gated.start("nothing", "/bin/echo", "", "echo")) == (125, "", gate.FAILED.decode())


def test_it_is_a_static_executable_of_a_few_hundred_bytes_that_asks_for_no_writable_memory() -> None:
    program = gate.made_for("aarch64")
    assert len(program) < 512
    kind, machine = struct.unpack_from("<HH", program, 16)
    assert (kind, machine) == (2, 183)
    assert struct.unpack_from("<II", program, 64) == (1, 5)


@pytest.mark.parametrize(
    ("argv", "environment", "places"),
    [
        (["/bin/x", "1"], {}, ["/bin/x"]),
        (["./x"], {"PATH": "/a"}, ["./x"]),
        (["x"], {"PATH": "/a:/b"}, ["/a/x", "/b/x"]),
        (["x"], {"PATH": "/a::/b/"}, ["/a/x", "./x", "/b/x"]),
        (["x"], {}, ["/usr/bin/x", "/bin/x"]),
    ],
)
def test_the_places_are_those_of_a_search_along_the_path(
    argv: Sequence[str], environment: dict[str, str], places: list[str]
) -> None:
    assert gate.words("/f", argv, environment, "/usr/bin:/bin") == ["/f", *places, "", *argv]
