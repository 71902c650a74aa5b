"""Brings Debian packages through apt, and keeps the daemons among them from being started or enabled.

While packages are installed, /usr/sbin/policy-rc.d forbids every start (invoke-rc.d(8), deb-systemd-invoke(1p)); afterwards
what was not enabled before is disabled again: links in the .wants and .requires folders of systemd are removed, the S links of
sysv-rc become K links, as update-rc.d(8) does it. Only what came in between is touched. A policy-rc.d that is there is moved
aside meanwhile, since it may allow a start, and comes back as it was; also after a failure, an interrupt, or when the next
installation finds what a killed one left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import HostError
from lab.substrate import signals

POLICY, ASIDE = "usr/sbin/policy-rc.d", "usr/sbin/policy-rc.d.before-lab"
_MARK = "# lab doctor --install: no daemon starts while packages are installed"
_FORBIDS = f"#!/bin/sh\n{_MARK}\nexit 101\n"
_LISTS = "var/lib/apt/lists"
_UPDATE = ("apt-get", "update", "-q")
_INSTALL = ("apt-get", "install", "-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120")
_INSTALLED = ("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${binary:Package}\n")
_TAIL = 12  # lines of what apt-get wrote

Run = Callable[[Sequence[str]], tuple[int, str]]
"""Runs a command to its end: exit status, and what it wrote."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Installed:
    """What was done: the packages asked for, all that came (dependencies too), whether lists were fetched first, and which
    links that enable a daemon were undone."""

    asked: tuple[str, ...]
    came: tuple[str, ...] = ()
    updated: bool = False
    disabled: tuple[str, ...] = ()


def in_words(done: Installed) -> Iterator[str]:
    if not done.asked:
        yield "nothing is missing: nothing was installed"
        return
    yield f"installed: {', '.join(done.came) or 'nothing new'}" + (" (after apt-get update)" if done.updated else "")
    yield "no daemon was started: policy-rc.d forbade it meanwhile"
    yield f"disabled again: {', '.join(done.disabled)}" if done.disabled else "no daemon was enabled"


def install(packages: Sequence[str], *, root: Path = Path("/"), run: Run | None = None, tell: Tell | None = None) -> Installed:
    """Installs `packages`, which lack; with none nothing is done. Raises HostError with the exact command where it cannot.

    `root` is the folder that holds the system and `run` what carries commands out: others than this host's for tests."""
    asked = tuple(packages)
    if not asked:
        return Installed(())
    if run is None:
        _require(asked)
        run = _run
    if tell:
        tell(f"installing {' '.join(asked)}")
    before = _present(run)
    with daemons_kept_off(root) as disabled:
        updated = _brought(asked, root, run)
    return Installed(asked, tuple(sorted(_present(run) - before)), updated, tuple(disabled))


def command(packages: Iterable[str]) -> str:
    """What brings them by hand."""
    return f"apt-get install {' '.join(packages)}"


def _require(packages: Sequence[str]) -> None:
    if not shutil.which("apt-get"):
        raise HostError(
            f"there is no apt-get here; missing is what Debian calls {', '.join(packages)}",
            "install it with this system's own packages",
        )
    if os.geteuid() != 0:
        raise HostError("installing packages needs root", f"sudo lab doctor --install, or: sudo {command(packages)}")


def _brought(packages: Sequence[str], root: Path, run: Run) -> bool:
    """Whether lists had to be fetched: at once where there are none, else where the old ones are of no use."""
    updated = not any((root / _LISTS).glob("*_Packages*"))
    if updated:
        run(_UPDATE)
    status, said = run((*_INSTALL, *packages))
    if status and not updated:
        updated = True
        run(_UPDATE)
        status, said = run((*_INSTALL, *packages))
    if status:
        lines = "\n    ".join(said.splitlines()[-_TAIL:])
        raise HostError(f"apt-get ended with status {status}:\n    {lines}", f"try it by hand: {command(packages)}")
    return updated


def _present(run: Run) -> frozenset[str]:
    lines = run(_INSTALLED)[1].splitlines()
    return frozenset(line[3:].strip() for line in lines if line.startswith("ii"))


def _run(argv: Sequence[str]) -> tuple[int, str]:
    """In a session of its own: an interrupt of the terminal goes to apt-get through us alone, and is waited for, since a dpkg
    that is killed leaves packages half installed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    process: subprocess.Popen[str] | None = None
    try:
        with signals.held_back():  # an interrupt while it is started would leave it behind
            process = _started(argv, environment)
        said, _ = process.communicate()
    except BaseException:
        if process is not None:
            with signals.held_back():
                process.send_signal(signal.SIGINT)
                process.communicate()
        raise
    return process.returncode, said


def _started(argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """The mask of signals is inherited, and apt-get must hear an interrupt."""
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        argv,
        stdin=null,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
        preexec_fn=_hears_interrupts,  # noqa: PLW1509 - no thread runs beside an installation
    )


def _hears_interrupts() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.INTERRUPTS)


# -- daemons


@contextlib.contextmanager
def daemons_kept_off(root: Path) -> Iterator[list[str]]:
    """In the block no daemon is started; at its end what it enabled is disabled, and named in the list."""
    disabled: list[str] = []
    with _alone(root):
        give_back_policy(root)
        before = enabling_links(root)
        yield from _kept_off(root, before, disabled)


def _kept_off(root: Path, before: Mapping[Path, str], disabled: list[str]) -> Iterator[list[str]]:
    try:
        with signals.held_back():
            _forbid(root)
        yield disabled
    finally:
        with signals.held_back():
            disabled += disable(root, before)
            give_back_policy(root)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Waits for another installation by lab, which would take our policy for one that was left."""
    fd = os.open((root / POLICY).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _forbid(root: Path) -> None:
    policy = root / POLICY
    if os.path.lexists(policy):
        policy.rename(root / ASIDE)  # keeps its owner, mode and times, or the link that it is
    policy.write_text(_FORBIDS)
    policy.chmod(0o755)


def give_back_policy(root: Path) -> None:
    """Removes our policy-rc.d, also one that a killed installation left, and gives back what was there before."""
    policy, aside = root / POLICY, root / ASIDE
    ours = policy.is_file() and not policy.is_symlink() and policy.read_text(errors="replace") == _FORBIDS
    if ours:
        policy.unlink()
    if os.path.lexists(aside) and not os.path.lexists(policy):
        aside.rename(policy)


def enabling_links(root: Path) -> Mapping[Path, str]:
    """Every link by which something is started at boot, and its target."""
    return {path: os.readlink(path) for path in _enabling(root) if path.is_symlink()}  # noqa: PTH115 - as it is written


def _enabling(root: Path) -> Iterator[Path]:
    for kind in ("wants", "requires"):
        yield from (root / "etc/systemd").glob(f"*/**/*.{kind}/*")
    yield from (root / "etc").glob("rc?.d/S*")


def disable(root: Path, before: Mapping[Path, str]) -> list[str]:
    """Undoes what enables something now and did not before; their paths below `root`."""
    new = sorted(set(enabling_links(root)) - set(before))
    for link in new:
        _disable(link)
    return [f"/{link.relative_to(root)}" for link in new]


def _disable(link: Path) -> None:
    if link.parent.name.startswith("rc"):
        stopped = link.with_name(f"K{link.name[1:]}")
        if os.path.lexists(stopped):
            link.unlink()
        else:
            link.rename(stopped)
        return
    link.unlink()
    with contextlib.suppress(OSError):  # other links are in it, or it was there before
        if not any(link.parent.iterdir()):
            link.parent.rmdir()
