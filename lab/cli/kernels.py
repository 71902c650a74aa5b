"""`lab kernels`: which kernels guests can have here, and how one comes and goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli import progress
from lab.cli.options import Settings, common, settings
from lab.cli.show import envelope, say, table

if TYPE_CHECKING:
    from lab.kernels import Kernel
    from lab.kernels.packages import Image
    from lab.kernels.sources import Suite


@dataclass(frozen=True, slots=True)
class Row:
    """`state` is running, installed, fetched or available; `bytes` what it takes here, or what fetching it downloads."""

    name: str
    release: str
    flavour: str
    state: str
    suite: str = ""
    bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Came:
    """A kernel that is here, and whether it `came` just now."""

    kernel: Kernel
    came: bool
    seconds: float


@click.group(invoke_without_command=True)
@click.option("--update", is_flag=True, help="First look again what Debian has.")
@common
@settings
@click.pass_context
def kernels(context: click.Context, settings: Settings, update: bool) -> None:
    """List kernels, fetch one for guests, or remove one.

    Listed are the running kernel, those installed, those fetched, and those that can be fetched from Debian's suites as they
    were when one looked last; the first call looks, and `--update` looks again. What is fetched comes through apt, which
    verifies it, and goes into the user's cache ($LAB_CACHE, otherwise ~/.cache/lab): nothing is installed, and the host's
    apt is not touched.

    \b
    Example:
      lab kernels
      lab kernels fetch 6.12
      lab kernels rm 6.12

    See also: lab doctor
    """
    if context.invoked_subcommand is None:
        rows = list(_rows(settings, update))
        if settings.json:
            envelope("kernels", rows)
        else:
            table(("KERNEL", "RELEASE", "STATE", "FROM", "SIZE", ""), map(_cells, rows))


def _cells(row: Row) -> tuple[str, ...]:
    return row.name, row.release, row.state, row.suite, _megabytes(row.bytes), row.note


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size else ""


def _rows(settings: Settings, update: bool) -> Iterator[Row]:
    from lab.kernels import store

    yield Row("host", os.uname().release, "", "running")
    for kernel in store.installed():
        note = "" if os.access(kernel.image, os.R_OK) else "only root may read it"
        yield Row(kernel.name, kernel.release, kernel.flavour, "installed", note=note)
    fetched = store.fetched()
    for each in fetched:
        kernel = each.kernel
        yield Row(kernel.name, kernel.release, kernel.flavour, "fetched", each.suite, each.bytes())
    here = {each.kernel.release for each in fetched} | {each.version for each in fetched}
    for image, why in _available(settings, update):
        if image.release not in here and not (image.flavour == "uml" and image.version in here):
            yield Row(_called(image), image.release, image.flavour, "available", image.suite, image.size, why)


def _called(image: Image) -> str:
    """The shortest name by which it is fetched."""
    return image.series if image.flavour == "amd64" else f"{image.flavour}-{image.series}"


def _available(settings: Settings, update: bool) -> list[tuple[Image, str]]:
    """Of each flavour and series the newest, and why it is not offered; the newest first. Looks where nobody looked before."""
    import platform

    from lab.kernels import aptstate, fetch, names, packages, sources, versions

    unknown = [suite for suite in sources.SUITES if aptstate.looked(suite) is None]
    if update or unknown:
        _look(settings, sources.SUITES if update else unknown)
    found = fetch.listed()
    _tell_age(settings, [when for suite in sources.SUITES if (when := aptstate.looked(suite))])
    kinds = {(image.flavour, image.series) for image in found}
    wishes = [names.Wish("", flavour, series) for flavour, series in kinds]
    newest = [image for wish in wishes if (image := packages.newest(found, wish))]
    newest.sort(key=lambda image: (image.flavour == "uml", versions.key(image.release), image.flavour), reverse=True)
    glibc = platform.libc_ver()[1]
    return [(image, sources.offered(image.flavour, image.glibc, glibc)) for image in newest]


def _look(settings: Settings, suites: Sequence[Suite]) -> None:
    """What cannot be reached is told, and the rest is shown."""
    from lab.kernels import aptstate

    with _telling(settings) as tell:
        failed = aptstate.update(suites, tell)
    for error in failed.values():
        say(f"lab: {error}")
        break  # the others fail by the same network
    if len(failed) > 1:
        say(f"lab: nor is known what there is in {', '.join(suite.name for suite in [*failed][1:])}")


def _tell_age(settings: Settings, looked: Sequence[float]) -> None:
    days = (time.time() - min(looked, default=time.time())) / 86400
    if days > _OLD and settings.verbosity >= 0:
        say(f"lab: one looked {days:.0f} days ago what can be fetched; --update looks again")


_OLD = 14.0  # days


class _telling:  # noqa: N801 - used as a function
    """A context manager: what goes on, as the line at the bottom of a terminal, or as lines on stderr with -v."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._said = settings, "looking"
        self._line = progress.line(settings, lambda: self._said)

    def __enter__(self) -> Any:
        self._line.__enter__()
        return self._tell

    def __exit__(self, *how: Any) -> None:
        self._line.__exit__(*how)

    def _tell(self, text: str) -> None:
        self._said = text
        if self._settings.verbosity > 0:
            with self._line.aside():
                say(f"lab: {text}")


