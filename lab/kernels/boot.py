"""Makes what a machine is started with: the kernel unpacked, and an initial file system; see `lab.kernels.bootable`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lab.errors import HostError
from lab.kernels import Bootable, Kernel, cache, cpio, image, moduledeps
from lab.kernels.cpio import Entry

_FOLDERS = ("dev", "proc", "sys", "run", "tmp", "mnt", "root")
_KEPT = 8
"""Initial file systems of a kernel; the oldest goes."""
_FORMAT = b"1"


def bootable(kernel: Kernel, modules: Sequence[str], init: Mapping[str, bytes]) -> Bootable:
    return Bootable(_elf(kernel), _initrd(kernel, modules, init))


def _elf(kernel: Kernel) -> Path:
    if kernel.flavour == "uml":
        return kernel.image
    path = kernel.cache / f"vmlinux-{_stamp(kernel.image)}"
    if not path.exists():
        try:
            content = image.elf(kernel.image.read_bytes())
        except (image.ImageError, OSError) as error:
            raise HostError(f"{kernel.image} cannot be booted: {error}", f"fetch it again: {_again(kernel)}") from error
        cache.keep(path, content)
        _forget(kernel.cache.glob("vmlinux-*"), keep=1)
    return path


def _initrd(kernel: Kernel, modules: Sequence[str], init: Mapping[str, bytes]) -> Path:
    order = _order(kernel, modules)
    busybox = cache.root() / "tools" / "busybox"
    if not busybox.exists():
        raise HostError("the busybox that a guest starts with was not fetched", _again(kernel))
    path = kernel.cache / f"initrd-{_digest([busybox, *order], init)}.cpio"
    if not path.exists():
        cache.keep(path, cpio.archive(_entries(busybox, order, init)))
        _forget(kernel.cache.glob("initrd-*"), keep=_KEPT)
    return path


def _order(kernel: Kernel, modules: Sequence[str]) -> list[Path]:
    """The modules' files in the order in which they are loaded."""
    if not modules:
        return []
    if kernel.modules is None:
        return []  # all that it has is built in
    lists = [_text(kernel.modules / name) for name in ("modules.dep", "modules.builtin")]
    try:
        return [kernel.modules / path for path in moduledeps.read(*lists).closure(modules)]
    except KeyError as error:
        said = f"kernel {kernel.release} has no module {error.args[0]}"
        raise HostError(said, "a guest needs it to see the host's files; use a kernel of flavour amd64") from None


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _entries(busybox: Path, order: Sequence[Path], init: Mapping[str, bytes]) -> Iterator[Entry]:
    yield from map(cpio.folder, _FOLDERS)
    yield cpio.character("dev/console", 5, 1)
    yield cpio.character("dev/null", 1, 3, 0o666)
    yield cpio.file("bin/busybox", busybox.read_bytes(), 0o755)
    yield cpio.link("bin/sh", "busybox")
    at = [f"modules/{moduledeps.name_of(path.name)}.ko" for path in order]
    for name, path in zip(at, order, strict=True):
        yield cpio.file(name, _module(path))
    yield cpio.file("modules/order", "".join(f"/{name}\n" for name in at).encode())
    for name, content in init.items():
        yield cpio.file(name.lstrip("/"), content, 0o755)


def _module(path: Path) -> bytes:
    """insmod of busybox unpacks none, and not every kernel does."""
    try:
        return image.unpack(path.read_bytes())
    except (image.ImageError, OSError) as error:
        raise HostError(f"module {path} cannot be read: {error}", "fetch the kernel again") from error


def _digest(paths: Iterable[Path], init: Mapping[str, bytes]) -> str:
    found = hashlib.sha256(_FORMAT)
    for path in paths:
        found.update(f"{path} {_stamp(path)}\n".encode())
    for name, content in init.items():
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()[:16]


def _stamp(path: Path) -> str:
    """Another one for another content, without reading it."""
    try:
        seen = path.stat()
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}", "fetch the kernel again") from error
    return hashlib.sha256(f"{path} {seen.st_size} {seen.st_mtime_ns}".encode()).hexdigest()[:16]


def _forget(paths: Iterable[Path], keep: int) -> None:
    """All but the newest; who started a machine with one has read it."""
    for path in sorted(paths, key=lambda each: each.stat().st_mtime_ns, reverse=True)[keep:]:
        path.unlink(missing_ok=True)


def _again(kernel: Kernel) -> str:
    return f"lab kernels fetch {os.path.relpath(kernel.image) if kernel.flavour == 'file' else kernel.name}"
