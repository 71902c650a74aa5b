"""Brings a kernel from Debian into the cache: chosen by name, fetched and verified by apt, in place at once or not at all."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from lab.errors import HostError
from lab.kernels import DEFAULT, Kernel, aptstate, cache, files, names, packages, programs, sources, store, versions
from lab.kernels.aptstate import Tell
from lab.kernels.names import Wish
from lab.kernels.packages import Image, Package
from lab.kernels.sources import SUITES, Suite

FRESH = 24 * 3600.0
"""Seconds for which lists are believed."""
_ROOM = 1.1  # of what the packages say
BUSYBOX = "busybox"
_IMAGES = ("boot/vmlinuz-{release}", "usr/lib/modules/{release}/vmlinuz", "lib/modules/{release}/vmlinuz")
_MODULES = ("lib/modules", "usr/lib/modules", "usr/lib/uml/modules")


def fetch(name: str = DEFAULT, tell: Tell = lambda _: None, *, update: bool = False) -> tuple[Kernel, bool]:
    """The kernel of that name, and whether it came just now.

    Of a series one that is there already will do, unless `update` asks for the newest; a name without a series means the newest
    that there is. Raises HostError, and TopologyError where no kernel can be called so."""
    wish = names.read(name)
    if wish.path:
        kernel = files.kernel(name, wish.path)
        busybox(tell)
        return kernel, False
    if platform.machine() != "x86_64":
        raise HostError(f"this host is an {platform.machine()}; Debian's kernels for guests are fetched for x86_64 alone")
    there = store.matching(wish)
    if there and not update and (wish.series or wish.release):
        return store.find(name), False
    try:
        image = choose(wish, available(sources.suites_for(wish), tell, 0 if update else FRESH))
    except HostError as error:
        if not there or update:
            raise
        tell(f"whether there is a newer one is not known: {error.problems[0].message.splitlines()[0]}")
        return store.find(name), False
    came = not _folder(image).exists()
    if came:
        _bring(image, tell)
    if image.flavour != "uml":
        busybox(tell)
    return store.find(name), came


def available(suites: Iterable[Suite], tell: Tell, fresh: float = FRESH) -> list[Image]:
    """What can be fetched, after a look at those of the suites that were not looked at for `fresh` seconds. One that cannot be
    reached is told and left out; raises HostError where none can."""
    suites = tuple(suites)
    old = [suite for suite in suites if time.time() - (aptstate.looked(suite) or 0) > fresh]
    failed = aptstate.update(old, tell)
    if failed and len(failed) == len(old) and not any(aptstate.looked(suite) for suite in suites):
        raise next(iter(failed.values()))
    for suite, error in failed.items():
        tell(f"{suite.name} is left out: {error.problems[0].message.splitlines()[0]}")
    return listed(suite for suite in suites if suite not in failed or aptstate.looked(suite))


def listed(suites: Iterable[Suite] = SUITES) -> list[Image]:
    """What could be fetched when their lists came; asks no network."""
    return [image for suite in suites for image in packages.images(aptstate.known(suite), suite.name)]


def choose(wish: Wish, found: Iterable[Image]) -> Image:
    """Raises HostError where none is meant, or none that runs with this host's C library."""
    found = list(found)
    glibc = platform.libc_ver()[1]
    refused = {image.name: why for image in found if (why := sources.offered(image.flavour, image.glibc, glibc))}
    if image := packages.newest((image for image in found if image.name not in refused), wish):
        return image
    if image := packages.newest(found, wish):
        raise HostError(f"{image.name} is not offered here: {refused[image.name]}", "name an older one, such as uml-6.1")
    series = sorted({image.series for image in found if image.flavour == wish.flavour}, key=versions.key)
    there = f"there are {', '.join(series)}" if series else "lab kernels lists what there is"
    raise HostError(f"no suite of Debian that was looked at has a kernel {wish.name}", there)


def busybox(tell: Tell) -> Path:
    """Debian's static busybox, fetched once."""
    path = cache.root() / "tools" / BUSYBOX
    if path.exists():
        return path
    tell(f"fetching {packages.BUSYBOX}")
    suite, package = _busybox_package(tell)
    with cache.scratch(path.parent) as scratch:
        _unpack(suite, (package,), scratch)
        found = next(scratch / "tree" / at for at in ("bin/busybox", "usr/bin/busybox") if (scratch / "tree" / at).exists())
        found.rename(path)
    return path


