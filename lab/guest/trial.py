"""Whether a guest holds: before a stranger's work runs in it, its root tries to get at the host's files (`inside.escape`).

The very machine that the work is meant for is tried, at every boot: nothing is remembered that could have changed since. What
the host finds written is what counts; what the guest says serves to tell that it was able to try.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from lab.errors import HostError
from lab.guest import ask, share
from lab.guest.session import Session
from lab.guest.spec import Guest

ATTEMPTS = frozenset({"as it is", "remount", "second mount", "hostfs", "disks", "network"})
_MODULE = "lab.guest.inside.escape"
_REPORT = "nothing of the stranger's was run; please report this, with the version of QEMU"


class Trial:
    """Two folders of the host: `place` is shared with the guest, what lies beside it is not. A context manager: they are gone
    at the end of the block, and before that once the trial was made."""

    def __init__(self, folder: Path | None) -> None:
        """In a new folder below that one, or where temporary ones are. Root's belong to whom its machines run as: nothing but
        what is tried keeps that one from writing there."""
        self._home = tempfile.TemporaryDirectory(prefix="lab-", dir=folder, ignore_cleanup_errors=True)
        home = Path(self._home.name)
        self.token, self.place, self.secret = os.urandom(16).hex(), home / "shared", home / "secret"
        self.place.mkdir()
        for path in (self._here, self.secret):
            path.write_text(self.token)
        for path in (home, *home.rglob("*")):
            os.chown(path, *(share.user() or (-1, -1)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._home.cleanup()

    @property
    def _here(self) -> Path:
        return self.place / "here"

    def changed(self) -> list[str]:
        """What was not so before."""
        home = self.place.parent
        found = {path.relative_to(home) for path in home.rglob("*") if path not in (self.place, self._here, self.secret)}
        found |= {path.relative_to(home) for path in (self._here, self.secret) if path.read_text() != self.token}
        return sorted(map(str, found))


def made(trial: Trial, session: Session, guest: Guest) -> None:
    """Raises HostError where the guest does not hold; SilentError, GoneError."""
    with trial:
        answer = ask.ask(session, _MODULE, guest.environment["LAB_TRIAL"], str(trial.secret))
        if why := verdict(answer, trial.token, trial.changed()):
            raise HostError(f"{guest.substrate.words} does not hold a stranger's work: {why}", _REPORT)


def verdict(answer: Mapping[str, Any], token: str, changed: list[str]) -> str:
    """Why the guest does not hold; nothing where it does. Pure."""
    if changed:
        return f"its root has written on the host: {', '.join(changed)}"
    if escapes := answer.get("escapes"):
        return f"its root got out: {'; '.join(map(str, escapes))}"
    if answer.get("here") != token:
        return "what the host shares for the trial was not seen in it"
    if missing := ATTEMPTS - set(answer.get("tried", ())):
        return f"these ways out were not tried: {', '.join(sorted(missing))}"
    return ""
