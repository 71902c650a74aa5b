"""The kernels that guests are booted with: fetched once, into the cache that `lab` itself uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.kernels import fetch


@pytest.fixture(scope="session")
def uml() -> str:
    """A kernel that is a process: quick to boot."""
    fetch.fetch("uml-6.1")
    return "uml-6.1"


@pytest.fixture(scope="session")
def stock() -> str:
    """Debian's own, for QEMU."""
    fetch.fetch("6.1")
    return "6.1"


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a test file whose one check, `The check.`, does what `body` says; gives its path."""

    def write(body: str) -> Path:
        lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
        path = tmp_path / "check.py"
        path.write_text(f'"""A scenario."""\nimport os, sys, time\n\ndef test_check():\n    """The check."""\n{lines}')
        return path

    return write
