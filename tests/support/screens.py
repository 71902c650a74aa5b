"""The `lab` command in front of a user: on a pseudo-terminal of its own, which is read and typed into."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from support.commands import LAB, SECONDS


class Screen:
    """What a terminal shows; `whole` is everything since the beginning, as it was written."""

    def __init__(self, master: int) -> None:
        self._master, self._read_until = master, 0
        self.whole = ""

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def shows(self, pattern: str) -> str:
        """Reads on until the regular expression matches what has come since the last time; what it matched."""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.whole[self._read_until :])):
            assert select.select([self._master], [], [], deadline - time.monotonic())[0], f"{pattern!r} in {self.whole!r}"
            data = self._read()
            assert data, f"it ended without {pattern!r}: {self.whole!r}"
            self.whole += data
        self._read_until += found.end()
        return found[0]

    def ends(self) -> str:
        """Everything, once nobody has the other end open any more."""
        while select.select([self._master], [], [], SECONDS)[0]:
            if not (data := self._read()):
                return self.whole
            self.whole += data
        raise AssertionError(f"it goes on after {self.whole!r}")

    def _read(self) -> str:
        try:
            return os.read(self._master, 65536).decode(errors="replace")
        except OSError:  # EIO: the other end is closed
            return ""


@contextmanager
def on_screen(
    *words: str | os.PathLike[str], columns: int = 99, env: Mapping[str, str] | None = None, **streams: int
) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    """`lab …` with a terminal for all of its streams but those given; killed at the end of the block where it still runs."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, columns))
    told = {"stdin": slave, "stdout": slave, "stderr": slave, **streams}
    everything = {**os.environ, "TERM": "xterm", **(env or {})}
    with subprocess.Popen([*LAB, *(os.fspath(word) for word in words)], env=everything, **told) as process:  # type: ignore[call-overload]
        os.close(slave)
        try:
            yield process, Screen(master)
        finally:
            process.kill()
            os.close(master)
