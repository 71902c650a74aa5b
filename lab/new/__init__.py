"""`lab new`: what a project of one's own begins with, copied from `files/`: a topology, a scenario, a workflow for CI.

The files work as they stand in `files/`, but for the workflow, which names this version of the action.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from lab import __version__
from lab.errors import TopologyError

ACTION = "netns-lab/lab"
"""The repository on GitHub that has action.yml at its root."""
_HOLE = "ACTION"
_FILES = Path(__file__).parent / "files"
_PLACES = {
    "network.yaml": "network.yaml",
    "test_network.py": "test_network.py",
    "workflow.yml": ".github/workflows/lab.yml",
}
"""File in `files/` -> its path below the new folder."""


def write(folder: Path) -> list[Path]:
    """Writes the files below a folder that is empty or not there yet; their paths, in the order in which to read them.

    Raises TopologyError where that cannot be; then nothing was changed."""
    _refuse(folder)
    made: list[Path] = []
    try:
        return [_written(folder / place, _text(name), made) for name, place in _PLACES.items()]
    except OSError as error:
        _undo(made)
        raise TopologyError(f"{folder} cannot be written: {error.strerror}", "name a folder of yours, or a new one") from error


def _refuse(folder: Path) -> None:
    try:
        there = next(folder.iterdir(), None)
    except FileNotFoundError:
        return
    except OSError as error:
        raise TopologyError(f"{folder} cannot be used: {error.strerror}", "name an empty folder, or a new one") from error
    if there is not None:
        hint = "name an empty folder, or a new one; lab new overwrites nothing"
        raise TopologyError(f"{folder} is not empty: it has {there.name}", hint)


def _text(name: str) -> str:
    return (_FILES / name).read_text().replace(_HOLE, f"{ACTION}@v{__version__}")


def _written(path: Path, text: str, made: list[Path]) -> Path:
    """`made` is told of each folder and file before the next one."""
    for folder in reversed([each for each in path.parents if not each.exists()]):
        folder.mkdir()
        made.append(folder)
    with path.open("x") as file:
        made.append(path)
        file.write(text)
    return path


def _undo(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
