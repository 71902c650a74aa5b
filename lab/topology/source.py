"""A topology's text, as the user keeps it: found by path or shipped name, and read without trusting what lies there.

Nothing here knows YAML or Jinja2. A path is opened only if it is a regular file, so that a fifo cannot block and a
device cannot feed without end.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import Place, Problem, TopologyError
from lab.topology.shipped import shipped_topologies
from lab.topology.words import did_you_mean, listed

LARGEST = 8 << 20  # bytes of a file
_SUFFIXES = (".yaml", ".yml")
# Planes 15 and 16, private use: lab writes them into a template to learn where each rendered character came from.
_RESERVED = re.compile("[\U000f0000-\U0010ffff]")


@dataclass(frozen=True)
class Source:
    """A text and its name as the user knows it; `folder` is the directory that relative paths in it start from."""

    name: str
    text: str
    folder: Path | None = None


def read_source(name: str | Path) -> Source:
    """Read a topology by path or by shipped name.

    A `Path`, anything with a `/` or ending in .yaml or .yml, and the name of an existing file are paths; the rest are
    shipped names. TopologyError where there is none, or where it is no UTF-8 text of at most 8 MiB.
    """
    path = Path(name) if _is_path(name) else _shipped(str(name))
    return Source(str(path), read_text(path), path.parent.absolute())


def read_text(path: Path) -> str:
    """A regular file of UTF-8 text, of at most 8 MiB; TopologyError where it is anything else."""
    return _decode(str(path), _read(path))


def _is_path(name: str | Path) -> bool:
    if isinstance(name, Path) or "/" in name or name.endswith(_SUFFIXES):
        return True
    try:
        return Path(name).is_file()
    except OSError:  # a name too long for the file system
        return False


def _shipped(name: str) -> Path:
    shipped = shipped_topologies()
    if name in shipped:
        return shipped[name]
    near = did_you_mean(name, shipped)
    known = f"shipped are: {listed(shipped)}" if shipped else "none is shipped"
    hint = "; ".join(part for part in (near, known, "a file is named by its path, such as ./lab.yaml") if part)
    raise TopologyError(f"there is no topology {name!r}", hint)


def _read(path: Path) -> bytes:
    try:
        _regular(path, path.stat().st_mode)  # before it is opened: opening some devices already acts on them
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise TopologyError(f"{path}: there is no such file", _neighbour(path)) from None
    except (OSError, ValueError) as error:
        raise TopologyError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    with os.fdopen(descriptor, "rb") as file:
        _regular(path, os.fstat(descriptor).st_mode)
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise TopologyError(f"{path}: is larger than {LARGEST >> 20} MiB; a topology is a text of a few kilobytes")
    return data


def _regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise TopologyError(f"{path}: is a directory", f"name the file in it, such as {path / 'lab.yaml'}")
    if not stat.S_ISREG(mode):
        raise TopologyError(f"{path}: is not a regular file", "a topology is read from a file, not a device or a pipe")


def _neighbour(path: Path) -> str | None:
    try:
        names: Iterable[str] = [entry.name for entry in os.scandir(path.parent) if entry.name.endswith(_SUFFIXES)]
    except OSError:
        return f"nor is there a directory {path.parent}"
    return did_you_mean(path.name, names)


def _decode(name: str, data: bytes) -> str:
    """UTF-8 with or without a byte order mark; every refused byte is named with its line and column."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise TopologyError(f"{name}: is UTF-16 text", "save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise _refused(name, before, f"the byte 0x{data[error.start]:02x} is not UTF-8", "save it as UTF-8") from None
    if "\0" in text:
        raise _refused(name, text[: text.index("\0")], "a NUL byte: this is not a text file", None)
    if found := _RESERVED.search(text):
        message = f"the private-use character U+{ord(found[0]):X} is reserved by lab"
        raise _refused(name, text[: found.start()], message, "write it as an escape in a quoted YAML string")
    return text


def _refused(name: str, before: str, message: str, hint: str | None) -> TopologyError:
    """A problem at the place that the text `before` ends at."""
    lines = re.split("\r\n|\r|\n", before)
    return TopologyError([Problem(message, hint, Place(name, len(lines), len(lines[-1]) + 1))])