def _busybox_package(tell: Tell) -> tuple[Suite, Package]:
    """Of a suite that was looked at already, else of Debian 12."""
    bookworm = next(suite for suite in SUITES if suite.name == "bookworm")
    looked = [suite for suite in SUITES if aptstate.looked(suite)]
    for suite in (*looked, bookworm):
        if suite is bookworm and suite not in looked and (failed := aptstate.update([suite], tell)):
            raise failed[suite]
        for package in aptstate.known(suite):
            if package.name == packages.BUSYBOX:
                return suite, package
    raise HostError(f"no suite of Debian that was looked at has {packages.BUSYBOX}", "lab kernels --update")


# -- one kernel


def _folder(image: Image) -> Path:
    kind = "uml-" if image.flavour == "uml" else ""
    return cache.root() / f"{kind}{image.release}_{image.version.replace(':', '%3a')}"


def _bring(image: Image, tell: Tell) -> None:
    megabytes = image.size / 1e6
    tell(f"fetching {image.release} from {image.suite}, {megabytes:.0f} MB")
    suite = next(suite for suite in SUITES if suite.name == image.suite)
    with cache.scratch(cache.root()) as scratch:
        _require_room(image, scratch)
        _unpack(suite, image.packages, scratch)
        kernel = scratch / "kernel"
        kernel.mkdir()
        _lay_out(image, scratch / "tree", kernel)
        final = _folder(image)
        if not final.exists():  # another process may have been faster
            kernel.rename(final)


def _require_room(image: Image, where: Path) -> None:
    needed, free = (image.size + image.installed) * _ROOM, shutil.disk_usage(where).free
    if free < needed:
        said = f"{image.release} takes {needed / 1e6:.0f} MB while it is unpacked, and {where.parent} has {free / 1e6:.0f} MB"
        raise HostError(said, cache.ROOM)


def _unpack(suite: Suite, wanted: Iterable[Package], scratch: Path) -> None:
    """Into scratch/tree; nothing of a package runs."""
    debs = scratch / "debs"
    debs.mkdir()
    for deb in aptstate.download(suite, tuple(wanted), debs):
        done = programs.run(("dpkg-deb", "--extract", str(deb), str(scratch / "tree")))
        deb.unlink()
        if done.status:
            with cache.told(scratch.parent):
                _require_some_room(scratch, done.said)
            raise HostError(f"{deb.name} cannot be unpacked: {done.said.strip()}", "fetch it again")


def _require_some_room(where: Path, said: str) -> None:
    if "No space left" in said or shutil.disk_usage(where).free == 0:
        raise OSError(28, "No space left on device")


def _lay_out(image: Image, tree: Path, kernel: Path) -> None:
    """What is kept of the packages: the image, the modules with their lists, and a record."""
    release, modules = _moved_modules(image, tree, kernel)
    if image.flavour == "uml":
        source, target = tree / "usr/bin/linux.uml", "linux"
    else:
        found = (tree / each.format(release=release) for each in _IMAGES)
        inside = modules / "vmlinuz" if modules else tree
        source, target = next((path for path in (*found, inside) if path.is_file()), tree / _IMAGES[0]), "vmlinuz"
    if not source.is_file():
        raise HostError(f"the packages of {image.release} have no kernel in them", "lab kernels --update, then fetch again")
    source.rename(kernel / target)
    if modules:
        files.depmod(kernel, release)
    record = {
        "version": store.VERSION,
        "release": release,
        "flavour": image.flavour,
        "image": target,
        "modules": f"lib/modules/{release}" if modules else None,
        "package_version": image.version,
        "suite": image.suite,
        "packages": [each.name for each in image.packages],
    }
    (kernel / store.RECORD).write_text(json.dumps(record, indent=1))


def _moved_modules(image: Image, tree: Path, kernel: Path) -> tuple[str, Path | None]:
    """The release as the folder of modules has it: a package's version of User-mode Linux does not tell it."""
    for place in _MODULES:
        for folder in sorted((tree / place).glob("[0-9]*")) if (tree / place).is_dir() else ():
            target = kernel / "lib/modules" / folder.name
            target.parent.mkdir(parents=True)
            folder.rename(target)
            return folder.name, target
    return image.release, None