@click.command()
@click.argument("kernel", nargs=-1)
@click.option("--update", is_flag=True, help="Look whether there is a newer one than the one that is here.")
@common
@settings
def fetch(settings: Settings, kernel: tuple[str, ...], update: bool) -> None:
    """Bring kernels from Debian for guests.

    KERNEL is a series such as 6.12, of which the newest comes; latest; cloud-6.12, smaller; uml or uml-6.1, User-mode Linux;
    a full release; or a path to a vmlinuz or to a tree in which a kernel was built, which is looked at. Without one it is 6.1.
    One that is here already is not fetched again.

    \b
    Exit status:
      0  it is here       2  no kernel can be called so       3  it cannot be had: no network, no room, no signature

    \b
    Example:
      lab kernels fetch 6.12
      lab kernels fetch 6.1 uml
      lab kernels fetch ~/linux

    See also: lab kernels
    """
    from lab.kernels import DEFAULT, names
    from lab.kernels import fetch as fetching

    wanted = kernel or (DEFAULT,)
    for name in wanted:
        names.read(name)
    done = []
    with _telling(settings) as tell:
        for name in wanted:
            start = time.monotonic()
            found, came = fetching.fetch(name, tell, update=update)
            done.append(Came(found, came, round(time.monotonic() - start, 3)))
    settings.decided()
    if settings.json:
        envelope("fetched", done)
    elif settings.verbosity >= 0:
        for each in done:
            print(f"kernel {each.kernel.release} {f'was fetched in {each.seconds:.1f} s' if each.came else 'is here'}")


@click.command()
@click.argument("kernel")
@common
@settings
def rm(settings: Settings, kernel: str) -> None:
    """Remove a fetched kernel, and all that was made from it.

    KERNEL is named as for `fetch`; of a series every release goes, and `latest` is the newest that is here. Installed kernels
    and files of yours are not touched.

    \b
    Exit status:
      0  it is gone       2  no kernel can be called so       3  none was fetched

    \b
    Example:
      lab kernels rm 6.12

    See also: lab kernels
    """
    from lab.kernels import store

    gone = store.remove(kernel)
    settings.decided()
    if settings.json:
        envelope("removed", [each.kernel for each in gone])
    elif settings.verbosity >= 0:
        print(f"removed: {', '.join(each.kernel.name for each in gone)}")


@click.command(hidden=True)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@common
def probe(file: Path) -> None:
    """Write there what the running kernel can do; for a guest."""
    from lab.dispatch import features

    features.write_here(file)


for _command in (fetch, rm, probe):
    kernels.add_command(_command)
COMMANDS: tuple[Any, ...] = (kernels,)
