"""ruff and mypy are part of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = {
    "ruff finds nothing": ["ruff", "check", "--no-cache", "."],
    "ruff would format nothing": ["ruff", "format", "--no-cache", "--check", "."],
    "mypy is content with the package": ["mypy"],
    "mypy is content with the tests": [
        "mypy",
        "--strict",
        "tests/unit",
        "tests/kernel",
        "tests/e2e",
        "tests/guest",
        "tests/support",
    ],
}


@pytest.mark.parametrize("argv", TOOLS.values(), ids=TOOLS.keys())
def test_the_linters_are_content(argv: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
