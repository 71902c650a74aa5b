"""The folder of all labs, which whoever comes first makes and whoever leaves last removes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_COMES_AND_GOES = """
from lab import state
for _ in range(1500):
    with state.locked_root():
        pass
"""


def test_many_processes_make_and_remove_it_at_the_same_time(tmp_path: Path) -> None:
    environment = {**os.environ, "LAB_RUN_DIR": str(tmp_path / "run")}
    running = [subprocess.Popen([sys.executable, "-c", _COMES_AND_GOES], env=environment) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert not (tmp_path / "run").exists()
