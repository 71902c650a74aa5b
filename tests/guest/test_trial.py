"""The trial of a guest's root: it is seen to find a way out where there is one, and then nothing of a stranger's is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import Said

from lab.guest import seal

pytestmark = pytest.mark.root
SECONDS = 400.0  # for the whole of a run on a busy host

# Boots a guest that is sealed or open, or sealed badly, and has its root try to get out.
TRIED = """
import sys, time
from dataclasses import replace
from pathlib import Path
from lab import kernels
from lab.errors import HostError
from lab.guest import choose, machine, once, qemu, trial
from lab.guest.session import Session

name, is_sealed, server, script = sys.argv[1:]
real = qemu.argv
qemu.argv = lambda *words: [word.replace("readonly=on", f"readonly={server}") for word in real(*words)]
machine._SEAL = Path(script)
kernel = kernels.find(name)
wishes = choose.Wishes(memory=512, untrusted=() if is_sealed == "sealed" else None)
with trial.Trial(None) as attempt:
    substrate = choose.substrates(kernel, wishes)[0]
    if is_sealed == "sealed":
        guest = choose.sealed(kernel, wishes, substrate, attempt.place)
    else:
        guest = choose.guest(kernel, wishes, substrate)
        guest = replace(guest, environment={**guest.environment, "LAB_TRIAL": str(attempt.place)})
    with machine.Machine(guest) as booted:
        session = Session(booted.channel, booted.fileno(), 45, once.line_of(booted))
        session.ready(time.monotonic() + 300)
        try:
            once.hold(attempt, booted, session, once.Limits())
        except HostError as error:
            print(error)
            sys.exit(error.exit_status)
"""


def tried(kernel: str, is_sealed: str, server: str = "on", script: Path | None = None) -> Said:
    argv = [sys.executable, "-c", TRIED, kernel, is_sealed, server, str(script or seal.__file__)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def writable(tmp_path: Path) -> Path:
    """A seal that leaves every mount writable."""
    text = Path(seal.__file__).read_text()
    for word, other in (("| _MS_RDONLY | flags", "| flags"), ("os.path.abspath(__file__)", repr(seal.__file__))):
        assert text.count(word) == 1
        text = text.replace(word, other)
    path = tmp_path / "seal.py"
    path.write_text(text)
    return path


def test_a_share_that_can_be_written_is_found_out(stock: str, writable: Path) -> None:
    said = tried(stock, "sealed", "off", writable)
    assert said.status == 3, said.stdout + said.stderr
    assert "QEMU without KVM does not hold a stranger's work: its root has written on the host: shared/mark" in said.stdout
    assert "nothing of the stranger's was run" in said.stdout


def test_user_mode_linux_is_found_out(uml: str) -> None:
    said = tried(uml, "open")
    assert said.status == 3, said.stdout + said.stderr
    assert "User-mode Linux does not hold a stranger's work: its root got out: " in said.stdout
    assert "hostfs: /mnt/again" in said.stdout
    assert "secret of the host was read" in said.stdout


@pytest.mark.soak
def test_either_of_the_two_that_keep_the_share_from_being_written_does(stock: str, writable: Path) -> None:
    for server, script in (("off", None), ("on", writable)):
        said = tried(stock, "sealed", server, script)
        assert said.status == 0, said.stdout + said.stderr


@pytest.mark.soak
def test_a_guest_of_the_users_own_is_found_out(stock: str) -> None:
    said = tried(stock, "open")
    assert said.status == 3, said.stdout + said.stderr
    assert "secret of the host was read" in said.stdout
