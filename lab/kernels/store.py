"""The kernels that are here: fetched ones, installed ones, files and build trees of the user's. Asks no network.

<cache>/6.1.0-41-amd64_6.1.158-1/   kernel.json  vmlinuz  lib/modules/6.1.0-41-amd64/  derived/
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import HostError
from lab.kernels import Flavour, Kernel, cache, names, versions
from lab.kernels.names import Wish

RECORD, DERIVED = "kernel.json", "derived"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """A kernel in the cache: the package's `version`, the `suite` that it came from, the `folder` that is all of it."""

    kernel: Kernel
    version: str
    suite: str
    folder: Path

    def bytes(self) -> int:
        """What it takes on the disk."""
        files = (Path(top, name) for top, _, names_ in os.walk(self.folder) for name in names_)
        return sum(file.lstat().st_blocks * 512 for file in files)


def fetched() -> list[Fetched]:
    """The newest first."""
    found = [each for folder in _folders() if (each := _read(folder))]
    return sorted(found, key=lambda each: versions.key(each.version), reverse=True)


def _folders() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (path.parent for path in cache.root().glob(f"[!.]*/{RECORD}"))


def _read(folder: Path) -> Fetched | None:
    """None for what is no record of ours."""
    try:
        said = json.loads((folder / RECORD).read_text())
        release, flavour = said["release"], said["flavour"]
        modules = folder / said["modules"] if said["modules"] else None
        name = f"uml-{release}" if flavour == "uml" else release
        kernel = Kernel(name, release, flavour, folder / said["image"], modules, folder / DERIVED)
        return Fetched(kernel, said["package_version"], said["suite"], folder) if said["version"] == VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def matching(wish: Wish) -> list[Fetched]:
    """Those fetched that are meant, the newest first; a release candidate only where its series is named."""
    fit = [each for each in fetched() if wish.fits(each.kernel.flavour, each.kernel.release)]
    if wish.series or wish.release:
        return fit
    return [each for each in fit if not names.is_candidate(each.version)]


def installed() -> list[Kernel]:
    """Those of this host, whose image may be root's alone to read."""
    return [kernel for path in sorted(Path("/boot").glob("vmlinuz-*")) if (kernel := _installed(path))]


def _installed(image: Path) -> Kernel | None:
    release = image.name.removeprefix("vmlinuz-")
    modules = Path("/lib/modules", release)
    if not modules.is_dir():
        return None
    flavour: Flavour = names.flavour_of(release)
    return Kernel(release, release, flavour, image, modules, cache.root() / "installed" / release)


def find(name: str) -> Kernel:
    """See `lab.kernels.find`."""
    wish = names.read(name)
    if wish.path:
        from lab.kernels import files

        return files.kernel(name, wish.path)
    if found := matching(wish):
        return _called(name, found[0].kernel)
    for kernel in installed():
        if wish.release == kernel.release and os.access(kernel.image, os.R_OK):
            return _called(name, kernel)
    there = ", ".join(each.kernel.name for each in fetched()) or "none"
    raise HostError(f"no kernel {name} was fetched (there: {there})", f"lab kernels fetch {name}")


def _called(name: str, kernel: Kernel) -> Kernel:
    return Kernel(name, kernel.release, kernel.flavour, kernel.image, kernel.modules, kernel.cache)


def remove(name: str) -> list[Fetched]:
    """Removes fetched kernels: of a series all, of a name without a series the newest. Raises HostError where there is none."""
    wish = names.read(name)
    found = matching(wish) if wish.series or wish.release else matching(wish)[:1]
    if not found:
        there = ", ".join(each.kernel.name for each in fetched()) or "none"
        raise HostError(f"no kernel {name} was fetched", f"there: {there}")
    for each in found:
        cache.remove(each.folder)
    return found
