"""A real Debian package with a daemon comes, and the daemon neither runs nor is enabled; then everything goes again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import host

from lab.doctor import apt

PACKAGE = DAEMON = "uptimed"
ROOT = Path("/")


def can_be_installed() -> bool:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    told = subprocess.run(["apt-cache", "policy", PACKAGE], capture_output=True, text=True, check=False).stdout
    return "Installed: (none)" in told and "Candidate: (none)" not in told


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not can_be_installed(), reason=f"{PACKAGE} is installed already, or apt does not offer it"),
]


def everything() -> dict[str, object]:
    """What must be as before: links that start something, the policy, and what is installed."""
    return {
        "links": apt.enabling_links(ROOT),
        "policy": os.path.lexists(ROOT / apt.POLICY),
        "packages": host("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${binary:Package}\n"),
    }


@pytest.fixture(scope="module")
def before() -> dict[str, object]:
    return everything()


@pytest.fixture(scope="module")
def done(before: dict[str, object]) -> Iterator[apt.Installed]:
    installed = apt.install([PACKAGE])
    try:
        yield installed
    finally:
        subprocess.run(
            ["apt-get", "purge", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", *installed.came],
            check=True,
            capture_output=True,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
        assert everything() == before


def test_the_package_is_there_with_a_unit_and_an_init_script(done: apt.Installed) -> None:
    files = host("dpkg", "-L", PACKAGE).splitlines()
    assert PACKAGE in done.came
    assert shutil.which(DAEMON, path="/usr/sbin")
    assert f"/etc/init.d/{DAEMON}" in files
    assert [file for file in files if file.endswith(f"/{DAEMON}.service")]


def test_the_daemon_does_not_run(done: apt.Installed) -> None:
    names = [path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm") if path.exists()]
    assert DAEMON not in names


def test_the_daemon_was_enabled_by_its_package_and_is_disabled_again(done: apt.Installed, before: dict[str, object]) -> None:
    disabled = "\n".join(done.disabled)
    assert f"/etc/systemd/system/multi-user.target.wants/{DAEMON}.service" in disabled
    assert f"/etc/rc2.d/S01{DAEMON}" in disabled
    assert apt.enabling_links(ROOT) == before["links"]


def test_no_policy_is_left(done: apt.Installed, before: dict[str, object]) -> None:
    assert os.path.lexists(ROOT / apt.POLICY) == before["policy"]


def test_what_was_done_is_said(done: apt.Installed) -> None:
    said = "\n".join(apt.in_words(done))
    assert f"installed: {', '.join(done.came)}" in said
    assert "disabled again: /etc/" in said
