"""Facts of this host -> the root of a sealed machine: QEMU's own, and in its folder /share what the guest sees.

    /usr /etc/ld.so.cache /proc /dev/null /kernel      what QEMU needs
    /share/usr /share/etc …                            what is allowed of the host (lab.guest.allowed)
    /share/…/lab /share/….venv /share/…/bug.yaml       the package, Python and what is put in, at their own paths
    /share/.lab                                        the kernel's modules, and a folder for the trial

Whatever is bound is named by its real path, and the links on the way to it are made anew: so nothing leads out of the tree.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import HostError
from lab.guest import allowed
from lab.guest.spec import Tree

SHARE = "/share"
MODULES, TRIAL = "/.lab/modules", "/.lab/trial"
"""Places in what is shared."""
IMAGE, INITRD = "/kernel/image", "/kernel/initrd"
"""Places in the root of the machine."""
_NOBODY = (65534, 65534)
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_OF_THE_SYSTEM = ("/usr", "/etc", *_SYSTEM)
_OF_QEMU = ("/etc/alternatives", "/etc/ld.so.cache")
_OF_PYTHON = ("bin", "lib", "lib64", "pyvenv.cfg")
_SITES, _DEPENDENCY = ("site-packages", "dist-packages"), "click"
_OF_A_CHECKOUT = ("topologies", "templates")
_PACKAGE = Path(__file__).resolve().parents[1]
_LOOPS = 40  # links on the way to a file (path_resolution(7))


@dataclass(slots=True)
class _Plan:
    """What is shared, while it is gathered: real path -> itself, link -> its text."""

    binds: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)

    def add(self, path: str | Path, only: Sequence[str] = ("/",)) -> None:
        """A file or folder that may be there, at its path and with the links that lead to it; not where it really lies
        elsewhere than below `only`."""
        links, real = way(Path(path))
        if real.exists() and _below(str(real), only):
            self.links.update(links)
            self.binds.add(str(real))

    def outermost(self) -> list[str]:
        """Without what comes with something else."""
        return sorted(path for path in self.binds if not _below(path, self.binds - {path}))

    def made_links(self) -> dict[str, str]:
        """Without those that come with something else."""
        return {path: text for path, text in self.links.items() if not _below(path, self.binds)}


def way(path: Path) -> tuple[dict[str, str], Path]:
    """The links on the way to an absolute path, each by its own real path, and where they end. Raises HostError for a loop."""
    links: dict[str, str] = {}
    real, rest, left = Path("/"), [*path.parts[1:]], _LOOPS
    while rest:
        name = rest.pop(0)
        at = real.parent if name == ".." else real / name
        if not at.is_symlink():
            real = at
            continue
        text = str(at.readlink())
        links[str(at)] = text
        left -= 1
        if not left:
            raise HostError(f"{path} leads through too many links", "name the file itself")
        real = Path("/") if text.startswith("/") else real
        rest = [*(part for part in Path(text).parts if part != "/"), *rest]
    return links, real


def tree(inputs: Sequence[Path], image: Path, initrd: Path, modules: Path | None, trial: Path, devices: Sequence[str]) -> Tree:
    """`inputs`: absolute paths of the stranger's files and folders. Raises HostError where one could not be read."""
    plan = _Plan()
    for path in ("/usr", *_SYSTEM, *(f"/etc/{name}" for name in allowed.ETC)):
        plan.add(path, only=_OF_THE_SYSTEM)
    for found in (*_of_python(), *_of_the_package(), *map(str, inputs)):
        plan.add(found)
    owner = user(devices)
    if owner:
        _check_readable(inputs)
    system = [(path, path) for path in _there(("/usr", *_OF_QEMU, *_SYSTEM)) if not Path(path).is_symlink()]
    kernel = [(str(image.resolve()), IMAGE), (str(initrd.resolve()), INITRD)]
    more = [(str(trial.resolve()), SHARE + TRIAL), *([(str(modules.resolve()), SHARE + MODULES)] if modules else [])]
    links = {path: str(Path(path).readlink()) for path in _SYSTEM if Path(path).is_symlink()}
    shared = {**allowed.LINKS, **plan.made_links()}
    folders = {path: mode for path, mode in allowed.FOLDERS.items() if not _below(path, shared)}
    return Tree(
        binds=(*system, *kernel, *more, *((path, SHARE + path) for path in plan.outermost())),
        links=(*links.items(), *((SHARE + path, text) for path, text in shared.items())),
        texts=tuple((SHARE + path, text) for path, text in allowed.TEXTS.items()),
        folders=(("/proc", 0o755), ("/tmp", 0o755), *((SHARE + path, mode) for path, mode in folders.items())),
        devices=("/dev/null", *devices),
        user=owner,
    )


def search_path(found: Iterable[str]) -> list[str]:
    """Of the folders in which Python looks for modules those that a guest has."""
    shared = ("/usr", *(str(path) for path in _prefixes()), *_sites())
    return [path for path in found if path == str(_PACKAGE.parent) or _below(path, shared)]


def _of_python() -> Iterator[str]:
    """The virtual environment and what it was made from, and folders of packages elsewhere."""
    yield sys.executable
    for prefix in _prefixes():
        yield from (str(prefix / name) for name in _OF_PYTHON)
    yield from _sites()


def _sites() -> list[str]:
    """Folders of installed packages, by their names, and the one that our own dependencies come from."""
    found = importlib.util.find_spec(_DEPENDENCY)
    own = str(Path(found.origin).parents[1]) if found and found.origin else ""
    return [path for path in sys.path if path == own or Path(path).name in _SITES]


def _prefixes() -> list[Path]:
    found = {Path(prefix) for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)}
    return sorted(path for path in found if path != Path("/") and not _below(str(path), ("/usr",)))


def _of_the_package() -> Iterator[str]:
    yield str(_PACKAGE)
    if not all((_PACKAGE / name).is_dir() for name in _OF_A_CHECKOUT):
        yield from (str(_PACKAGE.parent / name) for name in _OF_A_CHECKOUT)


def _there(paths: Iterable[str]) -> Iterator[str]:
    return (path for path in paths if os.path.lexists(path))


def _below(path: str, places: Iterable[str]) -> bool:
    """Or the same."""
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def user(devices: Sequence[str] = ()) -> tuple[int, int] | None:
    """Root's machine is nobody's, of the group that a device of it belongs to; an ordinary user's is that user's."""
    if os.geteuid() != 0:
        return None
    return _NOBODY[0], next((Path(path).stat().st_gid for path in devices), _NOBODY[1])


def _check_readable(inputs: Sequence[Path]) -> None:
    """Nobody reads what is only its owner's. Raises HostError."""
    for path in (_PACKAGE, Path(sys.executable), *map(Path, _sites())):
        _check_mode(path, path.stat().st_mode)
    for path in inputs:
        for each in (path, *path.rglob("*")):
            _check_mode(each, each.lstat().st_mode)


def _check_mode(path: Path, mode: int) -> None:
    wanted = 0o005 if stat.S_ISDIR(mode) else 0o004
    if not stat.S_ISLNK(mode) and mode & wanted != wanted:
        said = f"not everybody may read {path}, and --untrusted shares nothing else"
        raise HostError(said, f"chmod -R o+rX {shlex.quote(str(path))}")
