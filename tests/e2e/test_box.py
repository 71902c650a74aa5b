"""What the Vagrantfile's machine becomes: its provisioning, for real, in a fresh Debian; afterwards lab works there.

The machine itself cannot be started in a test. So the repository is copied as Vagrant copies it, and the command that
Vagrant gives to a shell is given to one, in a Debian with nothing but apt: an official box has more.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import debian
from support.commands import Said
from support.debian import Debian
from support.privilege import without_privilege
from support.vagrantfile import left_out, provisioning

from lab import __version__
from lab.doctor import apt

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("mmdebstrap") or not shutil.which("rsync"), reason="no mmdebstrap or no rsync"),
]


@dataclass(frozen=True, slots=True)
class Box:
    """`said` by provisioning; `before` it, the links by which daemons are started."""

    debian: Debian
    said: Said
    before: Mapping[Path, str]


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with tempfile.TemporaryDirectory(prefix="lab-box-", dir=debian.place()) as folder:
        made = debian.made(Path(folder, "root"))
        made.bring("/vagrant", left_out())
        before = apt.enabling_links(made.root)
        yield Box(made, made.run("sh", "-c", provisioning()), before)


def test_it_is_provisioned(box: Box) -> None:
    assert box.said.status == 0, box.said.stdout[-4000:] + box.said.stderr[-4000:]
    assert box.said.stdout.endswith("lab is set up; the first experiment: sudo lab run rp-filter\n")


def test_lab_is_on_the_path_of_everybody(box: Box) -> None:
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    assert box.debian.well("lab", "--version").stdout == f"lab {__version__}\n"
    said = box.debian.well(*nobody, "lab", "validate", "two-hosts")
    assert said.stdout == "/vagrant/topologies/two-hosts.yaml: two-hosts is well: 2 nodes, 1 link\n"


def test_the_first_experiment_holds(box: Box) -> None:
    """Where the running kernel lacks a feature its checks are skipped, for no guest's kernel is there."""
    said = box.debian.well("lab", "run", "rp-filter")
    assert " held, " in said.stdout.splitlines()[-1]
    assert "failed" not in said.stdout.splitlines()[-1]


def test_no_program_is_missing(box: Box) -> None:
    findings = json.loads(box.debian.well("lab", "doctor", "-f", "json").stdout)["data"]["findings"]
    programs = {each["name"]: each["verdict"] for each in findings if each["section"] == "programs"}
    assert programs.pop("docker") == "note"  # a daemon that nobody needs unless nodes are containers
    assert programs
    assert set(programs.values()) == {"ok"}, programs


def test_daemons_came_and_none_is_enabled(box: Box) -> None:
    assert (box.debian.root / "usr/lib/systemd/system/frr.service").exists() or (
        box.debian.root / "lib/systemd/system/frr.service"
    ).exists()
    assert apt.enabling_links(box.debian.root) == box.before
    assert not os.path.lexists(box.debian.root / apt.POLICY)


def test_it_can_be_provisioned_again(box: Box) -> None:
    """As `vagrant provision` does."""
    assert "nothing is missing: nothing was installed\n" in box.debian.well("sh", "-c", provisioning()).stdout


def test_without_root_it_says_what_is_needed() -> None:
    said = without_privilege("tools/provision")
    assert said.returncode == 1
    assert said.stderr == "tools/provision installs packages: it needs root (sudo tools/provision) and apt-get\n"
