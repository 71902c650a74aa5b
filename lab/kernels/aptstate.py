"""apt with lists, cache and sources of its own, one folder a suite: what Debian has, verified; the host's apt is only read.

apt/<suite>/   apt.conf  sources.list  status  lists/  cache/   packages.json: what of the lists is of use here
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache as once
from pathlib import Path

from lab.errors import HostError
from lab.kernels import cache, packages, programs, refusals, sources
from lab.kernels.packages import Package
from lab.kernels.sources import Suite

Tell = Callable[[str], None]
"""Hears in words what goes on."""
_INDEX = "packages.json"
_CAT = "/usr/lib/apt/apt-helper"
_VERSION = 2


def folder_of(suite: Suite) -> Path:
    return cache.root() / "apt" / suite.name


def looked(suite: Suite) -> float | None:
    """When its lists came, in seconds since the epoch; None where they never did."""
    return _index(suite)[0]


def known(suite: Suite) -> list[Package]:
    """Its packages of use as they were when its lists came; none where they never did."""
    return _index(suite)[1]


def _index(suite: Suite) -> tuple[float | None, list[Package]]:
    try:
        said = json.loads((folder_of(suite) / _INDEX).read_text())
        if said["version"] == _VERSION:
            return float(said["looked"]), [Package(**each) for each in said["packages"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # it is made anew
    return None, []


def update(suites: Sequence[Suite], tell: Tell) -> dict[Suite, HostError]:
    """Fetches their lists, all at a time; those that could not be had, each with the error."""
    if not suites:
        return {}
    _require_keyring()
    tell(f"looking what there is in {', '.join(suite.name for suite in suites)}")
    for suite in suites:
        _prepare(suite)
    done = programs.run_all([("apt-get", "update", "-q")] * len(suites), [_environment(suite) for suite in suites])
    failed = {}
    for suite, each in zip(suites, done, strict=True):
        try:
            _remember(suite, each)
        except HostError as error:
            failed[suite] = error
    return failed


def download(suite: Suite, wanted: Sequence[Package], into: Path) -> list[Path]:
    """Fetches packages into a folder, verified by apt. Raises HostError."""
    what = [f"{each.name}={each.version}" for each in wanted]
    done = programs.run(("apt-get", "download", "-q", *what), env=_environment(suite), cwd=into)
    found = sorted(into.glob("*.deb"))
    if done.status or len(found) < len(wanted):
        raise refusals.refusal(f"{', '.join(each.name for each in wanted)} could not be fetched from {suite.name}", done.said)
    return found


def _require_keyring() -> None:
    if not sources.KEYRING.exists():
        said = "this host has no keyring of Debian's, and nothing is fetched that nobody signed"
        raise HostError(f"{said} ({sources.KEYRING})", "apt-get install debian-archive-keyring")


def _prepare(suite: Suite) -> None:
    folder = folder_of(suite)
    with cache.told(cache.root()):
        for path in ("lists/partial", "cache/archives/partial", "none"):
            (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(sources.sources_list(suite, _mirrors()))
        (folder / "apt.conf").write_text(sources.configuration(folder, _hosts_configuration()))


def _environment(suite: Suite) -> Mapping[str, str]:
    return {"APT_CONFIG": str(folder_of(suite) / "apt.conf")}


def _remember(suite: Suite, done: programs.Done) -> None:
    """Raises HostError where the lists did not come."""
    if done.status:
        raise refusals.refusal(f"the lists of {suite.name} could not be fetched", done.said)
    found = [dataclasses.asdict(each) for each in packages.read(_lines(suite))]
    text = json.dumps({"version": _VERSION, "looked": time.time(), "packages": found}, indent=1)
    cache.keep(folder_of(suite) / _INDEX, text.encode())


def _lines(suite: Suite) -> Iterator[str]:
    """Of all its Packages files, in whatever way apt keeps them packed."""
    words = ("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages")
    for file in programs.run(words, env=_environment(suite)).said.split("\n"):
        if file.startswith("/") and Path(file).exists():
            yield from programs.run((_CAT, "cat-file", file), env=_environment(suite)).said.splitlines()


@once
def _mirrors() -> sources.Mirrors:
    """As this host's own sources name them."""
    words = ("apt-get", "indextargets", "--format", sources.INDEX_FORMAT, "Created-By: Packages")
    return sources.mirrors(programs.run(words).said.splitlines())


@once
def _hosts_configuration() -> tuple[str, ...]:
    return tuple(programs.run(("apt-config", "dump")).said.splitlines())
