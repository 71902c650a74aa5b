"""Writes a cpio archive as the kernel unpacks it: the format newc, Documentation/driver-api/early-userspace/buffer-format.rst.

The same entries give the same bytes: there are no times in it, and inodes count from 1.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

_END = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """`path` without a slash before it; `mode` with the file's type; of a link the content is its target."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(path: str) -> Entry:
    return Entry(path, stat.S_IFDIR | 0o755)


def file(path: str, content: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | mode, content)


def link(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character(path: str, major: int, minor: int, mode: int = 0o600) -> Entry:
    return Entry(path, stat.S_IFCHR | mode, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The whole archive; folders above an entry are made where no entry before it did."""
    parts = bytearray()
    for number, entry in enumerate(_with_folders(entries), 1):
        parts += _record(entry, number)
    return bytes(parts + _record(Entry(_END, 0), 0))


def _with_folders(entries: Iterable[Entry]) -> Iterator[Entry]:
    made = {"."}
    for entry in entries:
        for above in reversed(PurePosixPath(entry.path).parents):
            if str(above) not in made:
                made.add(str(above))
                yield folder(str(above))
        if entry.path not in made:
            made.add(entry.path)
            yield entry


def _record(entry: Entry, number: int) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    size = len(entry.content)
    fields = (number, entry.mode, 0, 0, links, 0, size, 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(entry.content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
