"""How packages come without their daemons: in a tree of the test's own, with an apt-get that does what packages do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lab.doctor import apt
from lab.errors import HostError

UNITS = "etc/systemd/system"
OURS = f"{UNITS}/multi-user.target.wants/theirs.service"


class System:
    """A root folder, and a `run` that answers like dpkg and apt-get; `during` is what an installation does to the tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.during: Callable[[], object] = lambda: None
        self.ran: list[tuple[str, ...]] = []
        self.packages = ["base"]
        self.refusals = 0
        for folder in ("usr/sbin", f"{UNITS}/multi-user.target.wants", "etc/rc2.d", "etc/rc0.d", "var/lib/apt/lists"):
            (root / folder).mkdir(parents=True)
        (root / "var/lib/apt/lists/deb_main_binary-amd64_Packages.lz4").touch()
        (root / OURS).symlink_to("/lib/systemd/system/theirs.service")
        (root / "etc/rc2.d/S01theirs").symlink_to("../init.d/theirs")

    @property
    def policy(self) -> Path:
        return self.root / apt.POLICY

    def link(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/somewhere")
        return path

    def run(self, argv: Sequence[str]) -> tuple[int, str]:
        self.ran.append(tuple(argv))
        if argv[0] == "dpkg-query":
            return 0, "".join(f"ii {name}\n" for name in self.packages) + "rc removed\n"
        if argv[1] == "update":
            return 0, ""
        if self.refusals:
            self.refusals -= 1
            return 100, "E: Unable to locate package"
        self.during()
        self.packages += [argv[-1], "libdependency"]
        return 0, ""

    def install(self) -> apt.Installed:
        return apt.install(["pkg"], root=self.root, run=self.run)

    def names(self) -> list[str]:
        """Everything but folders."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_symlink() or path.is_file())


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_meanwhile_no_start_is_allowed_and_afterwards_nothing_is_left(system: System) -> None:
    before = system.names()

    def during() -> None:
        assert os.access(system.policy, os.X_OK)
        assert os.waitstatus_to_exitcode(os.system(str(system.policy))) == 101  # noqa: S605 - the script that we wrote

    system.during = during
    assert system.install().came == ("libdependency", "pkg")
    assert system.names() == before


def test_what_was_enabled_meanwhile_is_disabled_again_and_nothing_else(system: System) -> None:
    before = system.names()
    new = (
        f"{UNITS}/multi-user.target.wants/new.service",
        f"{UNITS}/sockets.target.wants/new.socket",
        f"{UNITS}/other.service.requires/new.service",
        "etc/rc2.d/S02new",
    )
    kept = ("etc/rc0.d/K01new", f"{UNITS}/dbus-org.new.service")
    system.during = lambda: [system.link(name) for name in (*new, *kept)]
    done = system.install()
    assert sorted(done.disabled) == sorted(f"/{name}" for name in new)
    assert system.names() == sorted([*before, *kept, "etc/rc2.d/K02new"])
    assert not (system.root / UNITS / "sockets.target.wants").exists()
    assert "disabled again: /etc" in "\n".join(apt.in_words(done))


def test_a_link_of_sysv_that_is_stopped_already_just_goes(system: System) -> None:
    system.during = lambda: (system.link("etc/rc2.d/S02new"), system.link("etc/rc2.d/K02new"))
    system.install()
    assert sorted(path.name for path in (system.root / "etc/rc2.d").iterdir()) == ["K02new", "S01theirs"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_after_an_interrupt_or_a_failure_all_is_as_it_was_too(system: System, error: type[BaseException]) -> None:
    before = system.names()

    def during() -> None:
        system.link(f"{UNITS}/multi-user.target.wants/new.service")
        raise error

    system.during = during
    with pytest.raises(error):
        system.install()
    assert system.names() == before


def test_a_policy_that_is_there_comes_back_as_it_was(system: System) -> None:
    system.policy.write_text("#!/bin/sh\nexit 0\n")
    system.policy.chmod(0o711)
    before = system.policy.stat()
    system.during = lambda: _asserted("exit 101" in system.policy.read_text())
    system.install()
    after = system.policy.stat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert not (system.root / apt.ASIDE).exists()


def _asserted(holds: bool) -> None:
    assert holds


def test_a_policy_that_is_a_link_comes_back_as_that_link(system: System) -> None:
    system.policy.symlink_to("/nowhere/policy")
    system.install()
    assert str(system.policy.readlink()) == "/nowhere/policy"


def test_what_a_killed_installation_left_is_put_right_by_the_next(system: System) -> None:
    system.policy.write_text("theirs")
    system.policy.rename(system.root / apt.ASIDE)
    system.policy.write_text(apt._FORBIDS)
    system.install()
    assert system.policy.read_text() == "theirs"
    assert not (system.root / apt.ASIDE).exists()


def test_lists_are_fetched_first_where_there_are_none(system: System) -> None:
    for path in (system.root / "var/lib/apt/lists").iterdir():
        path.unlink()
    assert system.install().updated
    assert [argv[1] for argv in system.ran if argv[0] == "apt-get"] == ["update", "install"]


def test_lists_that_are_there_are_used_as_they_are(system: System) -> None:
    assert not system.install().updated
    assert [argv[1] for argv in system.ran if argv[0] == "apt-get"] == ["install"]


def test_lists_that_are_of_no_use_are_fetched_anew(system: System) -> None:
    system.refusals = 1
    assert system.install().updated
    assert [argv[1] for argv in system.ran if argv[0] == "apt-get"] == ["install", "update", "install"]


def test_where_apt_cannot_its_words_and_the_command_are_told(system: System) -> None:
    system.refusals = 2
    with pytest.raises(HostError) as caught:
        system.install()
    assert "status 100:\n    E: Unable to locate package\n    try it by hand: apt-get install pkg" in str(caught.value)
    assert not system.policy.exists()


def test_where_nothing_is_missing_nothing_is_done(system: System) -> None:
    done = apt.install([], root=system.root, run=system.run)
    assert system.ran == []
    assert list(apt.in_words(done)) == ["nothing is missing: nothing was installed"]


def test_without_root_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/apt-get")
    with pytest.raises(HostError, match="needs root\n    sudo lab doctor --install, or: sudo apt-get install a b"):
        apt.install(["a", "b"])


def test_without_apt_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(HostError, match="no apt-get here; missing is what Debian calls a, b"):
        apt.install(["a", "b"])


INTERRUPTED = """
import signal, sys
from lab.doctor import apt

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    apt._run(["sh", "-c", sys.argv[1]])
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupted_command_is_told_and_waited_for(tmp_path: Path) -> None:
    """A dpkg that is killed leaves packages half installed: what runs ends in its own way before the interrupt goes on."""
    script = f"trap 'echo ended > {tmp_path}/said; exit 0' INT; kill -INT $PPID; while :; do sleep 0.01; done"
    argv = [sys.executable, "-c", INTERRUPTED, script]  # where no other thread takes the signal
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, (tmp_path / "said").read_text()) == ("interrupted\n", "ended\n"), done.stderr
