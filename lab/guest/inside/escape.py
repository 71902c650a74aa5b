"""Tries, as the root of a guest, every way to the host's files that there may be; for `lab.guest.trial`, which judges it.

Run by the agent before anything else in a guest for a stranger's work:

    escape ANSWER PLACE SECRET

PLACE is a folder that the host shares, with a file `here` in it; no `mark` can be written there. SECRET is the path of a file
that the host does not share. ANSWER becomes a JSON object: `here`, what that file holds; `tried`, what came of each attempt in
words; `escapes`, those words where one succeeded.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from lab.guest.inside.furnish import MS_BIND, MS_NODEV, MS_NOSUID, MS_RDONLY, mount

_MS_REMOUNT, _MNT_DETACH = 32, 2  # include/uapi/linux/mount.h; include/linux/fs.h
_AGAIN = "/mnt/again"
_TAGS = "/sys/bus/virtio/drivers/9pnet_virtio"
_SHARES = "/sys/fs/virtiofs"
_DISKS, _CARDS = "/sys/block", "/sys/class/net"
_OWN_DISKS = ("loop", "ram", "zram", "dm-", "md", "nbd")
_MARK, _DONE = "mark", "done"

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Leaves no mount behind."""
    answer, place, secret = sys.argv[1:]
    attempts = {name: list(attempt()) for name, attempt in _attempts(place, secret)}
    with open(f"{place}/here", encoding="ascii") as file:
        here = file.read()
    _unmounted(place)
    said = {
        "here": here,
        "tried": {name: "; ".join(words for words, _ in came) for name, came in attempts.items()},
        "escapes": [f"{name}: {words}" for name, came in attempts.items() for words, escaped in came if escaped],
    }
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(said, file)


_Came = Iterator[tuple[str, bool]]
"""What came of it in words, and whether it was an escape."""


def _attempts(place: str, secret: str) -> Iterator[tuple[str, Callable[[], _Came]]]:
    yield "as it is", lambda: _looked([place], [secret])
    yield "remount", lambda: _remounted(place)
    yield "second mount", lambda: _second_mounts(place, secret)
    yield "hostfs", lambda: _mounted("none", "hostfs", ("/", os.path.dirname(secret), ""), place, secret)
    yield "disks", _disks
    yield "network", _cards


def _looked(places: list[str], secrets: list[str]) -> _Came:
    for path in secrets:
        yield _read(path)
    for path in places:
        yield _written(path)


def _read(path: str) -> tuple[str, bool]:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        return f"{path} is not read ({_name(error)})", False
    return f"{path} of the host was read", True


def _written(folder: str) -> tuple[str, bool]:
    try:
        with open(f"{folder}/{_MARK}", "wb") as file:
            file.write(b"x")
    except OSError as error:
        return f"{folder} is not written ({_name(error)})", False
    return f"{folder} of the host was written", True


def _remounted(place: str) -> _Came:
    """The share itself, and this mount of it."""
    for words, flags in (("share", _MS_REMOUNT), ("mount", _MS_REMOUNT | MS_BIND)):
        yield f"{words} remounted: {_mounts('lab', place, None, flags)}", False
        yield _written(place)
    _mounts("lab", place, None, _MS_REMOUNT | MS_RDONLY)


def _second_mounts(place: str, secret: str) -> _Came:
    """Of every tag that there is, by each dialect; there is at least one."""
    tags = [*_tags()]
    yield f"tags: {', '.join(tags)}", False
    for tag in tags:
        for dialect in ("9p2000.L", "9p2000.u"):
            options = (f"trans=virtio,version={dialect}", f"trans=virtio,version={dialect},aname=/,access=any")
            yield from _mounted(tag, "9p", options, place, secret)
    for tag in _listed(_SHARES):
        yield from _mounted(tag, "virtiofs", ("",), place, secret)


def _tags() -> Iterator[str]:
    for device in _listed(_TAGS):
        with contextlib.suppress(OSError), open(f"{_TAGS}/{device}/mount_tag", encoding="utf-8") as file:
            yield file.read().rstrip("\0\n")


def _mounted(source: str, kind: str, options: tuple[str, ...], place: str, secret: str) -> _Came:
    """What is seen of the host in a mount of its own, where it can be mounted."""
    os.makedirs(_AGAIN, exist_ok=True)
    aside = os.path.dirname(secret)
    for each in options:
        came = _mounts(source, _AGAIN, kind, MS_NOSUID | MS_NODEV, each)
        yield f"{kind} {source} {each or 'without options'}: {came}", False
        if came == _DONE:
            folders = [_AGAIN, _AGAIN + place, _AGAIN + aside]
            yield from _looked(folders, [f"{folder}/{os.path.basename(secret)}" for folder in folders])
            _unmounted(_AGAIN)


def _disks() -> _Came:
    """A guest has none, so each would be the host's."""
    for name in _listed(_DISKS):
        if not name.startswith(_OWN_DISKS):
            yield f"there is a disk {name}", True
    yield "looked for", False


def _cards() -> _Came:
    """Network devices that something stands behind."""
    for name in _listed(_CARDS):
        if os.path.exists(f"{_CARDS}/{name}/device"):
            yield f"there is a network device {name}", True
    yield "looked for", False


def _mounts(*words: Any) -> str:
    """How mount(2) ended."""
    try:
        mount(*words)
    except OSError as error:
        return _name(error)
    return _DONE


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _unmounted(place: str) -> None:
    _libc.umount2(os.fsencode(place), _MNT_DETACH)
