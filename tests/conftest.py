"""What every test of this repository gets: a run directory of its own, and the leak check around each that makes a lab.

Tests marked `root` make real namespaces; without root they are skipped and the summary says so. Those marked `soak` run only
when asked for with -m.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import world

MAKES_LABS = ("kernel", "e2e")
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.markexpr:
        soaking = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=soaking)
        items[:] = [item for item in items if item not in soaking]
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="left out without root: it makes real network namespaces"))


def pytest_report_header() -> str | None:
    if os.geteuid() == 0 and not world.can_count():
        return "leak check: namespaces that nothing names are not counted: this kernel does not tell (/sys/kernel/slab)"
    return None


@pytest.fixture(scope="session", autouse=True)
def own_run_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Labs of this run lie below a directory of their own, so that `prune` and the leak check meet nobody else's."""
    with pytest.MonkeyPatch.context() as patch:
        path = Path(f"/run/lab-test-{os.getpid()}")
        patch.setenv("LAB_RUN_DIR", str(path))
        patch.setenv(world.TEMPORARY, str(tmp_path_factory.getbasetemp()))
        patch.delenv("LAB_FORMAT", raising=False)
        yield path
    assert not path.exists(), f"left behind: {sorted(path.iterdir())}"


def _makes_labs(path: Path) -> bool:
    return os.geteuid() == 0 and path.is_relative_to(TESTS) and path.relative_to(TESTS).parts[0] in MAKES_LABS


@pytest.fixture(scope="module", autouse=True)
def module_leaves_nothing(request: pytest.FixtureRequest, own_run_directory: Path) -> Iterator[None]:
    """Also what belongs to a whole module is gone when it ends, and so are the namespaces that nothing names."""
    if not _makes_labs(request.path):
        yield
        return
    check = world.Check.begin(counted=True)
    yield
    check.end()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, module_leaves_nothing: None) -> Iterator[None]:
    """No mount, process, name, file or link more than before the test."""
    if not _makes_labs(request.path):
        yield
        return
    check = world.Check.begin(counted=False)
    yield
    check.end()


@pytest.fixture
def name() -> str:
    """A name for a lab that no other run on this host uses."""
    return f"t{os.getpid()}-{secrets.token_hex(3)}"


@pytest.fixture
def topology(tmp_path: Path, name: str) -> Callable[[str], Path]:
    """Writes a topology file, with `{name}` filled in as by str.format, and gives its path."""

    def write(text: str) -> Path:
        path = tmp_path / "topology.yaml"
        path.write_text(text.format(name=name))
        return path

    return write
