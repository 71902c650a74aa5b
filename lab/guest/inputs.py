"""What a stranger has sent: the files and folders that the words of a command name, and what belongs to them.

A topology comes with the folder `templates` beside it. A scenario comes with `conftest.py`, a topology of the same name and
`templates`, all beside it; a folder that is named comes whole. Nothing else that lies beside is shared: a bug report may lie
among its reader's own files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.errors import TopologyError

_TEMPLATES, _CONFTEST = "templates", "conftest.py"
_TOPOLOGIES = (".yaml", ".yml")


def of_topology(name: str) -> list[Path]:
    """Nothing for a shipped one. Raises TopologyError."""
    path = Path(name).absolute()
    if not _is_there(path):
        return []
    return [_own(path), *_beside(path, _TEMPLATES)]


def of_scenarios(names: Sequence[str]) -> list[Path]:
    """Nothing for shipped ones. Raises TopologyError."""
    return [path for name in names for path in _of_scenario(Path(name.partition("::")[0]).absolute())]


def _of_scenario(path: Path) -> list[Path]:
    if not _is_there(path):
        return []
    if path.is_dir():
        return [_narrow(_own(path))]
    topologies = (path.stem + suffix for suffix in _TOPOLOGIES)
    return [_own(path), *_beside(path, _CONFTEST, _TEMPLATES, *topologies)]


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _beside(path: Path, *names: str) -> Iterator[Path]:
    yield from (_own(path.with_name(name)) for name in names if _is_there(path.with_name(name)))


def _own(path: Path) -> Path:
    """A link of a stranger's could lead to any file of the reader's."""
    if path.is_symlink():
        raise TopologyError(f"{path} is a symbolic link, which --untrusted does not follow", "put the file itself there")
    if not path.is_file() and not path.is_dir():
        raise TopologyError(f"{path} is neither a file nor a folder", "--untrusted shares nothing else")
    return path


def _narrow(folder: Path) -> Path:
    if folder == Path.home() or folder in Path.home().parents:
        raise TopologyError(f"{folder} holds your own files, too", "put what the stranger has sent in a folder of its own")
    return folder
