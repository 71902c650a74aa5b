"""Virtual time: an hour of a guest in which nothing happens takes seconds, and the report says which clock it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import lab


@pytest.mark.soak
def test_an_hour_of_waiting_takes_seconds_and_is_told_as_virtual(
    stock: str, scenario: Callable[[str], Path], tmp_path: Path
) -> None:
    path = scenario("begin = time.monotonic()\ntime.sleep(3600)\nassert 3600 <= time.monotonic() - begin < 3605")
    begin = time.monotonic()
    said = lab("--kernel", stock, "--warp", "run", path, "--json", tmp_path / "out.json", timeout=280)
    assert said.status == 0, said.stdout + said.stderr
    assert time.monotonic() - begin < 280
    assert " s of virtual time" in said.stdout
    data = json.loads((tmp_path / "out.json").read_text())["data"]
    assert data["clock"] == "virtual"
    assert 3600 <= data["seconds"] < 3660  # reading files of the host is no reason for time to leap
