"""The folder where kernels lie, and how files come into it: whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.errors import HostError

_SCRATCH = ".new-"
ROOM = "make room (lab kernels rm NAME gives back what one takes), or set LAB_CACHE to a folder where there is some"
"""What to do where a disk is full."""


def root() -> Path:
    """$LAB_CACHE/kernels, or $XDG_CACHE_HOME/lab/kernels, ~/.cache/lab/kernels otherwise; need not be there."""
    if own := os.environ.get("LAB_CACHE"):
        return Path(own).absolute() / "kernels"
    said = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(said) if said.startswith("/") else Path.home() / ".cache"
    return base / "lab" / "kernels"


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder in `parent` that is gone at the end of the block, or, if this process is killed, when the next one begins there.

    What is made in it moves to its place by one rename. Raises HostError where there is no room, or no right to write."""
    with told(parent):
        parent.mkdir(parents=True, exist_ok=True)
        with locked(parent):
            _sweep(parent)
            folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=parent))
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def keep(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Writes a file at once, over what may be there."""
    with scratch(file.parent) as folder:
        new = folder / file.name
        new.write_bytes(content)
        new.chmod(mode)
        new.replace(file)


def remove(folder: Path) -> None:
    """A folder that somebody meets meanwhile is either whole or gone."""
    with scratch(folder.parent) as aside, contextlib.suppress(FileNotFoundError):
        folder.rename(aside / folder.name)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time in the block."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _sweep(parent: Path) -> None:
    """What a killed process left: nobody holds its lock."""
    for folder in parent.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


@contextlib.contextmanager
def told(where: Path) -> Iterator[None]:
    """What the disk refuses in the block is a HostError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostError(f"there is no room left in {where}", ROOM) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            hint = "set LAB_CACHE to a folder that you may write"
            raise HostError(f"{where} cannot be written: {os.strerror(error.errno)}", hint) from error
        raise
