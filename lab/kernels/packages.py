"""The packages of a suite -> kernels that can be fetched; pure.

Up to 6.x one package has a kernel whole. From 7.x on linux-image-RELEASE has nothing but dependencies: linux-binary-RELEASE
brings the vmlinuz, linux-modules-RELEASE the modules, and linux-base-RELEASE the list of what is built in, all of them below
/usr/lib/modules/RELEASE. So an image is fetched with those of the packages it depends on that carry its release in their
names. User-mode Linux is one package, user-mode-linux.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lab.kernels import Flavour, names, versions
from lab.kernels.names import Wish

BUSYBOX, UML = "busybox-static", "user-mode-linux"
_IMAGE, _PARTS = "linux-image-", ("linux-base-", "linux-binary-", "linux-modules-")
_RELEASE = re.compile(r"\d+\.\d+\S*-amd64")
_FIELDS = ("Package", "Version", "Depends", "Pre-Depends", "Size", "Installed-Size", "Architecture")
_DEPENDENCY = re.compile(r"\s*([a-z0-9][a-z0-9+.-]+)(?::\w+)?\s*(?:\(\s*([<>=]+)\s*([^)\s]+)\s*\))?")
_UNFIT = ("-unsigned", "-dbg", "-rt-amd64")


@dataclass(frozen=True, slots=True)
class Package:
    """`size` is that of the file and `installed` what it takes unpacked, both in bytes; `depends` are names, with the least
    version where one is asked for."""

    name: str
    version: str
    size: int
    installed: int
    depends: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Image:
    """A kernel that can be fetched: `packages` are all that bring it, `glibc` is the least version that it runs with, empty
    where that does not matter."""

    release: str
    flavour: Flavour
    version: str
    suite: str
    packages: tuple[Package, ...]
    glibc: str = ""

    @property
    def series(self) -> str:
        return names.series_of(self.release)

    @property
    def size(self) -> int:
        """Bytes that are downloaded."""
        return sum(package.size for package in self.packages)

    @property
    def installed(self) -> int:
        """Bytes that they take unpacked."""
        return sum(package.installed for package in self.packages)

    @property
    def name(self) -> str:
        """What a user would call exactly this one."""
        return f"uml-{self.release}" if self.flavour == "uml" else self.release


def wanted(name: str) -> bool:
    """Whether a package of that name is of use here; nothing else of a suite is kept."""
    parts = name.startswith((_IMAGE, *_PARTS)) and _RELEASE.search(name) and not name.endswith(_UNFIT)
    return name in (BUSYBOX, UML) or bool(parts)


def read(lines: Iterable[str]) -> Iterator[Package]:
    """The packages of use in a Packages file, of which every stanza begins with the package's name."""
    fields: dict[str, str] = {}
    keep = False
    for line in lines:
        if line.startswith("Package: "):
            keep = wanted(line[9:].strip())
        if keep and line.strip() and not line[0].isspace():
            name, _, value = line.partition(": ")
            if name in _FIELDS:
                fields[name] = value.strip()
        elif fields and not line.strip():
            yield _package(fields)
            fields, keep = {}, False
    if fields:
        yield _package(fields)


def _package(fields: Mapping[str, str]) -> Package:
    size, installed = int(fields.get("Size", 0)), int(fields.get("Installed-Size", 0)) * 1024
    relations = ", ".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends"))))
    return Package(fields["Package"], fields["Version"], size, installed, dict(_depends(relations)))


def _depends(text: str) -> Iterator[tuple[str, str]]:
    """Of alternatives the first; one that is asked for twice has the later version."""
    found: dict[str, str] = {}
    for relation in text.split(","):
        if said := _DEPENDENCY.match(relation.split("|")[0]):
            name, version = said[1], said[3] or ""
            found[name] = max(found.get(name, ""), version, key=versions.key)
    yield from found.items()


def images(packages: Iterable[Package], suite: str) -> list[Image]:
    """The kernels that they bring, in no order. Packages that only name the newest of a flavour are none."""
    by_name: dict[str, Package] = {}
    for each in sorted(packages, key=lambda package: versions.key(package.version)):
        by_name[each.name] = each  # of several versions the newest
    return [image for each in by_name.values() if (image := _image(each, by_name, suite))]


def _image(package: Package, by_name: Mapping[str, Package], suite: str) -> Image | None:
    if package.name == UML:
        release = _uml_release(package.version)
        return Image(release, "uml", package.version, suite, (package,), package.depends.get("libc6", ""))
    release = package.name.removeprefix(_IMAGE)
    flavour = names.flavour_of(release)
    if release == package.name or flavour == "file" or any(name.startswith(_IMAGE) for name in package.depends):
        return None
    parts = [by_name.get(name) for name in package.depends if name.startswith(_PARTS) and name.endswith(f"-{release}")]
    if None in parts:
        return None
    return Image(release, flavour, package.version, suite, (package, *(part for part in parts if part)))


def _uml_release(version: str) -> str:
    """6.1.90 of 6.1-90um-1 and of 6.1.90um1-1, as far as a version tells; the executable knows better."""
    return re.split(r"um|[+~]", version.partition(":")[2] or version)[0].replace("-", ".").strip(".")


def newest(found: Iterable[Image], wish: Wish) -> Image | None:
    """Of the images that are meant; a release candidate only where its series is named."""
    fit = [image for image in found if wish.fits(image.flavour, image.release)]
    if not wish.series and not wish.release:
        fit = [image for image in fit if not names.is_candidate(image.version)]
    return max(fit, key=lambda image: versions.key(image.version), default=None)
