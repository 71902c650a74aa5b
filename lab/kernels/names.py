"""What users call a kernel -> Wish; pure.

6.12              the newest of that series, Debian's -amd64 kernel
latest            the newest of all that is no release candidate
cloud-6.12        of Debian's kernels for virtual machines in clouds, smaller; also cloud alone
uml-6.1           of User-mode Linux; also uml alone
6.1.0-41-amd64    exactly that release, as `uname -r` has it; of User-mode Linux with uml- before it
./vmlinuz, ~/linux/   a file, or the tree that a kernel was built in: what has a slash is a path
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import TopologyError
from lab.kernels import Flavour

LATEST, HOST = "latest", "host"
_SERIES = re.compile(r"(?:(?P<flavour>uml|cloud)(?:-(?!$)|$))?(?P<series>latest|\d+\.\d+)?")
_RELEASE = re.compile(r"(?P<uml>uml-)?(?P<release>\d+\.\d+[.~-][A-Za-z0-9.+~_-]+)")
_HINT = "a series such as 6.12, latest, cloud-6.12, uml, uml-6.1, a full release, or a path with a slash"


@dataclass(frozen=True, slots=True)
class Wish:
    """`series` is empty for the newest of all, `release` where any of the series will do. With `path` nothing else counts."""

    name: str
    flavour: Flavour
    series: str = ""
    release: str = ""
    path: Path | None = None

    def fits(self, flavour: Flavour, release: str) -> bool:
        """Whether a kernel of Debian's is meant."""
        if self.release:
            return release == self.release and (flavour == "uml") == (self.flavour == "uml")
        return flavour == self.flavour and (not self.series or series_of(release) == self.series)


def read(name: str) -> Wish:
    """Raises TopologyError where no kernel can be called so."""
    if "/" in name:
        return Wish(name, "file", path=Path(name).expanduser())
    if name and (said := _SERIES.fullmatch(name)):
        series = said["series"] or ""
        return Wish(name, _flavour(said["flavour"]), "" if series == LATEST else series)
    if said := _RELEASE.fullmatch(name):
        return Wish(name, "uml" if said["uml"] else flavour_of(said["release"]), release=said["release"])
    raise TopologyError(f"no kernel can be called {name!r}", f"write {_HINT}")


def series_of(release: str) -> str:
    """6.12 of 6.12.57+deb13-amd64; empty where it has no two numbers."""
    found = re.match(r"\d+\.\d+", release)
    return found.group() if found else ""


def flavour_of(release: str) -> Flavour:
    """By the end of a release of Debian's; `file` for anybody else's."""
    if release.endswith("-cloud-amd64"):
        return "cloud"
    return "amd64" if release.endswith("-amd64") and not release.endswith("-rt-amd64") else "file"


def is_candidate(version: str) -> bool:
    """Whether a package's version is that of a release candidate: 7.3~rc7-1~exp1. Debian's releases do not tell."""
    return bool(re.search(r"\d~rc\d", version))


def _flavour(said: str | None) -> Flavour:
    return "uml" if said == "uml" else "cloud" if said == "cloud" else "amd64"
