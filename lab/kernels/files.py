"""Kernels that the user names by a path: a vmlinuz, an ELF executable, or the tree in which one was built."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from lab.errors import HostError, TopologyError
from lab.kernels import Kernel, cache, image, programs

_TREE_RELEASE, _TREE_IMAGE, _TREE_UML = "include/config/kernel.release", "arch/x86/boot/bzImage", "linux"
_ORDER = "modules.order"
_LISTS = (_ORDER, "modules.builtin", "modules.builtin.modinfo")
_HEADER = 1 << 17  # bytes: a bzImage's has all that is asked for
_KERNEL_SPACE = 1 << 63


def kernel(name: str, path: Path) -> Kernel:
    """Raises TopologyError where there is no such file, HostError where it is no kernel."""
    path = path.absolute()
    if path.is_dir():
        return _tree(name, path)
    if not path.exists():
        raise TopologyError(f"there is no {path}", "name a vmlinuz, or the tree that a kernel was built in")
    content = _content(path)
    try:
        release = image.release(content)
    except image.ImageError as error:
        raise HostError(f"{path} is no kernel: {error}", "name a vmlinuz, a bzImage or a vmlinux") from error
    if (tree := _tree_of(path)) and (tree / _TREE_RELEASE).read_text().strip() == release:
        return _tree(name, tree)
    return Kernel(name, release, "uml" if _is_uml(content) else "file", path, _modules_beside(path, release), _cache(path))


def _content(path: Path) -> bytes:
    """As much as is asked for. Raises HostError."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER)
            return head if image.is_bzimage(head) else head + file.read()
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}", "run it as a user who may read it") from error


def _is_uml(content: bytes) -> bool:
    """User-mode Linux lies where every program does, a kernel for a machine in the upper half of the addresses (elf(5))."""
    if not content.startswith(image.ELF):
        return False
    (offset,) = struct.unpack_from("<Q", content, 0x20)
    size, count = struct.unpack_from("<HH", content, 0x36)
    virtual = [struct.unpack_from("<Q", content, offset + at * size + 16)[0] for at in range(count)]
    return all(address < _KERNEL_SPACE for address in virtual)


def _modules_beside(path: Path, release: str) -> Path | None:
    """Of a package unpacked somewhere, or of a kernel in /boot."""
    places = (path.parent, *(above / "lib/modules" / release for above in (path.parent, path.parent.parent, Path("/"))))
    return next((place for place in places if (place / "modules.dep").exists()), None)


def _cache(path: Path) -> Path:
    return cache.root() / "files" / hashlib.sha256(str(path).encode()).hexdigest()[:16]


# -- a tree


def _tree_of(path: Path) -> Path | None:
    """Where this file is what was built in a tree."""
    above = [parent for parent in path.parents if (parent / _TREE_RELEASE).exists()]
    return above[0] if above else None


def _tree(name: str, tree: Path) -> Kernel:
    try:
        release = (tree / _TREE_RELEASE).read_text().strip()
    except OSError as error:
        hint = "build one there (make), or name a vmlinuz"
        raise HostError(f"no kernel was built in {tree}: {tree / _TREE_RELEASE} is not there", hint) from error
    for flavour, file in (("file", _TREE_IMAGE), ("uml", _TREE_UML)):
        if (tree / file).exists():
            uml = flavour == "uml"
            return Kernel(name, release, "uml" if uml else "file", tree / file, _tree_modules(tree, release), _cache(tree))
    raise HostError(
        f"no kernel was built in {tree}: neither {_TREE_IMAGE} nor {_TREE_UML} is there", "make bzImage, or make ARCH=um"
    )


def _tree_modules(tree: Path, release: str) -> Path | None:
    """A folder in the cache as `make modules_install` makes it, of links to the tree; anew when they were built anew."""
    order = tree / _ORDER
    if not order.exists() or not order.read_text().strip():
        return None
    base = _cache(tree) / f"modules-{order.stat().st_mtime_ns:x}"
    if not base.exists():
        with cache.scratch(base.parent) as folder:
            _install_modules(tree, order, folder / "tree", release)
            (folder / "tree").rename(base)
    return base / "lib/modules" / release


def _install_modules(tree: Path, order: Path, base: Path, release: str) -> None:
    folder = base / "lib/modules" / release
    for line in order.read_text().split():
        module = f"{line.rpartition('.')[0]}.ko"  # newer trees list the objects
        link = folder / "kernel" / module
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tree / module)
    for name in _LISTS:
        if (tree / name).exists():
            (folder / name).write_bytes((tree / name).read_bytes())
    depmod(base, release)


def depmod(base: Path, release: str) -> None:
    """Writes modules.dep and its like below `base`/lib/modules/RELEASE. Raises HostError."""
    done = programs.run(("depmod", "-b", str(base), release))
    if done.status:
        raise HostError(f"depmod failed on the modules of {release}: {done.said.strip()}", "fetch the kernel again")
