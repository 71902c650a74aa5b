"""What the Vagrantfile says, for those who do the same without Vagrant."""

from __future__ import annotations

import re

from support.commands import REPOSITORY

VAGRANTFILE = REPOSITORY / "Vagrantfile"


def left_out() -> list[str]:
    """What is not copied into the machine, as rsync is told."""
    return re.findall(r'"([^"]+)"', _said(r"rsync__exclude: \[(.*?)\]"))


def provisioning() -> str:
    """The shell command that sets the machine up."""
    return _said(r'inline: "(.*?)"')


def _said(pattern: str) -> str:
    found = re.search(pattern, VAGRANTFILE.read_text(), re.DOTALL)
    assert found, pattern
    return found[1]
