"""What takes longer than a CI run should: the same experiment again and again."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.root, pytest.mark.soak]


def test_twenty_runs_in_a_row_give_the_same_verdict() -> None:
    argv = [sys.executable, "-m", "lab", "-q", "run", "rp-filter"]
    runs = [subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60) for _ in range(20)]
    assert [run.returncode for run in runs] == [0] * 20, next(run.stdout for run in runs if run.returncode)
