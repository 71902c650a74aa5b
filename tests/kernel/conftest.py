"""Scratch nodes for the tests of processes, without the rest of a lab."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nodes import Scratch

from lab.substrate.inits import Init


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    (tmp_path / "labs").mkdir()
    scratch = Scratch(tmp_path / "labs")
    with contextlib.closing(scratch):
        yield scratch


@pytest.fixture
def init(scratch: Scratch) -> Init:
    return scratch.init()
