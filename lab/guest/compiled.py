"""What a guest would compile in software is compiled here, while it boots: it finds that among the host's files.

Of an experiment that is what pytest makes of its assertions, beside its file like any compiled module. What is up to date is
left alone; where nothing can be written the guest does without.
"""

from __future__ import annotations

import compileall
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lab import scenarios

_PACKAGE = Path(__file__).parents[1]
_WITHIN = 60.0  # seconds; it takes three
_PYTEST = ("-m", "pytest", "-c", str(scenarios.FOLDER / "pytest.ini"), "--rootdir", str(scenarios.FOLDER), "--noconftest")
_COLLECT = ("--collect-only", "-q", "-p", "no:cacheprovider", "-p", "lab.pytest_plugin")


def bring_up_to_date() -> None:
    """The package, and its experiments."""
    compileall.compile_dir(str(_PACKAGE), quiet=2)
    stale = [str(path) for path in scenarios.paths().values() if _is_stale(path)]
    if stale and os.access(scenarios.FOLDER / "__pycache__", os.W_OK):
        _collect(stale)


def _is_stale(path: Path) -> bool:
    """By the name that pytest gives it (_pytest/assertion/rewrite.py, PYC_TAIL)."""
    tail = f"{sys.implementation.cache_tag}-pytest-{importlib.metadata.version('pytest')}.pyc"
    made = path.parent / "__pycache__" / f"{path.stem}.{tail}"
    return not made.exists() or made.stat().st_mtime < path.stat().st_mtime


def _collect(files: list[str]) -> None:
    """By a pytest that runs nothing. What it says of the files is said again in the guest."""
    quiet = subprocess.DEVNULL
    argv = [sys.executable, *_PYTEST, *_COLLECT, *files]
    try:
        subprocess.run(argv, stdin=quiet, stdout=quiet, stderr=quiet, env=dict(_environment()), timeout=_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return


def _environment() -> Iterator[tuple[str, str]]:
    yield from ((name, value) for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONDONTWRITE")))
    yield "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1"
