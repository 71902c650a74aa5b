"""Which suites of Debian have kernels, where they lie, and the configuration of an apt of our own; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.kernels import Flavour
from lab.kernels.names import Wish

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ARCHIVE, SECURITY = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
INDEX_FORMAT = "$(REPO_URI) $(RELEASE) $(ORIGIN) $(LABEL)"
"""For `apt-get indextargets --format`: what `mirrors` reads."""
_HOSTS_OWN = ("Acquire::http", "Acquire::https", "Acquire::ForceIPv")


@dataclass(frozen=True, slots=True)
class Suite:
    """`series` are those of which no other suite has a newer kernel: who wants one of them asks no other."""

    name: str
    series: tuple[str, ...] = ()

    @property
    def security(self) -> bool:
        return self.name.endswith("-security")


SUITES = (
    Suite("bullseye-security", ("5.10",)),
    Suite("bookworm", ("6.1",)),
    Suite("bookworm-security", ("6.1",)),
    Suite("bookworm-backports"),
    Suite("trixie", ("6.12",)),
    Suite("trixie-security", ("6.12",)),
    Suite("trixie-backports"),
    Suite("forky"),
    Suite("sid"),
    Suite("experimental"),
)
_LATEST = ("sid", "forky", "trixie-backports")


def suites_for(wish: Wish) -> tuple[Suite, ...]:
    """Those that can have the newest of what is meant."""
    series = wish.series or ".".join(wish.release.split(".")[:2])
    known = tuple(suite for suite in SUITES if series in suite.series)
    if known:
        return known
    if not series and wish.flavour != "uml":
        return tuple(suite for suite in SUITES if suite.name in _LATEST)
    return SUITES


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Without a slash at the end."""

    archive: str = ARCHIVE
    security: str = SECURITY

    def of(self, suite: Suite) -> str:
        return self.security if suite.security else self.archive


def mirrors(lines: Iterable[str]) -> Mirrors:
    """From what `apt-get indextargets` says of this host's sources; Debian's own where the host has none of Debian."""
    archive = security = ""
    for line in lines:
        uri, _, rest = line.strip().partition(" ")
        words = rest.split()
        if not uri.startswith(("http://", "https://")):
            continue
        if "-security" in rest.lower() or "debian-security" in uri:
            security = security or (uri if _is_debian(uri, words) else "")
        else:
            archive = archive or (uri if _is_debian(uri, words) else "")
    return Mirrors((archive or ARCHIVE).rstrip("/"), (security or SECURITY).rstrip("/"))


def _is_debian(uri: str, words: list[str]) -> bool:
    """The origin is known once lists were fetched; until then the path tells."""
    return "Debian" in words[1:] or uri.rstrip("/").endswith(("/debian", "/debian-security"))


def sources_list(suite: Suite, where: Mirrors) -> str:
    """One line of sources.list(5). Only Debian's keys are believed; how old the index may be does not matter to who wants old
    kernels too, so that suites which ended and mirrors of a certain day serve as well."""
    return f"deb [arch=amd64 signed-by={KEYRING} check-valid-until=no] {where.of(suite)} {suite.name} main\n"


def configuration(folder: Path, hosts: Iterable[str]) -> str:
    """apt.conf(5) of an apt whose state is below `folder`; of the `hosts` configuration (apt-config dump) it takes proxies.

    Downloads stay this user's: apt's own user could not enter a cache in somebody's home."""
    own = {
        **{f"Dir::Etc::{name}": "/dev/null" for name in ("main", "preferences", "trusted")},
        **{f"Dir::Etc::{name}": f"{folder}/none" for name in ("parts", "sourceparts", "preferencesparts", "trustedparts")},
        "Dir::Etc::sourcelist": f"{folder}/sources.list",
        "Dir::State": f"{folder}",
        "Dir::State::lists": f"{folder}/lists",
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Log": f"{folder}",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "true",
        "Acquire::Retries": "2",
        "Acquire::IndexTargets::deb-src::Sources::DefaultEnabled": "false",
    }
    lines = [line for line in hosts if line.startswith(_HOSTS_OWN)]
    lines += [f'{name} "{value}";' for name, value in own.items()]
    return "\n".join((*lines, 'APT::Architectures { "amd64"; };', ""))


def offered(flavour: Flavour, glibc: str, hosts: str) -> str:
    """Why a kernel is not offered on a host with that C library; empty where it is."""
    from lab.kernels import versions

    if flavour == "uml" and glibc and hosts and not versions.at_least(hosts, glibc):
        return f"it needs glibc {glibc}, and this host has {hosts}"
    return ""
