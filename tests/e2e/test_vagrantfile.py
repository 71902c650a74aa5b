"""The Vagrantfile is valid for each provider, whose settings Vagrant checks too; it is seen to refuse what is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.commands import REPOSITORY, SECONDS, Said
from support.vagrantfile import VAGRANTFILE, left_out, provisioning

PROVIDERS = ("libvirt", "virtualbox")
# Vagrant asks it for its version before it looks at a VirtualBox machine's settings.
VBOXMANAGE = "#!/bin/sh\necho 7.0.20r163906\n"

pytestmark = pytest.mark.skipif(not shutil.which("vagrant"), reason="vagrant is not installed")


def validated(folder: Path, text: str, provider: str) -> Said:
    """`vagrant validate` of this text, with everything that Vagrant writes kept in the folder."""
    (folder / "Vagrantfile").write_text(text)
    (folder / "VBoxManage").write_text(VBOXMANAGE)
    (folder / "VBoxManage").chmod(0o755)
    places = {"VAGRANT_HOME": str(folder / "home"), "VAGRANT_DOTFILE_PATH": str(folder / "dot"), "VAGRANT_CWD": str(folder)}
    mine = {**places, "VAGRANT_DEFAULT_PROVIDER": provider, "PATH": f"{folder}:{os.environ['PATH']}", "VAGRANT_NO_COLOR": "1"}
    environment = {**os.environ, **mine}
    done = subprocess.run(
        ["vagrant", "validate"], capture_output=True, text=True, timeout=SECONDS, env=environment, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_is_valid(tmp_path: Path, provider: str) -> None:
    said = validated(tmp_path, VAGRANTFILE.read_text(), provider)
    assert (said.status, said.stdout) == (0, "Vagrantfile validated successfully.\n"), said.stderr


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_setting_that_a_provider_does_not_know_is_refused(tmp_path: Path, provider: str) -> None:
    broken = VAGRANTFILE.read_text().replace(f"{provider}.memory = ", f"{provider}.memmory = ")
    said = validated(tmp_path, broken, provider)
    assert said.status == 1
    assert "The following settings shouldn't exist: memmory" in said.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "why"),
    [
        (f'inline: "{provisioning()}"', 'path: "tools/provisioning"', "`path` for shell provisioner does not exist"),
        ('synced_folder "."', 'synced_folder "nowhere"', "nowhere"),
    ],
)
def test_what_is_wrong_elsewhere_is_refused_too(tmp_path: Path, right: str, wrong: str, why: str) -> None:
    text = VAGRANTFILE.read_text()
    assert right in text
    said = validated(tmp_path, text.replace(right, wrong), "libvirt")
    assert said.status != 0
    assert why in said.stderr


def test_what_it_leaves_out_of_the_copy_is_what_git_ignores_and_git_itself() -> None:
    ignored = {line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines()}
    assert {each.strip("/") for each in left_out()} == (ignored | {".git"}) - {".vagrant"}  # which Vagrant leaves out itself
