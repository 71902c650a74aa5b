"""Scratch nodes for the tests of processes, without the rest of a lab; a Docker daemon for those of containers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dockerd import Daemon, daemon
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


@pytest.fixture(scope="module")
def dockerd(own_run_directory: Path) -> Iterator[Daemon]:
    with daemon() as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", made.host)
        yield made
